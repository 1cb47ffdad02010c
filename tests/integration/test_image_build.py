"""image build: a Dockerfile is built in a VM of its own, which is gone afterwards; and an image on standard input."""
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from authority import Authority
from conftest import needs
from instance import sh

PORT = 5058
PLACE = f"192.0.2.2:{PORT}"  # RFC 5737: nobody's
PASSWORDS = "me:$2b$04$TsTIcnxuuh07svPrx5xiqOm95yGQJKhqzrZFBHukhXdfuZkn2aYsG\n"  # bcrypt of "word"
DOCKERFILE = """ARG PLACE=nowhere.example
FROM $PLACE/base:1 AS first
FROM first
ARG WORD=none
COPY . /context/
RUN ["/bin/busybox", "sh", "-c", "PATH=/bin; busybox echo built with $WORD by $https_proxy >/made; busybox chmod 0640 /context/kept; busybox ls /proc/1/root/run >/around 2>&1 || busybox true"]
CMD ["/bin/busybox", "cat", "/made"]
"""


@pytest.fixture(scope="module")
def builder(instance):
    """The image that builds is made once; other runs take it from the cache."""
    needs(shutil.which("busybox"), "no busybox-static")
    if "debian-builder" not in {image["name"] for image in instance.json("image", "list")}:
        instance.pull("image", "debian-builder")
        if cache := os.environ.get("BANGER_TEST_CACHE"):
            instance.keep(pathlib.Path(cache))


@pytest.fixture(scope="module")
def elsewhere(instance):
    """Another machine's network, which VMs reach through NAT: a guest reaches no service of its host."""
    name = f"{instance.netns}-out"
    sh("ip", "netns", "add", name)
    for words in (f"-n {instance.netns} link add out type veth peer name in netns {name}", f"-n {instance.netns} addr add 192.0.2.1/24 dev out",
                  f"-n {instance.netns} link set out up", f"-n {name} addr add 192.0.2.2/24 dev in", f"-n {name} link set in up",
                  f"-n {name} link set lo up"):
        sh("ip", *words.split())
    yield name
    sh("ip", "netns", "del", name)


@pytest.fixture(scope="module")
def base(instance, elsewhere, tmp_path_factory):
    """A registry with TLS of an own authority and a password, which has an image of busybox."""
    for program in ("docker-registry", "skopeo", "umoci", "openssl"):
        needs(shutil.which(program), f"no {program}")
    folder = tmp_path_factory.mktemp("base")
    authority = Authority(folder, "IP:127.0.0.1", f"IP:{PLACE.partition(':')[0]}")
    (folder / "passwords").write_text(PASSWORDS)
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"http: {{addr: ':{PORT}', tls: {{certificate: {authority.server_certificate}, key: {authority.server_key}}}}}\n"
        f"auth: {{htpasswd: {{realm: here, path: {folder}/passwords}}}}\n")
    outside = ["ip", "netns", "exec", elsewhere]
    server = subprocess.Popen([*outside, "docker-registry", "serve", folder / "registry.yml"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    (folder / "root/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "root/bin/busybox")
    sh("umoci", "init", "--layout", str(folder / "layout"))
    sh("umoci", "new", "--image", f"{folder}/layout:x")
    sh("umoci", "insert", "--image", f"{folder}/layout:x", str(folder / "root"), "/")
    deadline = time.monotonic() + 20
    while sh(*outside, "skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", "me:word", f"oci:{folder}/layout:x",
             f"docker://127.0.0.1:{PORT}/base:1", check=False).returncode != 0:
        assert server.poll() is None and time.monotonic() < deadline, "docker-registry does not answer"
        time.sleep(0.1)
    config, docker = instance.home / ".config/banger/config.toml", instance.home / ".docker"
    instance.as_owner_mkdir(config.parent)
    instance.as_owner_mkdir(docker)
    shutil.copy(authority.certificate, instance.home / "ca.pem")
    config.write_text(f'[registry."{PLACE}"]\nca = "~/ca.pem"\n')
    login = base64.b64encode(b"me:word").decode()
    (docker / "config.json").write_text(json.dumps({"auths": {PLACE: {"auth": login}, "other.example": {"auth": login}}}))
    (docker / "config.json").chmod(0o644)
    instance.end_daemon()
    yield PLACE
    instance.end_daemon()
    config.unlink()
    shutil.rmtree(docker)
    server.terminate()
    server.wait(10)


@pytest.fixture
def folder(instance):
    folder = instance.home / "app"
    instance.as_owner_mkdir(folder)
    shutil.copy("/bin/busybox", folder / "busybox")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / ".dockerignore").write_text("left-out\nbusybox\n!busybox\nskipped/\n")
    (folder / "left-out").write_text("not for the image")
    (folder / "skipped").mkdir()
    (folder / "skipped/secret").write_text("not for the machine that builds either")
    (folder / "kept").write_text("for the image")
    sh("chown", "-R", f"{instance.uid}:{instance.gid}", str(folder))
    yield folder
    shutil.rmtree(folder)


def nothing_stays(instance):
    assert instance.json("vm", "list") == []
    assert instance.leftovers() == []
    assert list((instance.home / ".cache/banger/oci").glob(".spool-*")) == []


def listed(image, path):
    return sh("debugfs", "-R", f"ls -p {path}", image["rootfs_path"]).stdout


def test_a_dockerfile_becomes_an_image_that_runs(instance, builder, base, folder):
    # the registry is reached without the proxy, which is nowhere
    proxies = {"https_proxy": "http://192.0.2.3:1", "NO_PROXY": base.partition(":")[0]}
    done = instance.banger("image", "build", "--build-arg", "WORD=hello", "--build-arg", f"PLACE={base}", folder, timeout=600, env=proxies)
    assert done.stdout == "app\n"
    assert "STEP" in done.stderr and "COPY . /context/" in done.stderr
    nothing_stays(instance)
    image = json.loads(instance.banger("image", "show", "app").stdout)
    assert image["source"] == f"build:{folder}"
    context = listed(image, "/context")
    assert "/100640/0/0/kept/" in context and "left-out" not in context and "skipped" not in context, context
    # neither while the Dockerfile runs nor afterwards is there a login
    around = sh("debugfs", "-R", "cat /around", image["rootfs_path"]).stdout
    assert around != "" and "login" not in around, around
    assert base64.b64encode(b"me:word") not in pathlib.Path(image["rootfs_path"]).read_bytes()
    assert instance.banger("vm", "run", "--rm", "--image", "app").stdout == "built with hello by http://192.0.2.3:1\n"
    done = instance.banger("image", "build", "--no-network", "--name", "debian-bookworm", folder, check=False)
    assert done.returncode == 1 and "give another --name" in done.stderr
    # the same folder again replaces it
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY kept /\n")
    instance.banger("image", "build", "--no-network", folder, timeout=600)
    again = json.loads(instance.banger("image", "show", "app").stdout)
    assert "/kept/" in listed(again, "/") and "/context/" not in listed(again, "/")
    nothing_stays(instance)


def test_a_build_that_fails_or_is_interrupted_leaves_nothing(instance, builder, folder):
    """Both at the same time. The one that fails is of the folder that app is of: it would replace it, as any image is replaced that
    comes from where the old one came from."""
    short = "FROM scratch\nCOPY busybox /bin/\n"
    (folder / "Dockerfile").write_text(short + 'RUN ["/bin/busybox", "false"]\n')
    (folder.parent / "Slow").write_text(short + 'RUN ["/bin/busybox", "sleep", "600"]\n')
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    fails = instance.popen("image", "build", "--no-network", folder, **pipes)
    slow = instance.popen("image", "build", "--no-network", "--name", "slow", "-f", folder.parent / "Slow", folder, **pipes)
    for line in slow.stderr:
        if "sleep" in line:
            break
    slow.send_signal(signal.SIGINT)
    slow.communicate(timeout=120)
    out, said = fails.communicate(timeout=600)
    assert fails.returncode not in (0, 2) and "was not built" in said and out == "", said
    assert slow.returncode != 0
    nothing_stays(instance)
    # what was built before is as it was
    assert "/kept/" in listed(json.loads(instance.banger("image", "show", "app").stdout), "/")
    instance.banger("image", "delete", "app")


def test_what_cannot_be_built_is_said_before_there_is_a_vm(instance, folder):
    (folder / "Dockerfile").unlink()
    for words, said in (([folder], "no Dockerfile"), (["/nowhere"], "/nowhere"), (["-f", "/nowhere", folder], "no file '/nowhere'"),
                        ([folder / "kept"], "no folder")):
        done = instance.banger("image", "build", *words, check=False)
        assert done.returncode == 1 and said in done.stderr, done.stderr
    (folder / "Dockerfile").write_text("FROM scratch\n")
    for proxy in ("http://127.0.0.1:3128", "http://me:word@localhost:3128/", "[::1]:3128"):
        done = instance.banger("image", "build", folder, check=False, env={"HTTPS_PROXY": proxy})
        assert done.returncode == 1 and "HTTPS_PROXY names a proxy on this machine's loopback" in done.stderr, done.stderr
        assert "word" not in done.stderr


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_standard_input_is_an_image(instance, tmp_path, kind):
    for program in ("umoci", "skopeo"):
        needs(shutil.which(program), f"no {program}")
    layout, archive = tmp_path / "layout", tmp_path / "archive"
    (tmp_path / "root").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "root/busybox")
    sh("umoci", "init", "--layout", str(layout))
    sh("umoci", "new", "--image", f"{layout}:x")
    sh("umoci", "insert", "--image", f"{layout}:x", str(tmp_path / "root"), "/")
    sh("skopeo", "copy", f"oci:{layout}:x", f"{kind}:{archive}:x:1")
    data = archive.read_bytes()
    done = instance.banger("image", "pull", "--name", "piped", "-", input=data, text=False)
    assert done.stdout == b"piped\n"
    image = json.loads(instance.banger("image", "show", "piped").stdout)
    assert image["source"] == "standard input"
    sh("umoci", "insert", "--image", f"{layout}:x", str(tmp_path / "root"), "/again")
    archive.unlink()
    sh("skopeo", "copy", f"oci:{layout}:x", f"{kind}:{archive}:x:1")
    instance.banger("image", "pull", "--name", "piped", "-", input=archive.read_bytes(), text=False)
    changed = json.loads(instance.banger("image", "show", "piped").stdout)
    assert "busybox" in sh("debugfs", "-R", "ls -p /again", changed["rootfs_path"]).stdout
    instance.banger("image", "delete", "piped")
    done = instance.banger("image", "pull", "-", input=data, text=False, check=False)
    assert done.returncode == 1 and b"--name" in done.stderr
    done = instance.banger("image", "pull", "--name", "piped", "-", input=data[:3000], text=False, check=False)
    assert done.returncode == 1 and b"standard input" in done.stderr, done.stderr
    nothing_stays(instance)
