"""How a registry is reached: docker-registry with TLS and passwords, and once more with tokens, behind a proxy and behind
mirrors. Both serve one folder; everything is in the instance's namespace, which reaches nothing else."""
import base64
import http.client
import json
import pathlib
import shutil
import socket
import subprocess
import threading
import time

import pytest

from authority import Authority
from conftest import needs
from instance import sh
from namespace_server import Quiet, Server

OUTSIDE = "192.0.2.7"  # RFC 5737: no loopback, and nobody's
TLS_PORT, TOKEN_PORT = 5056, 5057
TLS = f"127.0.0.1:{TLS_PORT}"
TOKEN = f"127.0.0.1:{TOKEN_PORT}"
HALF = f"localhost:{TOKEN_PORT}"  # the same, with a mirror that has half of what it should
STRANGER = f"{OUTSIDE}:{TLS_PORT}"  # the same server, whose authority is not configured under this name
BEHIND = f"registry.example:{TLS_PORT}"  # a name that the proxy alone can resolve
PLAIN_BEHIND = f"plain.example:{TOKEN_PORT}"
PASSWORDS = "me:$2b$04$TsTIcnxuuh07svPrx5xiqOm95yGQJKhqzrZFBHukhXdfuZkn2aYsG\n"  # bcrypt of "word"
LOGIN = "Basic " + base64.b64encode(b"me:word").decode()


def in_namespace(instance, *argv, **options):
    return sh("ip", "netns", "exec", instance.netns, *[str(a) for a in argv], **options)


class Proxy(Quiet):
    """CONNECT and plain requests; every name leads to this machine."""

    def do_CONNECT(self):
        self.server.seen.append(f"CONNECT {self.path}")
        with socket.create_connection(("127.0.0.1", int(self.path.rsplit(":", 1)[1])), timeout=10) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=self.copy, args=(there, self.connection))
            back.start()
            self.copy(self.connection, there)
            back.join(10)
        self.close_connection = True

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.seen.append(f"{self.command} {self.path}")
        host, path = self.path.removeprefix("http://").split("/", 1)
        there = http.client.HTTPConnection("127.0.0.1", int(host.rsplit(":", 1)[1]), timeout=10)
        there.request(self.command, "/" + path, headers={k: v for k, v in self.headers.items() if k.lower() != "connection"})
        reply = there.getresponse()
        kept = [(k, v) for k, v in reply.getheaders() if k.lower() in ("www-authenticate", "content-type", "docker-content-digest")]
        self.answer(reply.status, reply.read(), kept)


class Tokens(Quiet):
    """Signs what docker-registry is told to believe (distribution, "Token Authentication Specification"): everybody may read
    all but "secret", for which a login is wanted. Anything but /token is not found: a mirror that has nothing."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        if not self.path.startswith("/token"):
            return self.answer(404)
        given = self.headers.get("Authorization")
        if given not in (None, LOGIN):
            return self.answer(401)
        scope = dict(part.split("=", 1) for part in self.path.partition("?")[2].split("&")).get("scope", "")
        name = scope.replace("%3A", ":").replace("%2F", "/").split(":")[1] if scope else None
        access = [{"type": "repository", "name": name, "actions": ["pull"]}] if name and (name != "secret" or given) else []
        return self.answer(200, json.dumps({"token": self.server.sign({"access": access, "sub": "me" if given else ""})}).encode())


class Half(Quiet):
    """A mirror that has the manifest, and then fails in one of several ways at what `fails_at` says."""
    folder, fails, fails_at = None, "", ""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/token"):
            return self.answer(200, b'{"token": "of-the-mirror"}')
        manifest = json.loads((Half.folder / "index.json").read_text())["manifests"][0]["digest"]
        name = self.path.rsplit("/", 1)[1]
        digest = manifest if name == "1" else name
        body = (Half.folder / "blobs/sha256" / digest[7:]).read_bytes()
        kind = "manifest" if digest == manifest else "configuration" if body.startswith(b"{") else "layer"
        if kind != Half.fails_at:
            return self.answer(200, body, [("Content-Type", "application/vnd.oci.image.manifest.v1+json"), ("Docker-Content-Digest", digest)])
        return getattr(self, Half.fails)(body)

    def lacks(self, body):
        self.answer(404)

    def breaks(self, body):
        self.answer(500)

    def lies(self, body):
        self.answer(200, bytes(byte ^ 1 for byte in body))

    def asks(self, body):
        """for a login, which is not for it"""
        self.answer(401, headers=[("WWW-Authenticate", f'Bearer realm="http://{self.server.host}/token",service="half"')])

    def hangs_up(self, body):
        """in the midst of it, and has nothing the next time"""
        Half.fails = "lacks"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(body) // 2])
        self.close_connection = True


class Net:
    """The registries, the token server and the proxy; and a bangerd that was configured and started for them."""

    def __init__(self, instance, folder):
        self.instance, self.folder = instance, folder
        self.authority = Authority(folder, "IP:127.0.0.1", f"IP:{OUTSIDE}", "DNS:registry.example")
        self.proxy, self.tokens = Server.begin(instance, Proxy), Server.begin(instance, Tokens)
        self.half = Server.begin(instance, Half)
        Half.folder = folder / "layout"
        self.tokens.sign = self.authority.sign
        self.processes = []
        in_namespace(instance, "ip", "addr", "add", f"{OUTSIDE}/32", "dev", "lo")
        (folder / "passwords").write_text(PASSWORDS)
        self._start("tls", f"http: {{addr: ':{TLS_PORT}', tls: {{certificate: {self.authority.server_certificate}, key: "
                           f"{self.authority.server_key}}}}}\nauth: {{htpasswd: {{realm: here, path: {folder}/passwords}}}}\n")
        self._start("token", f"http: {{addr: ':{TOKEN_PORT}'}}\nauth: {{token: {{realm: 'http://{self.tokens.host}/token', "
                             f"service: here, issuer: issuer, rootcertbundle: {self.authority.certificate}}}}}\n")
        self._wait()
        self._push()

    def _start(self, name, text):
        path = self.folder / f"{name}.yml"
        path.write_text(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
                        f"storage: {{filesystem: {{rootdirectory: {self.folder}/registry}}}}\n{text}")
        self.processes.append(subprocess.Popen(["ip", "netns", "exec", self.instance.netns, "docker-registry", "serve", path],
                                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def _wait(self):
        deadline = time.monotonic() + 20
        for url in (f"https://{TLS}/v2/", f"http://{TOKEN}/v2/"):
            while in_namespace(self.instance, "curl", "-sk", url, check=False).returncode != 0:
                assert all(p.poll() is None for p in self.processes), "docker-registry ended"
                assert time.monotonic() < deadline, "docker-registry does not answer"
                time.sleep(0.02)

    def _push(self):
        layout, root = self.folder / "layout", self.folder / "root"
        root.mkdir()
        (root / "file").write_text("of the image")
        sh("umoci", "init", "--layout", str(layout))
        sh("umoci", "new", "--image", f"{layout}:x")
        sh("umoci", "insert", "--image", f"{layout}:x", str(root), "/")
        sh("skopeo", "copy", "--dest-compress-format", "zstd", f"oci:{layout}:x", f"oci:{self.folder}/zstd:x")
        for source, name in ((layout, "open"), (layout, "secret"), (self.folder / "zstd", "zstd")):
            in_namespace(self.instance, "skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", "me:word", f"oci:{source}:x",
                         f"docker://{TLS}/{name}:1")

    def end(self):
        for process in self.processes:
            process.terminate()
            process.wait(10)
        for server in (self.proxy, self.tokens, self.half):
            server.end()
        in_namespace(self.instance, "ip", "addr", "del", f"{OUTSIDE}/32", "dev", "lo", check=False)


def configuration(net, home):
    shutil.copy(net.authority.certificate, home / "ca.pem")
    return f"""
[registry."{TLS}"]
ca = "~/ca.pem"
[registry."{BEHIND}"]
ca = "~/ca.pem"
[registry."{PLAIN_BEHIND}"]
insecure = true
[registry."mirrored.example"]
mirrors = ["http://127.0.0.1:1", "http://{net.tokens.host}", "http://{TOKEN}"]
[registry."{TOKEN}"]
mirrors = ["http://127.0.0.1:1", "http://{net.tokens.host}"]
[registry."{HALF}"]
mirrors = ["http://{net.half.host}"]
"""


@pytest.fixture(scope="module")
def net(instance, tmp_path_factory):
    for program in ("docker-registry", "skopeo", "umoci", "openssl", "curl"):
        needs(shutil.which(program), f"no {program}")
    it = Net(instance, tmp_path_factory.mktemp("net"))
    config = instance.home / ".config/banger/config.toml"
    instance.as_owner_mkdir(config.parent)
    instance.as_owner_mkdir(instance.home / ".docker")
    config.write_text(configuration(it, instance.home))
    instance.end_daemon()
    proxy = f"http://{it.proxy.host}"
    # bangerd takes the environment of who starts it
    instance.banger("image", "list", env={"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": f"other.example,{OUTSIDE}"})
    yield it
    instance.end_daemon()
    config.unlink()
    shutil.rmtree(instance.home / ".docker")
    it.end()


@pytest.fixture(autouse=True)
def cold(instance, net):
    """Nothing in the cache, so that everything goes over the net; nothing seen and no login left of another test."""
    shutil.rmtree(instance.home / ".cache/banger/oci", ignore_errors=True)
    net.proxy.seen.clear()
    net.tokens.seen.clear()
    net.half.seen.clear()
    yield
    instance.banger("image", "delete", "it", check=False)
    (instance.home / ".docker/config.json").unlink(missing_ok=True)
    (instance.state / "registries.json").unlink(missing_ok=True)


def pull(instance, reference, said=None):
    done = instance.banger("image", "pull", "--name", "it", reference, check=False)
    if said:
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert "it" not in {image["name"] for image in instance.json("image", "list")}
        return
    assert done.returncode == 0, done.stderr
    rootfs = json.loads(instance.banger("image", "show", "it").stdout)["rootfs_path"]
    assert sh("debugfs", "-R", "cat /file", rootfs).stdout == "of the image"


def login(instance, registry, secret):
    return instance.banger("registry", "login", registry, "-u", "me", "--password-stdin", input=f"{secret}\n", check=False)


def docker_config(instance, **document):
    path = instance.home / ".docker/config.json"
    path.write_text(json.dumps(document))
    path.chmod(0o644)


def test_an_authority_of_ones_own_is_configured_or_named_as_the_way_out(instance, net):
    pull(instance, f"{STRANGER}/open:1", "'ca' in the [registry] table of config.toml")
    assert "needs a login" in instance.banger("image", "pull", f"{TLS}/open:1", check=False).stderr
    assert net.proxy.seen == []  # one is in NO_PROXY, the other never leaves this machine


def test_a_password_logs_in_and_out(instance, net):
    assert "refuses the login" in login(instance, TLS, "wrong").stderr
    assert not (instance.state / "registries.json").exists()
    assert login(instance, TLS, "word").stdout == f"logged in to {TLS}\n"
    pull(instance, f"{TLS}/open:1")
    instance.banger("registry", "logout", TLS)
    pull_again = instance.banger("image", "pull", "--name", "again", f"{TLS}/open:1", check=False)
    assert pull_again.returncode == 1 and "banger registry login" in pull_again.stderr


def test_layers_of_zstd_and_the_login_of_docker(instance, net):
    docker_config(instance, auths={TLS: {"auth": LOGIN.split()[1]}})
    pull(instance, f"{TLS}/zstd:1")
    index = json.loads((net.folder / "zstd/index.json").read_text())
    manifest = json.loads((net.folder / "zstd/blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
    assert [layer["mediaType"].rsplit("+")[-1] for layer in manifest["layers"]] == ["zstd"]


def test_a_helper_of_docker_is_asked(instance, net):
    helper, asked = instance.bin / "docker-credential-test", instance.home / "asked"
    docker_config(instance, credHelpers={TLS: "test"}, auths={TLS: {"auth": "bm90OnRoaXM="}})
    assert "docker-credential-test" in instance.banger("image", "pull", f"{TLS}/open:1", check=False).stderr
    try:
        helper.write_text(f"#!/bin/sh\n(echo \"$1\"; cat) > {asked}\n"
                          'echo \'{"ServerURL": "x", "Username": "me", "Secret": "word"}\'\n')
        helper.chmod(0o755)
        pull(instance, f"{TLS}/open:1")
        assert asked.read_text() == f"get\n{TLS}"
        helper.write_text("#!/bin/sh\necho 'the key ring is locked'\nexit 3\n")
        pull_again = instance.banger("image", "pull", "--name", "again", f"{TLS}/open:1", check=False)
        assert pull_again.returncode == 1 and "the key ring is locked" in pull_again.stderr, pull_again.stderr
    finally:
        helper.unlink()


def test_tokens_are_for_everybody_or_for_a_login(instance, net):
    pull(instance, f"{TOKEN}/secret:1", "needs a login")
    pull(instance, f"{TOKEN}/open:1")  # its mirrors are down and empty
    assert LOGIN not in [secret for _, secret in net.tokens.seen]
    assert "refuses the login" in login(instance, TOKEN, "wrong").stderr
    assert login(instance, TOKEN, "word").returncode == 0
    instance.banger("image", "delete", "it")
    net.tokens.seen.clear()
    pull(instance, f"{TOKEN}/secret:1")
    # the login went to the token server, but not to what is configured as a mirror
    assert {secret for path, secret in net.tokens.seen if path.startswith("/token")} == {LOGIN}
    assert {secret for path, secret in net.tokens.seen if path.startswith("/v2/")} == {None}
    assert net.proxy.seen == []


def test_a_mirror_serves_a_registry_that_is_out_of_reach(instance, net):
    pull(instance, "mirrored.example/open:1")
    assert json.loads(instance.banger("image", "show", "it").stdout)["source"] == "mirrored.example/open:1"
    assert net.proxy.seen == []


@pytest.mark.parametrize("kind, fails", [("configuration", "lacks"), ("layer", "breaks"), ("layer", "lies"), ("layer", "asks"),
                                         ("layer", "hangs_up")])
def test_what_a_mirror_lacks_comes_from_the_registry(instance, net, kind, fails):
    docker_config(instance, auths={HALF: {"auth": LOGIN.split()[1]}})
    Half.fails, Half.fails_at = fails, kind
    pull(instance, f"{HALF}/secret:1")
    asked = [path for path, _ in net.half.seen]
    assert asked.count("/v2/secret/manifests/1") >= 1 and len([path for path in asked if "/blobs/" in path]) >= (1 if fails == "lies" else 2), asked
    assert LOGIN not in [secret for _, secret in net.half.seen]
    assert LOGIN in [secret for _, secret in net.tokens.seen]


def test_a_proxy_is_used_as_the_environment_says(instance, net):
    docker_config(instance, auths={BEHIND: {"auth": LOGIN.split()[1]}})
    pull(instance, f"{BEHIND}/open:1")
    assert set(net.proxy.seen) == {f"CONNECT {BEHIND}"}
    instance.banger("image", "delete", "it")
    shutil.rmtree(instance.home / ".cache/banger/oci")
    net.proxy.seen.clear()
    pull(instance, f"{PLAIN_BEHIND}/open:1")
    assert f"GET http://{PLAIN_BEHIND}/v2/open/manifests/1" in net.proxy.seen
