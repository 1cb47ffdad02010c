#!/usr/bin/env python3
"""`banger image pull` as its users run it, bangerd and all, from a docker-registry on loopback: cold, in one layer and in twelve, with the
bytes written; and of an unchanged tag, with the number of requests; `image list` with many images. $BANGER_BENCH_MSB names a microsandbox (npm) to pull the same image beside it.
It prints and passes no judgement.

usage: bench_images.py BUILD [ROUNDS [IMAGES]]   BUILD: a release build, its programs collected; 5 rounds; 1000 images. $BANGER_BENCH_TAR: the tree
of the image as a tar, else /usr/lib/x86_64-linux-gnu and /usr/share. Run as root. Needs docker-registry, skopeo.
"""
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
sys.path.insert(0, str(HERE))
from bench_main import programs_of, timed_inside  # noqa: E402 (the path is known only now)
from bench_oci import split  # noqa: E402
from instance import Instance, sh  # noqa: E402
from namespace_server import Quiet, Server  # noqa: E402
from oci_layout import Image, entry, tar  # noqa: E402

PORT = 5059


class Counting(Quiet):
    """The image's manifest and blobs; every request is noted."""
    folder, digest = None, ""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.seen.append(self.path)
        name = self.path.rsplit("/", 1)[1]
        digest = Counting.digest if name == "1" else name
        kind = [("Content-Type", "application/vnd.oci.image.manifest.v1+json"), ("Docker-Content-Digest", digest)]
        self.answer(200, (Counting.folder / "blobs/sha256" / digest[7:]).read_bytes(), kind if name == "1" else ())


def say(name, seconds, text=""):
    print(f"{name:<46} {statistics.median(seconds) * 1000:>10.1f} ms   of {len(seconds)}, best {min(seconds) * 1000:.1f} {text}", flush=True)


def start_registry(it, folder):
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: '127.0.0.1:{PORT}'}}\n")
    return subprocess.Popen(["ip", "netns", "exec", it.netns, "docker-registry", "serve", folder / "registry.yml"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def push(it, image, name):
    while sh("ip", "netns", "exec", it.netns, "skopeo", "copy", "--dest-tls-verify=false", f"oci:{image.folder}:t",
             f"docker://127.0.0.1:{PORT}/{name}:1", check=False).returncode != 0:
        time.sleep(0.2)


def written(it):
    """Bytes that bangerd and the jobs that it has waited for have sent to the disk (proc_pid_io(5), write_bytes)."""
    lines = dict(line.split(": ") for line in pathlib.Path(f"/proc/{it.daemon_pid()}/io").read_text().splitlines())
    return int(lines["write_bytes"])


def on_disk(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def bench_theirs(it, folder, name, msb):
    home = folder / "msb"
    home.mkdir()
    os.sync()
    begun = time.monotonic()
    subprocess.run(["ip", "netns", "exec", it.netns, msb, "pull", "--quiet", "--insecure", "--materialize", "flat",
                    f"127.0.0.1:{PORT}/{name}:1"], env=dict(os.environ, HOME=str(home)), check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begun
    shutil.rmtree(home)
    return seconds


def bench_cold(it, folder, name, image, rounds):
    """Nothing is here. What is written is compared with what stays: the compressed blobs, the content of the files and the
    file system's own blocks."""
    push(it, image, name)
    cache, ours, theirs, sent, stays = it.home / ".cache/banger/oci", [], [], [], []
    for _ in range(rounds):
        shutil.rmtree(cache, ignore_errors=True)
        it.banger("image", "delete", name, check=False)
        os.sync()
        before = written(it)
        ours += timed_inside(it, 1, it.bin / "banger", "image", "pull", "--name", name, f"127.0.0.1:{PORT}/{name}:1")
        time.sleep(0.2)  # its process is waited for
        sent.append(written(it) - before)
        stays.append(on_disk(cache) + on_disk(it.state / "images" / name))
        if msb := os.environ.get("BANGER_BENCH_MSB"):
            theirs.append(bench_theirs(it, folder, name, msb))
    say(f"image pull, nothing here, {name}", ours, f"({sum(layer['size'] for layer in image.layers) >> 20} MiB in {len(image.layers)} layers)")
    most = max(zip(sent, stays))
    print(f"  written, most of {rounds:<27} {most[0] / 2**20:>10.1f} MiB, {most[0] / most[1]:.3f} of what stays with content and metadata", flush=True)
    if theirs:
        say("msb pull --materialize flat", theirs, f"ratio {statistics.median(theirs) / statistics.median(ours):.1f}")


def bench_registry(it, folder, archive, rounds):
    registry = start_registry(it, folder)
    try:
        bench_cold(it, folder, "one-layer", Image(folder / "one", [archive.read_bytes()]), rounds)
        bench_cold(it, folder, "twelve-layers", Image(folder / "twelve", split(archive, 12)), rounds)
    finally:
        registry.terminate()
        registry.wait()


def end_waiting(it):
    for pid, line in it.processes().items():
        if "bangerd-import" in line:
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)


def bench_unchanged(it, image, rounds):
    Counting.folder, Counting.digest = image.folder, image.digest
    server = Server.begin(it, Counting)
    try:
        words = (it.bin / "banger", "image", "pull", "--name", "same", f"{server.host}/same:1")
        timed_inside(it, 1, *words)
        server.seen.clear()
        times = timed_inside(it, rounds * 4, *words)
        say("image pull, the tag is unchanged", times, f"{len(server.seen) / len(times):.1f} requests each; one right behind the other")
        times = []
        for _ in range(rounds * 4):
            end_waiting(it)
            times += timed_inside(it, 1, *words)
        say("  the first for a while", times, "no process of an import waits")
    finally:
        server.end()


def bench_list(it, n, rounds):
    template = json.loads((it.state / "images/same/manifest.json").read_text())
    for i in range(n):
        folder = it.state / f"images/many-{i:04}"
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps(dict(template, name=folder.name)))
    words = (it.bin / "banger", "image", "list")
    timed_inside(it, 1, *words)
    say(f"image list, {n} images", timed_inside(it, rounds * 4, *words))
    say("version, for comparison", timed_inside(it, rounds * 4, it.bin / "banger", "version"))


def main():
    programs = programs_of(sys.argv[1])
    rounds, n_images = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((2, 5), (3, 1000)))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    it = Instance(programs)
    try:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            folder = pathlib.Path(name)
            archive = pathlib.Path(os.environ.get("BANGER_BENCH_TAR", folder / "tar"))
            if not archive.exists():
                sh("tar", "-C", "/", "-c", "--format=pax", "-f", str(archive), "usr/lib/x86_64-linux-gnu", "usr/share")
            bench_registry(it, folder, archive, rounds)
            bench_unchanged(it, Image(folder / "small", [tar([entry("file")])]), rounds)
            bench_list(it, n_images, rounds)
    finally:
        it.close()
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
