"""image build: a Dockerfile is built in a VM of its own, which is gone afterwards; and an image on standard input."""
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

DOCKERFILE = """FROM scratch AS first
ARG WORD=none
COPY busybox /bin/
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox echo built with $WORD > /made"]
FROM first
COPY . /context/
RUN ["/bin/busybox", "chmod", "0640", "/context/kept"]
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


@pytest.fixture
def folder(instance):
    folder = instance.home / "app"
    instance.as_owner_mkdir(folder)
    shutil.copy("/bin/busybox", folder / "busybox")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / ".dockerignore").write_text("left-out\nbusybox\n!busybox\n")
    (folder / "left-out").write_text("not for the image")
    (folder / "kept").write_text("for the image")
    sh("chown", "-R", f"{instance.uid}:{instance.gid}", str(folder))
    yield folder
    shutil.rmtree(folder)


def nothing_stays(instance):
    assert instance.json("vm", "list") == []
    assert instance.leftovers() == []
    assert list((instance.home / ".cache/banger/oci").glob(".spool-*")) == []


def test_a_dockerfile_becomes_an_image_that_runs(instance, builder, folder):
    done = instance.banger("image", "build", "--no-network", "--build-arg", "WORD=hello", folder)
    assert done.stdout == "app\n"
    assert "STEP" in done.stderr and "COPY busybox" in done.stderr
    nothing_stays(instance)
    image = json.loads(instance.banger("image", "show", "app").stdout)
    assert image["source"] == f"build:{folder}"
    sh("e2fsck", "-fn", image["rootfs_path"])
    listed = sh("debugfs", "-R", "ls -p /context", image["rootfs_path"]).stdout
    assert "/100640/0/0/kept/" in listed and "left-out" not in listed, listed
    assert instance.banger("vm", "run", "--rm", "--image", "app").stdout == "built with hello\n"
    done = instance.banger("image", "build", "--no-network", "--name", "debian-bookworm", folder, check=False)
    assert done.returncode == 1 and "give another --name" in done.stderr
    instance.banger("image", "delete", "app")


def test_a_build_that_fails_or_is_interrupted_leaves_nothing(instance, builder, folder):
    short = "FROM scratch\nCOPY busybox /bin/\n"
    (folder / "Dockerfile").write_text(short + 'RUN ["/bin/busybox", "false"]\n')
    done = instance.banger("image", "build", "--no-network", folder, check=False)
    assert done.returncode not in (0, 2) and "was not built" in done.stderr and done.stdout == ""
    nothing_stays(instance)
    (folder / "Dockerfile").write_text(short + 'RUN ["/bin/busybox", "sleep", "600"]\n')
    build = instance.popen("image", "build", "--no-network", folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in build.stderr:
        if "sleep" in line:
            break
    time.sleep(1)
    build.send_signal(signal.SIGINT)
    build.communicate(timeout=60)
    assert build.returncode != 0
    nothing_stays(instance)
    assert "app" not in {image["name"] for image in instance.json("image", "list")}


def test_what_cannot_be_built_is_said_before_there_is_a_vm(instance, folder):
    (folder / "Dockerfile").unlink()
    for words, said in (([folder], "no Dockerfile"), (["/nowhere"], "/nowhere"), (["-f", "/nowhere", folder], "no file '/nowhere'"),
                        ([folder / "kept"], "no folder")):
        done = instance.banger("image", "build", *words, check=False)
        assert done.returncode == 1 and said in done.stderr, done.stderr


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_standard_input_is_an_image(instance, tmp_path, kind):
    for program in ("umoci", "skopeo"):
        needs(shutil.which(program), f"no {program}")
    layout, archive = tmp_path / "layout", tmp_path / "archive"
    (tmp_path / "root/zz").mkdir(parents=True)  # umoci ends a tar without padding, which a file at its end would want
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
    sh("e2fsck", "-fn", image["rootfs_path"])
    instance.banger("image", "delete", "piped")
    done = instance.banger("image", "pull", "-", input=data, text=False, check=False)
    assert done.returncode == 1 and b"--name" in done.stderr
    done = instance.banger("image", "pull", "--name", "piped", "-", input=data[:3000], text=False, check=False)
    assert done.returncode == 1 and b"standard input" in done.stderr, done.stderr
    nothing_stays(instance)
