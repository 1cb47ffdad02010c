#!/usr/bin/env python3
"""An image of a registry on loopback to a bootable ext4, against skopeo + umoci + mke2fs, and against the floor of one
download and one decompression: medians of one run. Each round takes each of them in turn.

bench_oci.py BUILD   BUILD: a release build with tests. $BANGER_BENCH_TAR: the tree of the image as a tar; without it, one of
/usr/lib/x86_64-linux-gnu and /usr/share. Run as root. Needs docker-registry, skopeo, umoci, curl, igzip, mke2fs.
"""
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/integration"))
from oci_layout import Image, entry, tar, whiteout  # noqa: E402

TOOL = pathlib.Path(sys.argv[1]) / "tests/unit/oci_layers_tool"
ROUNDS = int(os.environ.get("BANGER_BENCH_ROUNDS", "5"))
ENVIRONMENT = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")


def run(*argv, **options):
    return subprocess.run([str(word) for word in argv], check=True, env=ENVIRONMENT, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, **options).stdout


def timed(function, *words):
    start = time.monotonic()
    result = function(*words)
    return time.monotonic() - start, result


def start_registry(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "registry.yml").write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n")
    process = subprocess.Popen(["docker-registry", "serve", folder / "registry.yml"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1).close()
            return process, port
        except OSError:
            time.sleep(0.1)
    raise SystemExit("docker-registry does not answer")


def split(archive, n):
    """The tree as n layers, the upper ones of which remove one file of each below."""
    import tarfile
    with tarfile.open(archive) as source:
        members = [m for m in source.getmembers() if m.isreg() and m.size > 0]
        layers = []
        for i in range(n):
            part = [(m, source.extractfile(m).read()) for m in members[i::n]]
            gone = [whiteout(members[k].name.removeprefix("./")) for k in range(i)]
            layers.append(tar(part + gone + [entry(f"layer-{i}")]))
    return layers


def ours(port, name, image, out):
    """One layer comes through a pipe while it is fetched; of several, each is fetched first."""
    base = f"http://127.0.0.1:{port}/v2/{name}/blobs/"
    words = list(image.words())
    if len(image.layers) == 1:
        words[0] = "-"
        fetch = subprocess.Popen(["curl", "-s", base + image.layers[0]["digest"]], stdout=subprocess.PIPE)
        said = run(TOOL, out, 0, image.digest, *words, stdin=fetch.stdout)
        fetch.wait()
    else:
        for i, layer in enumerate(image.layers):
            words[5 * i] = f"{out}.layer-{i}"
        run("curl", "-s", "--parallel", *[word for i, layer in enumerate(image.layers)
                                          for word in ("-o", words[5 * i], base + layer["digest"])])
        said = run(TOOL, out, 0, image.digest, *words)
        for i in range(len(image.layers)):
            os.unlink(words[5 * i])
    return json.loads(said)


def theirs(port, name, folder):
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://127.0.0.1:{port}/{name}:t", f"oci:{folder}/copy:t")
    run("umoci", "unpack", "--image", f"{folder}/copy:t", folder / "bundle")
    run("mke2fs", "-q", "-t", "ext4", "-d", folder / "bundle/rootfs", folder / "theirs", "4G")


def floor(port, name, image):
    for layer in image.layers:
        fetch = subprocess.Popen(["curl", "-s", f"http://127.0.0.1:{port}/v2/{name}/blobs/{layer['digest']}"], stdout=subprocess.PIPE)
        subprocess.run(["igzip", "-d", "-c"], stdin=fetch.stdout, stdout=subprocess.DEVNULL, check=True)
        fetch.wait()


def clean(folder):
    for name in ("copy", "bundle"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("ours", "theirs"):
        (folder / name).unlink(missing_ok=True)


def measure(folder, port, name, image):
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{image.folder}:t", f"docker://127.0.0.1:{port}/{name}:t")
    times, result = {"ours": [], "theirs": [], "floor": []}, None
    for _ in range(ROUNDS):
        clean(folder)
        seconds, result = timed(ours, port, name, image, folder / "ours")
        times["ours"].append(seconds)
        written = (folder / "ours").stat().st_blocks * 512
        times["floor"].append(timed(floor, port, name, image)[0])
        if os.environ.get("BANGER_BENCH_THEIRS", "1") == "1":
            times["theirs"].append(timed(theirs, port, name, folder)[0])
    clean(folder)
    mine, low = (statistics.median(times[key]) for key in ("ours", "floor"))
    print(f"{name}: {sum(layer['size'] for layer in image.layers) >> 20} MiB in {len(image.layers)} layers, "
          f"{result['unpacked_bytes'] >> 20} MiB unpacked, {result['n_entries']} entries")
    print(f"  pull to ext4            {mine:8.3f} s")
    if times["theirs"]:
        slow = statistics.median(times["theirs"])
        print(f"  skopeo + umoci + mke2fs {slow:8.3f} s   ratio {slow / mine:.1f}")
    print(f"  curl | igzip -d         {low:8.3f} s   ratio {mine / low:.2f}")
    print(f"  peak memory             {result['peak_kib'] / 1024:8.1f} MiB (of the three processes together)")
    print(f"  on disk                 {written / max(1, result['content_bytes']):8.3f} of the content's bytes")


def main():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        archive = pathlib.Path(os.environ.get("BANGER_BENCH_TAR", folder / "tar"))
        if not archive.exists():
            run("tar", "-C", "/", "-c", "--format=pax", "-f", archive, "usr/lib/x86_64-linux-gnu", "usr/share")
        registry, port = start_registry(folder)
        try:
            measure(folder, port, "one-layer", Image(folder / "one", [archive.read_bytes()]))
            measure(folder, port, "twelve-layers", Image(folder / "twelve", split(archive, 12)))
        finally:
            registry.terminate()
            registry.wait()


if __name__ == "__main__":
    main()
