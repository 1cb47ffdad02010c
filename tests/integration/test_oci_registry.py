"""Images of a registry: docker-registry on the loopback of the instance's namespace, images made by umoci from Debian's
busybox, and a hostile registry for what a good one never does."""
import base64
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from conftest import needs
from instance import sh
from namespace_server import Quiet, Server

PORT = 5055
HOST = f"127.0.0.1:{PORT}"
ENV = {"GREETING": "hello world", "PATH": "/opt/own:/bin"}

# Notes what it is asked for, trusts nothing, and where the repository says so takes its time until it is told to go on.
MISE = """#!/bin/sh
echo "$PWD: $*" >>/root/mise-calls
[ "$1" = install ] || exit 3
echo fetching tools
grep -q wait .mise.toml && until [ -e /root/go-on ]; do sleep 0.1; done
echo tools are there >&2
"""


def in_namespace(instance, *argv, **options):
    return sh("ip", "netns", "exec", instance.netns, *[str(a) for a in argv], **options)


class Images:
    """OCI layouts below a folder: busybox with a configuration of its own, and a single static program."""

    def __init__(self, folder):
        self.folder = folder
        self.layout = folder / "layout"
        umoci = lambda *words: sh("umoci", *[str(w) for w in words])
        umoci("init", "--layout", self.layout)
        for tag in ("bb", "one", "plain"):
            umoci("new", "--image", f"{self.layout}:{tag}")
        root = folder / "root"
        for name in ("bin", "etc", "home/app", "tmp"):
            (root / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        for name in sh("/bin/busybox", "--list").stdout.split():
            if name != "busybox":
                (root / "bin" / name).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\napp:x:1000:\n")
        for tag in ("bb", "plain"):
            umoci("insert", "--image", f"{self.layout}:{tag}", root, "/")
        second = folder / "second"
        second.write_text("only in the second layer\n")  # umoci ends such a tar without padding, which Docker does not miss
        umoci("insert", "--image", f"{self.layout}:bb", second, "/etc/second")
        umoci("config", "--image", f"{self.layout}:bb", *[w for k, v in ENV.items() for w in ("--config.env", f"{k}={v}")],
              "--config.workingdir", "/home/app/work", "--config.user", "app", "--config.entrypoint", "/bin/env",
              "--config.entrypoint", "ENTERED=yes", "--config.cmd", "/bin/sh", "--config.cmd", "-c", "--config.cmd",
              "echo from-cmd $ENTERED")
        one = folder / "one"
        one.mkdir()
        shutil.copy("/bin/busybox", one / "busybox")
        umoci("insert", "--image", f"{self.layout}:one", one, "/")
        umoci("config", "--image", f"{self.layout}:one", "--config.cmd", "/busybox", "--config.cmd", "echo",
              "--config.cmd", "alone")
        sh("umoci", "tag", "--image", f"{self.layout}:plain", "tools")
        mise = folder / "mise"
        mise.write_text(MISE)
        mise.chmod(0o755)
        umoci("insert", "--image", f"{self.layout}:tools", mise, "/bin/mise")
        sh("chmod", "-R", "a+rX", str(self.layout))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    for program in ("docker-registry", "skopeo", "umoci"):
        needs(shutil.which(program), f"no {program}")
    needs(pathlib.Path("/bin/busybox").exists(), "no busybox-static")
    folder = tmp_path_factory.mktemp("oci")
    for parent in (folder, *folder.parents):  # the owner reads archives here
        if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    return Images(folder)


@pytest.fixture(scope="module")
def registry(instance, images):
    folder = images.folder / "registry"
    (images.folder / "registry.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}}}}}\nhttp: {{addr: {HOST}}}\n"
        "log: {level: error, accesslog: {disabled: true}}\n")
    server = subprocess.Popen(["ip", "netns", "exec", instance.netns, "docker-registry", "serve",
                               str(images.folder / "registry.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while in_namespace(instance, "curl", "-sf", f"http://{HOST}/v2/", check=False).returncode != 0:
        assert server.poll() is None and time.monotonic() < deadline, "docker-registry does not answer"
        time.sleep(0.05)
    for tag in ("bb", "one", "plain"):
        in_namespace(instance, "skopeo", "copy", "--dest-tls-verify=false", f"oci:{images.layout}:{tag}",
                     f"docker://{HOST}/{tag}:1")
    yield HOST
    server.terminate()
    server.wait(10)


def blobs(instance):
    return sorted(p.name for p in (instance.home / ".cache/banger/oci/blobs/sha256").glob("*"))


def test_an_image_is_pulled_once_and_then_only_asked_about(instance, registry):
    assert instance.banger("image", "pull", f"{registry}/bb:1").stdout == "bb-1\n"
    image = json.loads(instance.banger("image", "show", "bb-1").stdout)
    assert image["source"] == f"{registry}/bb:1"
    rootfs = pathlib.Path(image["rootfs_path"])
    before = rootfs.stat().st_ino
    names = blobs(instance)
    assert len(names) == 3, names  # two layers and the configuration
    for name in names:
        data = (instance.home / ".cache/banger/oci/blobs/sha256" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == name
    assert instance.banger("image", "pull", f"{registry}/bb:1").stdout == "bb-1\n"
    assert rootfs.stat().st_ino == before


def waiting(instance, n):
    """The processes of imports, once they are n."""
    deadline = time.monotonic() + 10
    while len(found := [pid for pid, line in instance.processes().items() if "bangerd-import" in line]) != n:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def test_the_process_of_the_next_pull_waits_and_does_it(instance, registry):
    instance.banger("image", "pull", f"{registry}/bb:1")
    first, = waiting(instance, 1)
    instance.banger("image", "pull", f"{registry}/bb:1")
    second, = waiting(instance, 1)
    assert second != first
    os.kill(second, signal.SIGKILL)  # a process that is gone is no hindrance
    assert instance.banger("image", "pull", f"{registry}/bb:1").stdout == "bb-1\n"
    instance.end_daemon()
    waiting(instance, 0)


def test_layers_that_are_here_are_not_fetched_again(instance, registry):
    before = set(blobs(instance))
    instance.banger("image", "pull", f"{registry}/plain:1")
    # the layer of busybox is the same; only the configuration is new
    assert len(set(blobs(instance)) - before) == 1
    instance.banger("image", "delete", "plain-1")


def test_a_command_runs_as_docker_would_run_it(instance, registry):
    done = instance.banger("vm", "run", "--rm", "--image", f"{registry}/bb:1", "--", "sh", "-c",
                           "echo $GREETING/$PATH/$ENTERED; pwd; id -un; cut -c 1-8 /etc/second")
    assert done.stdout == f"hello world/{ENV['PATH']}/yes\n/home/app/work\napp\nonly in \n"
    done = instance.banger("vm", "run", "--rm", "--image", f"{registry}/bb:1")
    assert done.stdout == "from-cmd yes\n"


def test_exec_and_a_shell_take_what_docker_exec_takes(instance, registry):
    instance.banger("vm", "create", "--name", "boxed", "--image", f"{registry}/bb:1")
    try:
        assert instance.banger("vm", "exec", "boxed", "--", "sh", "-c", "id -un; pwd; echo $GREETING $ENTERED").stdout == \
            "app\n/home/app/work\nhello world\n"
        assert instance.banger("vm", "exec", "--user", "root", "boxed", "--", "id", "-u").stdout == "0\n"
        done = instance.banger("vm", "ssh", "boxed", input="id -u; echo $GREETING\n")
        assert done.stdout.split("\n")[:2] == ["0", "hello world"]
        instance.banger("vm", "stop", "boxed")
        instance.banger("image", "delete", "bb-1", check=False)
        instance.banger("vm", "start", "boxed")
        assert instance.banger("vm", "exec", "boxed", "--", "pwd").stdout == "/home/app/work\n"
    finally:
        instance.banger("vm", "delete", "boxed", check=False)


@pytest.fixture
def tooled(instance):
    """A repository that names tools."""
    folder = instance.home / "tooled"
    folder.mkdir()
    (folder / ".mise.toml").write_text("[tools]\n")
    git = lambda *words: sh("git", "-C", str(folder), "-c", "user.name=T", "-c", "user.email=t@example.invalid", *words)
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    sh("chown", "-R", f"{instance.uid}:{instance.gid}", str(folder))
    yield folder
    shutil.rmtree(folder)


TOOL_LOG = "/root/.cache/banger/vm-run-tooling-tooled.log"


def test_a_detached_run_ends_when_the_tools_are_there(instance, images, tooled):
    image = f"oci:{images.layout}:tools"
    done = instance.banger("vm", "run", "-d", "--nat", "--name", "tools", "--image", image, tooled)
    try:
        assert "fetching tools\ntools are there\n" in done.stderr and "trust" not in done.stderr, done.stderr
        seen = instance.banger("vm", "exec", "tools", "--", "cat", TOOL_LOG, "/root/mise-calls").stdout
        assert seen == "fetching tools\ntools are there\n/root: trust --quiet --all /root/repo\n/root/repo: install\n", seen
    finally:
        instance.banger("vm", "delete", "tools", check=False)


def test_a_session_does_not_wait_for_the_tools_and_trust_is_only_a_matter_of_debugging(instance, images, tooled):
    (tooled / ".mise.toml").write_text("[tools]\n# wait\n")
    image = f"oci:{images.layout}:tools"
    words = f"until grep fetching {TOOL_LOG}; do sleep 0.1; done; touch /root/go-on; until grep there {TOOL_LOG}; do sleep 0.1; done\n"
    done = instance.banger("vm", "run", "--rm", "--nat", "--image", image, tooled, input=words, env={"BANGER_LOG_LEVEL": "debug"})
    assert done.stdout.split("\n")[:2] == ["fetching tools", "tools are there"]
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [(line["level"], line["msg"], line["status"]) for line in told] == [("debug", "mise trusts nothing", 3)], told


def test_a_single_static_program_boots_and_runs(instance, registry):
    instance.banger("vm", "create", "--name", "alone", "--image", f"{registry}/one:1")
    try:
        assert instance.banger("vm", "exec", "alone", "--", "/busybox", "id", "-u").stdout == "0\n"
        done = instance.banger("vm", "ssh", "alone", check=False, input="")
        assert done.returncode == 1 and "has no shell" in done.stderr
    finally:
        instance.banger("vm", "delete", "alone", check=False)
    assert instance.banger("vm", "run", "--rm", "--image", f"{registry}/one:1").stdout == "alone\n"


def test_what_is_not_there_or_wrong_is_named(instance, registry):
    for reference, said in ((f"{registry}/nope:1", "the registry has no such image"), ("Capital", "capital letters"),
                            ("127.0.0.1:1/x", "onnect"), ("registry.invalid/x", "bangerd must have been started with it in HTTPS_PROXY"), (f"https://{registry}/bb", "no scheme"),
                            ("oci:/nowhere", "/nowhere"), ("oci:/usr", "'/usr' is no image: it has no 'index.json'")):
        done = instance.banger("image", "pull", reference, check=False)
        assert done.returncode == 1 and said in done.stderr, done.stderr


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_folders_and_archives_are_images_too(instance, images, kind):
    target = images.folder / f"{kind}-file"
    if kind == "oci":
        reference = f"oci:{images.layout}:bb"
    else:
        sh("skopeo", "copy", f"oci:{images.layout}:bb", f"{kind}:{target}:bb:1")
        reference = f"{kind}:{target}"
    name = f"from-{kind}"
    assert instance.banger("image", "pull", "--name", name, reference).stdout == f"{name}\n"
    instance.banger("image", "delete", name)


class Hostile(Quiet):
    """One image, one layer; `mode` says what goes wrong on the way to it."""
    mode, seen, scope, manifest, config, layer = "", [], "", b"", b"", b""

    def send(self, status, body=b"", headers=(), cut=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        Hostile.seen.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if Hostile.mode == "tokens":
            return self.send_token()
        if Hostile.mode == "bearer" and self.path.startswith("/token"):
            return self.send(200, b'{"token": "scoped"}')
        if Hostile.mode == "bearer" and self.path.startswith("/v2/") and not self.headers.get("Authorization"):
            realm = f"http://127.0.0.1:{self.server.server_port}/token"
            return self.send(401, headers=[("WWW-Authenticate", f'Bearer realm="{realm}",service="here"')])
        if Hostile.mode == "redirect" and self.path.startswith("/v2/") and not self.headers.get("Authorization"):
            return self.send(401, headers=[("WWW-Authenticate", 'Basic realm="x"')])
        if self.path == "/v2/":
            return self.send(200)
        if "/manifests/" in self.path:
            if Hostile.mode == "busy" and len(Hostile.seen) == 1:
                return self.send(429, headers=[("Retry-After", "1")])
            return self.send(200, b"x" * (5 << 20) if Hostile.mode == "wild" else Hostile.manifest)
        if self.path.endswith(hashlib.sha256(Hostile.config).hexdigest()):
            return self.send(200, Hostile.config)
        return self.send_layer()

    def send_token(self):
        """As Docker Hub and ghcr.io: who has no token is sent for one, by a challenge with the scope of no image of ours."""
        wanted = "Basic " + base64.b64encode(b"me:word").decode()
        if self.path.startswith("/token"):
            if self.headers.get("Authorization") != wanted:
                return self.send(401)
            return self.send(200, json.dumps({"token": "of-nothing" if "scope" not in self.path else "scoped"}).encode())
        if self.headers.get("Authorization") == "Bearer of-nothing":
            return self.send(200)
        realm = f"http://127.0.0.1:{self.server.server_port}/token"
        return self.send(401, headers=[("WWW-Authenticate", f'Bearer realm="{realm}",service="here"{Hostile.scope}')])

    def send_layer(self):
        mode, layer, wanted = Hostile.mode, Hostile.layer, self.headers.get("Range")
        if mode in ("redirect", "bearer") and self.path.startswith("/v2/"):
            place = f"http://localhost:{self.server.server_port}/elsewhere"
            return self.send(307, headers=[("Location", place)])
        if mode in ("wrong", "more"):
            return self.send(200, layer[:-1] + b"x" if mode == "wrong" else layer + b"more")
        tries = sum("/manifests/" not in path for path, *_ in Hostile.seen)
        if mode == "down" and tries < 3:  # the configuration was the first
            return self.send(503, headers=[("Retry-After", "2")])
        cut = len(layer) // 3 if mode in ("cut", "again") and tries < 4 else None
        if wanted and mode != "again":  # "again": a server that knows no ranges
            start = int(wanted.split("=")[1].split("-")[0])
            return self.send(206, layer[start:], [("Content-Range", f"bytes {start}-{len(layer) - 1}/{len(layer)}")], cut)
        return self.send(200, layer, cut=cut and 2 * cut if mode == "again" else cut)


@pytest.fixture(scope="module")
def hostile(instance, images):
    def blob(descriptor):
        return (images.layout / "blobs/sha256" / descriptor["digest"][7:]).read_bytes()

    index = json.loads((images.layout / "index.json").read_text())
    entry = next(e for e in index["manifests"] if e["annotations"]["org.opencontainers.image.ref.name"] == "one")
    Hostile.manifest = blob(entry)
    manifest = json.loads(Hostile.manifest)
    Hostile.config, Hostile.layer = blob(manifest["config"]), blob(manifest["layers"][0])
    server = Server.begin(instance, Hostile)
    docker = instance.home / ".docker"
    instance.as_owner_mkdir(docker)
    host = server.host
    login = base64.b64encode(b"somebody:secret").decode()
    (docker / "config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))
    (docker / "config.json").chmod(0o644)
    yield host
    server.end()


@pytest.mark.parametrize("mode, said", [("", None), ("busy", None), ("cut", None), ("again", None), ("redirect", None),
                                        ("bearer", None), ("down", None),
                                        ("wrong", "has the digest"), ("more", "sends more than"),
                                        ("wild", "larger than it may be")])
def test_a_registry_that_misbehaves(instance, hostile, mode, said):
    Hostile.mode, Hostile.seen = mode, []
    shutil.rmtree(instance.home / ".cache/banger/oci", ignore_errors=True)
    begun = time.monotonic()
    done = instance.banger("image", "pull", "--name", "victim", f"{hostile}/x:1", check=False)
    assert mode not in ("busy", "down") or time.monotonic() - begun > (2 if mode == "down" else 1)  # as the server asked
    if said:
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert "victim" not in {i["name"] for i in instance.json("image", "list")}
        assert hashlib.sha256(Hostile.layer).hexdigest() not in blobs(instance)
        return
    assert done.returncode == 0, done.stderr
    instance.banger("image", "delete", "victim")
    assert hashlib.sha256(Hostile.layer).hexdigest() in blobs(instance)
    ranges = [wanted for path, wanted, _ in Hostile.seen if wanted]
    elsewhere = [secret for path, _, secret in Hostile.seen if path.startswith("/elsewhere")]
    assert bool(ranges) == (mode in ("cut", "again"))
    assert elsewhere == ([None] if mode in ("redirect", "bearer") else [])
    assert mode != "bearer" or "Bearer scoped" in {secret for *_, secret in Hostile.seen}


def test_a_login_is_kept_once_the_registry_has_taken_it(instance, hostile):
    """The registry of "redirect" wants one; what is in Docker's file is overridden by our own."""
    Hostile.mode, Hostile.seen = "redirect", []
    kept = instance.state / "registries.json"
    done = instance.banger("registry", "login", hostile, "-u", "me", "--password-stdin", input="word\n")
    assert done.stdout == f"logged in to {hostile}\n"
    assert oct(kept.stat().st_mode & 0o777) == "0o600"
    assert base64.b64decode(json.loads(kept.read_text())["auths"][hostile]["auth"]) == b"me:word"
    Hostile.seen = []
    instance.banger("image", "pull", "--name", "victim", f"{hostile}/x:1")
    instance.banger("image", "delete", "victim")
    assert "Basic " + base64.b64encode(b"me:word").decode() in {secret for *_, secret in Hostile.seen}
    instance.banger("registry", "logout", hostile)
    assert "there is no login" in instance.banger("registry", "logout", hostile, check=False).stderr


@pytest.mark.parametrize("scope", ["", ',scope="repository:user/image:pull"'])
def test_a_login_asks_the_token_server_for_a_token_of_no_repository(instance, hostile, scope):
    Hostile.mode, Hostile.seen, Hostile.scope = "tokens", [], scope
    done = instance.banger("registry", "login", hostile, "-u", "me", "--password-stdin", input="word\n")
    assert done.stdout == f"logged in to {hostile}\n"
    assert [path for path, *_ in Hostile.seen] == ["/v2/", "/token?service=here", "/v2/"]
    instance.banger("registry", "logout", hostile)
    done = instance.banger("registry", "login", hostile, "-u", "me", "--password-stdin", input="wrong\n", check=False)
    assert done.returncode == 1 and "refuses the login" in done.stderr, done.stderr
    assert "there is no login" in instance.banger("registry", "logout", hostile, check=False).stderr


def test_a_login_is_not_for_a_mirror(instance, hostile):
    port = hostile.rsplit(":", 1)[1]
    config = instance.home / ".config/banger/config.toml"
    instance.as_owner_mkdir(config.parent)
    config.write_text(f'[registry."{hostile}"]\nmirrors = ["http://127.0.0.2:{port}/mirror"]\n')
    instance.end_daemon()
    Hostile.mode, Hostile.seen, Hostile.scope = "tokens", [], ""
    try:
        instance.banger("registry", "login", hostile, "-u", "me", "--password-stdin", input="word\n")
        assert [path for path, *_ in Hostile.seen] == ["/v2/", "/token?service=here", "/v2/"]
        instance.banger("registry", "logout", hostile)
    finally:
        config.unlink()
        instance.end_daemon()
