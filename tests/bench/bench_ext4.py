#!/usr/bin/env python3
"""tar to ext4 in one pass against `tar x` and `mke2fs -d`, and an empty 8 GiB file system against mke2fs: medians of one run.

bench_ext4.py BUILD   BUILD: a release build with tests. $BANGER_BENCH_TAR: the archive, else one of /usr/lib/x86_64-linux-gnu and /usr/share.
Run as root, so that the other way keeps owners too.
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOOL = pathlib.Path(sys.argv[1]) / "tests/unit/ext4_tool"
ROUNDS = 5
ENVIRONMENT = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")


def run(*argv, **options):
    return subprocess.run([str(word) for word in argv], check=True, env=ENVIRONMENT, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, **options).stdout


def timed(function):
    start = time.monotonic()
    function()
    return time.monotonic() - start


def ours(archive, image):
    with open(archive, "rb") as file:
        return run(TOOL, "tar", image, 8192, stdin=file)


def theirs(archive, folder, image):
    tree = folder / "tree"
    tree.mkdir()
    run("tar", "-C", tree, "-x", "-p", "--xattrs", "--xattrs-include=*", "-f", archive)
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, image, "8G")


def main():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        archive = pathlib.Path(os.environ.get("BANGER_BENCH_TAR", folder / "tar"))
        if not archive.exists():
            run("tar", "-C", "/", "-c", "--format=pax", "-f", archive, "usr/lib/x86_64-linux-gnu", "usr/share")
        image, mine, others, empty, empty_others, memory = folder / "image", [], [], [], [], 0
        for _ in range(ROUNDS):
            mine.append(timed(lambda: ours(archive, image)))
            image.unlink()
            others.append(timed(lambda: theirs(archive, folder, image)))
            image.unlink()
            shutil.rmtree(folder / "tree")
            empty.append(float(run(TOOL, "empty", image, 8192).split()[0]))
            image.unlink()
            empty_others.append(timed(lambda: run("mke2fs", "-q", "-t", "ext4", image, "8G")))
            image.unlink()
        memory = int(ours(archive, image).split()[1])
    mine, others, empty, empty_others = map(statistics.median, [mine, others, empty, empty_others])
    print(f"archive to ext4       {mine:8.3f} s   tar x + mke2fs -d {others:8.3f} s   ratio {others / mine:.1f}")
    print(f"peak memory           {memory / 1024:8.1f} MiB")
    print(f"empty 8 GiB           {empty * 1000:8.1f} ms  mke2fs            {empty_others * 1000:8.1f} ms  "
          f"ratio {empty_others / empty:.1f}")


if __name__ == "__main__":
    main()
