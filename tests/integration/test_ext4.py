"""A tar that became an ext4 holds what `tar x` makes of it: names, types, owners, modes, times, content, attributes, links.

Needs root (owners, devices, a loop mount), tar, e2fsck. $BANGER_BUILD is the build folder (default: build).
"""
import hashlib
import os
import pathlib
import shutil
import stat
import subprocess

import pytest

from conftest import needs

TESTS = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BANGER_BUILD", TESTS.parent / "build"))
TOOL = BUILD / "tests/unit/ext4_tool"
HASHED = 64 << 20
ENVIRONMENT = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")


def run(*argv, **options):
    return subprocess.run(argv, check=True, env=ENVIRONMENT, **options)


def describe(top):
    """Everything a tree says about itself, by name."""
    found, links = {}, {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for path in [folder] + [os.path.join(folder, name) for name in files + folders]:
            name = os.path.relpath(path, os.fsencode(top))
            info = os.lstat(path)
            is_folder = stat.S_ISDIR(info.st_mode)
            entry = [info.st_mode, info.st_uid, info.st_gid, info.st_rdev if not is_folder else 0, info.st_mtime_ns]
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    file.seek(max(0, info.st_size - HASHED))  # of the sparse file: what is at its end
                    entry.append((info.st_size, hashlib.sha1(file.read()).digest()))
            if stat.S_ISLNK(info.st_mode):
                entry.append(os.readlink(path))
            entry.append({key: os.getxattr(path, key, follow_symlinks=False)
                          for key in os.listxattr(path, follow_symlinks=False)})
            if not is_folder and info.st_nlink > 1:
                links.setdefault(info.st_ino, set()).add(name)
            found[name] = entry
    found.pop(b"lost+found", None)
    return found, sorted(sorted(names) for names in links.values())


def make_tree(top):
    """Real files of this machine, and one of everything that is rare."""
    top.mkdir()
    shutil.copytree("/usr/share/bash-completion", top / "real", symlinks=True)
    shutil.copytree("/etc/ssl", top / "links", symlinks=True)
    (top / "owned").write_text("x")
    os.chown(top / "owned", 65537, 4000000000)
    (top / "setuid").write_text("x")
    (top / "setuid").chmod(0o6755)
    os.utime(top / "setuid", ns=(1, 1234567890123456789))
    os.link(top / "owned", top / "real/hard")
    (top / "fast").symlink_to("t" * 59)
    (top / "slow").symlink_to("t" * 60)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "big-device", stat.S_IFBLK | 0o600, os.makedev(300, 70000))
    os.mkfifo(top / "fifo")
    (pathlib.Path(os.fsdecode(os.fsencode(top) + b"/\xff\xfe"))).write_text("not UTF-8")
    (top / ("n" * 255)).write_text("long")
    with open(top / "sparse", "wb") as file:
        file.seek(5 << 30)
        file.write(b"end")
    os.setxattr(top / "owned", "user.note", b"hello")
    os.setxattr(top / "owned", "security.capability", bytes.fromhex("0000000200040000000000000000000000000000"))
    os.setxattr(top / "real", "user.big", b"v" * 3000)
    (top / "many").mkdir()
    for i in range(1000):
        (top / f"many/file-{i:06}").write_text("x")


@pytest.mark.parametrize("form", ["pax", "gnu"])
@pytest.mark.parametrize("compress", ["", "--gzip"])
def test_an_image_equals_what_tar_unpacks(tmp_path, form, compress):
    needs(os.geteuid() == 0, "needs root")
    needs(TOOL.exists(), f"{TOOL} is not built")
    tree, unpacked, mounted = tmp_path / "tree", tmp_path / "unpacked", tmp_path / "mounted"
    archive, image = tmp_path / "tar", tmp_path / "image"
    make_tree(tree)
    unpacked.mkdir()
    mounted.mkdir()
    attributes = ["--xattrs", "--xattrs-include=*"] if form == "pax" else []
    run("tar", "-C", tree, "-cS", f"--format={form}", *attributes, *([compress] if compress else []), "-f", archive, ".")
    run("tar", "-C", unpacked, "-x", "--same-owner", "-p", *attributes, "-f", archive)
    with open(archive, "rb") as file:
        run(TOOL, "tar", image, "6144", stdin=file)
    run("e2fsck", "-fn", image, stdout=subprocess.DEVNULL)
    assert image.stat().st_blocks * 512 < 200 << 20, "the image is not sparse"

    mount = subprocess.run(["mount", "-o", "loop,ro", image, mounted], env=ENVIRONMENT, capture_output=True)
    needs(mount.returncode == 0, "needs loop mounts")
    try:
        assert describe(mounted) == describe(unpacked)
        assert (mounted / "sparse").stat().st_blocks * 512 < 1 << 20
    finally:
        run("umount", mounted)


def test_a_copy_equals_its_source(tmp_path):
    needs(os.geteuid() == 0, "needs root")
    needs(TOOL.exists(), f"{TOOL} is not built")
    tree, archive = tmp_path / "tree", tmp_path / "tar"
    make_tree(tree)
    run("tar", "-C", tree, "-cS", "--format=pax", "--xattrs", "--xattrs-include=*", "-f", archive, ".")
    with open(archive, "rb") as file:
        run(TOOL, "tar", tmp_path / "first", "6144", stdin=file)
    run(TOOL, "copy", tmp_path / "second", "8192", tmp_path / "first")
    run("e2fsck", "-fn", tmp_path / "second", stdout=subprocess.DEVNULL)
    described = []
    for name in ["first", "second"]:
        mounted = tmp_path / f"{name}-mounted"
        mounted.mkdir()
        mount = subprocess.run(["mount", "-o", "loop,ro", tmp_path / name, mounted], env=ENVIRONMENT, capture_output=True)
        needs(mount.returncode == 0, "needs loop mounts")
        try:
            described.append(describe(mounted))
        finally:
            run("umount", mounted)
    assert described[0] == described[1]
