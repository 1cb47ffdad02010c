"""A pull that is killed, or finds the disk full, leaves whole layers in the cache and nothing else; the next one succeeds."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import threading
import time

import pytest

from conftest import needs
from instance import sh
from namespace_server import Quiet, Server
from oci_layout import Image, entry, tar

MIB = 1 << 20


class Silent(Quiet):
    """Takes a request, and answers nothing."""
    is_asked, go_on = threading.Event(), threading.Event()

    def do_GET(self):
        Silent.is_asked.set()
        Silent.go_on.wait(60)
        self.close_connection = True


class Halting(Quiet):
    """Serves an image of two layers, and halts in the midst of what `halts_at` names until it is told to go on."""
    image, halts_at, is_halted, go_on = None, "", threading.Event(), threading.Event()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        name = self.path.rsplit("/", 1)[1]
        digest = Halting.image.digest if name == "1" else name
        path = Halting.image.folder / "blobs/sha256" / digest[7:]
        body = path.read_bytes()
        if Halting.halts_at != digest or self.command == "HEAD":
            return self.answer(200, body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body[:len(body) // 2])
            Halting.is_halted.set()
            Halting.go_on.wait(20)
            self.wfile.write(body[len(body) // 2:])
        except OSError:
            self.close_connection = True


def repetitive(n_bytes):
    """Content that compresses to about an eighth: less than what an image may be refused for, more than what is reckoned with."""
    chance = random.Random(1)
    return b"".join(chance.randbytes(500) * 8 for _ in range(n_bytes // 4000))


@pytest.fixture(scope="module")
def server(instance, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    Halting.image = Image(folder / "image", [tar([entry("below", data=repetitive(MIB))]),
                                             tar([entry("root", "dir"), entry("root/file", data=repetitive(24 * MIB))])])
    it = Server.begin(instance, Halting)
    yield it.host
    it.end()


@pytest.fixture(autouse=True)
def fresh(instance):
    shutil.rmtree(instance.home / ".cache/banger/oci", ignore_errors=True)
    Halting.halts_at = ""
    Halting.is_halted.clear()
    Halting.go_on.clear()
    yield
    Halting.go_on.set()
    instance.banger("image", "delete", "it", check=False)


def start_pull(instance, server):
    return instance.popen("image", "pull", "--name", "it", f"{server}/x:1", stdout=-1, stderr=-1, text=True)


def cached(instance):
    """What is in the cache by name; all of it must be what its name says."""
    found = [path for path in (instance.home / ".cache/banger/oci").rglob("*") if path.is_file()]
    for path in found:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, f"{path} is not whole"
    return {path.name for path in found}


def working(instance):
    """All processes, but those that wait for the next job."""
    spares = instance.spares()
    return [line for pid, line in instance.processes().items() if pid not in spares]


def build_folders(instance):
    """Where images of the catalog are made: in the cache, or where subordinate ids get to."""
    places = (instance.home / ".cache/banger", pathlib.Path("/var/tmp"))
    return [path for place in places for path in place.glob(".banger-build-*") if path.stat().st_uid == instance.uid]


def nothing_else_stays(instance, seconds=10):
    deadline = time.monotonic() + seconds
    images, cache = instance.state / "images", instance.home / ".cache/banger"
    while (left := [str(path) for path in (*images.glob(".*"), *cache.glob(".staging-*"), *build_folders(instance))] + working(instance)):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    cached(instance)


def pulls_now(instance, server):
    Halting.halts_at = ""
    instance.banger("image", "pull", "--name", "it", f"{server}/x:1")


def descriptor(kind):
    manifest = json.loads((Halting.image.folder / "blobs/sha256" / Halting.image.digest[7:]).read_bytes())
    return {"manifest": Halting.image.digest, "configuration": manifest["config"]["digest"],
            "layer": manifest["layers"][-1]["digest"]}[kind]


def importers(instance):
    """The importer, and the confined processes that it has started, in the order of their starts: (when, pid, parent)."""
    found = []
    for pid, line in instance.processes().items():
        try:
            words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if "bangerd-import" in line:
            found.append((int(words[19]), pid, int(words[1])))  # proc_pid_stat(5): starttime, ppid
    return sorted(found)


def unpackers(instance):
    daemon = instance.daemon_pid()
    return [pid for _, pid, parent in importers(instance) if parent != daemon]


def find_job(instance, daemon):
    """The process that pulls: the one that the registry knows, if any; behind it comes the process for the next pull."""
    jobs = [pid for _, pid, parent in importers(instance) if parent == daemon]
    sockets = {pid: sum(os.readlink(fd).startswith("socket:") for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()) for pid in jobs}
    return ([pid for pid in jobs if sockets[pid] > 1] or jobs)[0]


def kill(instance, victim):
    daemon = instance.daemon_pid()
    pid = {"daemon": lambda: daemon, "job": lambda: find_job(instance, daemon), "unpacker": lambda: unpackers(instance)[-1]}[victim]()
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("stage, victim", [("manifest", "job"), ("configuration", "daemon"), ("layer", "daemon"), ("layer", "job"),
                                           ("layer", "unpacker")])
def test_killed_while_it_waits_for(instance, server, stage, victim):
    Halting.halts_at = descriptor(stage)
    pull = start_pull(instance, server)
    assert Halting.is_halted.wait(20)
    deadline = time.monotonic() + 10
    while victim == "unpacker" and len(unpackers(instance)) < 2:
        assert time.monotonic() < deadline, importers(instance)
    if victim == "job":
        refused = instance.banger("image", "delete", "it", check=False)
        assert refused.returncode == 1 and "image 'it' is being pulled: try again when that has ended" in refused.stderr
    kill(instance, victim)
    assert pull.wait(20) == 1
    assert pull.communicate()[1] != ""
    instance.banger("image", "list")  # starts the daemon again
    nothing_else_stays(instance)
    assert descriptor("layer")[7:] not in cached(instance)
    pulls_now(instance, server)


@pytest.mark.parametrize("file, victim", [("rootfs.ext4", "job"), ("work-seed.ext4", "daemon"), ("manifest.json", "job")])
def test_killed_while_it_writes(instance, server, file, victim):
    pull = start_pull(instance, server)
    while not any(instance.state.glob(f"images/.staging-*/image/{file}")):
        if pull.poll() is not None:
            break  # it was faster than this: no harm, for its end is looked at all the same
    else:
        kill(instance, victim)
    pull.communicate(timeout=20)
    listed = {image["name"] for image in instance.json("image", "list")}
    assert ("it" in listed) or pull.returncode == 1
    nothing_else_stays(instance)
    pulls_now(instance, server)


@pytest.fixture
def silent(instance):
    it = Server.begin(instance, Silent)
    Silent.is_asked.clear()
    Silent.go_on.clear()
    yield it.host
    Silent.go_on.set()
    it.end()


def family(instance, program):
    """It and all that it has started, which may have any of the owner's subordinate ids."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = [pid for pid, line in instance.processes().items() if program in line]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    return [pid for pid in found if pathlib.Path(f"/proc/{pid}/exe").exists()]


@pytest.mark.parametrize("program, victim, words", [("mmdebstrap", "job", ("image", "pull", "--name", "it", "debian-bookworm")),
                                                    ("apt-get", "daemon", ("kernel", "pull", "--force", "debian-6.1"))])
def test_what_an_import_has_started_ends_with_it(instance, silent, program, victim, words):
    """mmdebstrap goes on to the end of what it does when it is told to stop, and apt waits for its server."""
    instance.end_daemon()
    pull = instance.popen(*words, env={"http_proxy": f"http://{silent}"}, stdout=-1, stderr=-1, text=True)
    assert Silent.is_asked.wait(60), pull.communicate(timeout=5)
    started = family(instance, program)
    assert len(started) > 1
    kill(instance, victim)
    assert pull.wait(20) == 1
    pull.communicate()
    instance.banger("image", "list")
    nothing_else_stays(instance, 40)  # what has subordinate ids is removed by a helper of mmdebstrap
    assert [pid for pid in started if pathlib.Path(f"/proc/{pid}").exists()] == []
    instance.end_daemon()  # its proxy is none


def test_what_a_create_has_chosen_stays_until_it_has_ended(instance, silent):
    config, own = instance.home / ".config/banger", instance.home / "own.ext4"
    os.link(instance.state / "images/debian-bookworm/rootfs.ext4", own)
    instance.as_owner_mkdir(config)
    (config / "kernels.json").write_text(json.dumps([{
        "name": "slow", "distro": "debian", "arch": "x86_64", "doc": "never comes",
        "bundle": {"url": f"http://{silent}/slow.tar.zst", "sha256": "0" * 64, "size": 1000}}]))
    instance.end_daemon()  # catalogs are read at its start
    try:
        instance.banger("image", "register", "--name", "own", "--rootfs", own)
        create = instance.popen("vm", "create", "--no-start", "--name", "waits", "--image", "own", "--kernel", "slow",
                                stdout=-1, stderr=-1, text=True)
        assert Silent.is_asked.wait(20)
        operation = instance.json("operations")[0]["id"]
        for noun, name in (("image", "own"), ("kernel", "slow")):
            refused = instance.banger(noun, "delete", name, check=False)
            assert refused.returncode == 1 and f"{noun} '{name}' is needed by a vm that is being created" in refused.stderr, refused.stderr
            assert f"banger operations --cancel {operation}" in refused.stderr
        instance.banger("operations", "--cancel", operation)
        assert create.wait(20) == 1
        create.communicate()
        instance.banger("image", "delete", "own")
        assert instance.json("vm", "list") == [] and instance.leftovers() == []
        # of a pull alone, the message says what to wait for
        Silent.is_asked.clear()
        pull = instance.popen("kernel", "pull", "slow", stdout=-1, stderr=-1, text=True)
        assert Silent.is_asked.wait(20)
        refused = instance.banger("kernel", "delete", "slow", check=False)
        assert refused.returncode == 1 and "kernel 'slow' is being pulled: try again when that has ended" in refused.stderr, refused.stderr
        pull.send_signal(signal.SIGINT)
        pull.communicate(timeout=20)
    finally:
        (config / "kernels.json").unlink()
        own.unlink()
        instance.end_daemon()


@pytest.fixture
def small_disks(instance):
    """12 MiB for the cache, and 12 for the images."""
    cache, images = instance.home / ".cache/banger", instance.state / "images"
    instance.as_owner_mkdir(cache)
    instance.end_daemon()
    mounted = []
    try:
        for folder in (cache, images):
            done = sh("mount", "-t", "tmpfs", "-o", f"size=12m,mode=0700,uid={instance.uid},gid={instance.gid}", "none", str(folder), check=False)
            needs(done.returncode == 0, "needs mounts")
            mounted.append(folder)
        yield cache, images
    finally:
        instance.end_daemon()
        for folder in mounted:
            sh("umount", str(folder))


def test_a_full_disk_is_said_before_and_survived_within(instance, server, small_disks, tmp_path):
    cache, images = small_disks
    ours = Halting.image
    try:
        Halting.image = Image(tmp_path / "large", [tar([entry("f", data=os.urandom(14 * MIB))])])
        done = instance.banger("image", "pull", "--name", "it", f"{server}/x:1", check=False)
        assert done.returncode == 1 and "missing; nothing was pulled" in done.stderr, done.stderr
        assert f"the disk of '{cache}/oci" in done.stderr and "2.0 MiB are missing" in done.stderr, done.stderr
    finally:
        Halting.image = ours
    # what unpacks to more than could be known
    done = instance.banger("image", "pull", "--name", "it", f"{server}/x:1", check=False)
    assert done.returncode == 1 and "No space left on device" in done.stderr and str(images) in done.stderr, done.stderr
    nothing_else_stays(instance)
    assert descriptor("layer")[7:] in cached(instance)
    # somebody else fills the cache's disk while a layer comes
    shutil.rmtree(cache / "oci")
    Halting.halts_at = descriptor("layer")
    pull = start_pull(instance, server)
    assert Halting.is_halted.wait(20)
    filler = cache / "filler"
    with open(filler, "wb") as file:
        try:
            file.write(bytes(64 * MIB))
        except OSError:
            pass
    Halting.go_on.set()
    said = pull.communicate(timeout=20)[1]
    assert pull.returncode == 1 and "No space left on device" in said and str(cache) in said, said
    nothing_else_stays_but(filler, instance)
    assert sh("df", "--output=used", str(images)).stdout.split()[1] == "0"


def nothing_else_stays_but(filler, instance):
    filler.unlink()
    nothing_else_stays(instance)
