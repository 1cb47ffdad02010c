"""Layers that became an ext4 hold what `umoci unpack` makes of them as root, name by name; hostile ones become nothing.

Needs root (owners, devices, loop mounts), umoci, e2fsck, zstd. $BANGER_BUILD is the build folder (default: build).
"""
import gzip
import json
import os
import shutil
import subprocess
import tarfile

import pytest

from conftest import needs
from oci_layout import Image, entry, opaque, sha256, tar, whiteout
from test_ext4 import BUILD, ENVIRONMENT, describe

TOOL = BUILD / "tests/unit/oci_layers_tool"
FILE = entry
CAPABILITY = bytes.fromhex("0000000200040000000000000000000000000000")
# user::rw-,user:70000:r--,group::r--,mask::r--,other::---  (linux include/uapi/linux/posix_acl_xattr.h)
ACL = bytes.fromhex("02000000" "01000600ffffffff" "0200040070110100" "04000400ffffffff" "10000400ffffffff" "20000000ffffffff")


def folder(name, **words):
    return entry(name, "dir", **words)


def link(name, target):
    return entry(name, "link", target=target)


def symlink(name, target):
    return entry(name, "symlink", mode=0o777, target=target)


@pytest.fixture(autouse=True)
def tools():
    needs(os.geteuid() == 0, "needs root")
    needs(TOOL.exists(), f"{TOOL} is not built")


def convert(image, out, size=0, **environment):
    return subprocess.run([TOOL, out, str(size), image.digest, *image.words()], capture_output=True, text=True,
                          env=dict(ENVIRONMENT, **environment))


def converted(image, out, **words):
    done = convert(image, out, **words)
    assert done.returncode == 0, done.stderr
    checked = subprocess.run(["e2fsck", "-fn", out], env=ENVIRONMENT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    return json.loads(done.stdout)


def mounted(path, tmp_path, look):
    top = tmp_path / "mounted"
    top.mkdir(exist_ok=True)
    mount = subprocess.run(["mount", "-o", "loop,ro", path, top], env=ENVIRONMENT, capture_output=True)
    needs(mount.returncode == 0, "needs loop mounts")
    try:
        return look(top)
    finally:
        subprocess.run(["umount", top], env=ENVIRONMENT, check=True)


def assert_like_umoci(image, tmp_path, but=()):
    """but: names whose times umoci loses."""
    converted(image, tmp_path / "ext4")
    subprocess.run(["umoci", "unpack", "--image", f"{image.folder}:t", tmp_path / "bundle"], env=ENVIRONMENT, check=True,
                   capture_output=True)
    ours, theirs = mounted(tmp_path / "ext4", tmp_path, describe), describe(tmp_path / "bundle/rootfs")
    for found in (ours[0], theirs[0]):
        found.pop(b".", None)  # no layer describes it
        for name in but:
            found[name][4] = 0
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]


SHAPES = {
    "removed, changed, new": [[folder("a"), FILE("a/x", data=b"hello"), FILE("a/y", data=b"y")],
                              [folder("a", mode=0o700), whiteout("a/x"), FILE("a/z", data=b"z")]],
    "opaque, said first": [[folder("a"), FILE("a/x"), folder("a/d"), FILE("a/d/q")],
                           [folder("a"), opaque("a"), FILE("a/n", data=b"n")]],
    "opaque, said last": [[folder("a"), FILE("a/x"), folder("a/d"), FILE("a/d/q")],
                          [folder("a"), FILE("a/n", data=b"n"), opaque("a")]],
    "a file replaces a folder": [[folder("a"), FILE("a/x")], [FILE("a", data=b"file")]],
    "a folder replaces a file": [[FILE("a", data=b"file")], [folder("a"), FILE("a/x")]],
    "a folder replaces a symbolic link": [[folder("t"), FILE("t/k"), symlink("a", "t")], [folder("a"), FILE("a/x")]],
    "a symbolic link replaces a folder": [[folder("a"), FILE("a/x"), folder("t")], [symlink("a", "t")]],
    "hard links": [[FILE("f", data=b"f"), link("g", "f"), link("h", "g")]],
    "a hard link to a file below": [[folder("d"), FILE("d/f", data=b"fff")], [folder("d"), link("d/g", "d/f")]],
    "whose first name goes": [[folder("d"), FILE("d/f", data=b"fff")], [folder("d"), link("d/g", "d/f")],
                              [folder("d"), whiteout("d/f")]],
    "the first of three names goes": [[folder("d"), FILE("d/f", data=b"f" * 9999), link("d/g", "d/f"), link("d/h", "d/f")],
                                      [folder("d"), whiteout("d/f")]],
    "the first of two names is another file": [[folder("d"), FILE("d/f", data=b"f" * 9999), link("d/g", "d/f")],
                                               [folder("d"), FILE("d/f", data=b"new")]],
    "in two layers": [[FILE("a", data=b"a" * 5000), link("b", "a")], [FILE("c", data=b"c" * 5000), link("d", "c"), FILE("a")],
                      [FILE("c")]],
    "a name that a folder takes": [[FILE("a", data=b"old"), link("b", "a")], [folder("a"), FILE("a/x")]],
    "a link to what is replaced above": [[FILE("f", data=b"old")], [link("g", "f")], [FILE("f", data=b"new")]],
    "a folder is removed and made again": [[folder("d"), FILE("d/f"), folder("d/e"), FILE("d/e/g")],
                                           [whiteout("d"), folder("d"), FILE("d/n")]],
    "removed twice": [[folder("d"), FILE("d/f")], [whiteout("d")], [folder("d"), FILE("d/g")], [folder("d"), whiteout("d/g")]],
    "devices, owners, set-uid": [[entry("c", "char", device=(1, 3)), entry("b", "block", device=(300, 70000)), entry("p", "fifo"),
                                  FILE("owned", uid=70000, gid=4000000000, mode=0o6755),
                                  FILE("exact", mtime=1234567890.25, pax={"mtime": "1234567890.123456789"})]],
    "names": [[FILE("n" * 255), folder("d" * 200), FILE("d" * 200 + "/" + "f" * 200), FILE("tab\tnewline\nname"),
               symlink("long", "t" * 3000), FILE("caf\u00e9")]],
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_what_umoci_makes_of_them(tmp_path, name):
    needs(subprocess.run(["which", "umoci"], capture_output=True).returncode == 0, "needs umoci")
    assert_like_umoci(Image(tmp_path / "image", [tar(layer) for layer in SHAPES[name]]), tmp_path)


@pytest.mark.parametrize("n_bytes", [1, 511, 512, 700])
def test_a_layer_may_end_with_the_last_file(tmp_path, n_bytes):
    """umoci itself writes such, without the zeros that fill the last block."""
    needs(shutil.which("umoci"), "needs umoci")
    layer = tar([FILE("f", data=b"x" * n_bytes)])[:512 + n_bytes]
    assert_like_umoci(Image(tmp_path / "image", [tar([FILE("below", data=b"b")]), layer]), tmp_path)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_every_form_and_compression_reads_the_same(tmp_path, form, compression):
    layers = [tar([folder("a"), FILE("a/" + "n" * 90, data=os.urandom(300000)), FILE(b"a/\xff\xfe", data=b"bytes")], form),
              tar([folder("a"), whiteout("a/x"), FILE("a/y", data=b"y" * 5000000)], form)]
    image = Image(tmp_path / "image", layers, [compression] * 2)
    result = converted(image, tmp_path / "ext4")
    found, _ = mounted(tmp_path / "ext4", tmp_path, describe)
    assert set(found) == {b".", b"a", b"a/" + b"n" * 90, b"a/\xff\xfe", b"a/y"}
    assert result["content_bytes"] == 300000 + 5 + 5000000


def test_attributes_access_lists_and_sparse_files(tmp_path):
    """umoci keeps no access lists, so this one looks itself."""
    latin = {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1"), "SCHILY.xattr.user.note": "hello"}
    tree, layer = tmp_path / "tree", tmp_path / "layer"
    tree.mkdir()
    (tree / "capable").write_bytes(b"x")
    os.setxattr(tree / "capable", "security.capability", CAPABILITY)
    os.setxattr(tree / "capable", "user.note", latin["SCHILY.xattr.user.note"].encode())
    (tree / "listed").write_bytes(b"x")
    os.setxattr(tree / "listed", "system.posix_acl_access", ACL)
    with open(tree / "sparse", "wb") as file:
        file.seek(5 << 30)
        file.write(b"end")
    (tree / "zeros").write_bytes(bytes(20 << 20))
    subprocess.run(["tar", "-C", tree, "-cS", "--format=pax", "--acls", "--xattrs", "--xattrs-include=*", "-f", layer, "."],
                   check=True)
    image = Image(tmp_path / "image", [layer.read_bytes()])
    converted(image, tmp_path / "ext4")
    assert mounted(tmp_path / "ext4", tmp_path, describe) == describe(tree)
    assert (tmp_path / "ext4").stat().st_blocks * 512 < 4 << 20, "holes and zeros were written"


def test_folders_of_many_names_have_an_index(tmp_path):
    layer = headers(lambda i: b"many/a-file-with-a-longer-name-%06d" % i, 100000)
    result = converted(Image(tmp_path / "image", [layer], ["zstd"]), tmp_path / "ext4")
    assert result["n_names"] == 100003  # with many, the root and lost+found
    shown = subprocess.run(["debugfs", "-R", "htree_dump /many", tmp_path / "ext4"], env=ENVIRONMENT, capture_output=True, text=True)
    assert "Indirect levels: 1" in shown.stdout
    names = mounted(tmp_path / "ext4", tmp_path, lambda top: [(top / f"many/a-file-with-a-longer-name-{i:06}").exists() for i in range(0, 100000, 97)])
    assert all(names)
    assert result["peak_kib"] < 96 << 10 or b"__asan_init" in TOOL.read_bytes()


def test_the_same_image_gives_the_same_bytes(tmp_path):
    layers = [tar([folder("a")] + [FILE(f"a/{i}", data=b"x" * i) for i in range(3000)]), tar([folder("a"), whiteout("a/7")])]
    for name in ["first", "second"]:
        converted(Image(tmp_path / name, layers), tmp_path / f"{name}.ext4")
    subprocess.run(["cmp", "-n", "200M", tmp_path / "first.ext4", tmp_path / "second.ext4"], check=True)


def test_what_is_replaced_is_not_written(tmp_path):
    noise = os.urandom(8 << 20)
    image = Image(tmp_path / "image", [tar([FILE("a", data=noise), FILE("b", data=noise)]), tar([FILE("a", data=b"small")]),
                                       tar([whiteout("b")])])
    result = converted(image, tmp_path / "ext4")
    assert result["content_bytes"] == 5
    assert (tmp_path / "ext4").stat().st_blocks * 512 < 1 << 20


def test_size(tmp_path):
    noise = os.urandom(30 << 20)
    image = Image(tmp_path / "image", [tar([FILE("a", data=noise)])])
    assert converted(image, tmp_path / "default")["size"] == 1 << 30
    assert converted(image, tmp_path / "wanted", size=3000)["size"] == 3000 << 20
    done = convert(image, tmp_path / "small", size=16)
    assert done.returncode == 1 and "larger size" in done.stderr and not (tmp_path / "small").exists()


def big_header(name, size):
    """A header that promises size bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


OUTSIDE = "/the probe"
LINK_OUT = symlink("etc", OUTSIDE)
HOSTILE = {
    # what, layers, what the error must say
    "a write through a symbolic link": ([[LINK_OUT], [FILE("etc/x", data=b"x")]], ["layer 1 of 2", "'etc' is a symbolic link",
                                                                                 "layer 2"]),
    "a write through one of the same layer": ([[LINK_OUT, FILE("etc/x")]], ["layer 1 of 1", "'etc/x' leads through a symbolic link"]),
    "a whiteout through a symbolic link": ([[LINK_OUT], [whiteout("etc/victim")]], ["layer 1 of 2", "'etc' is a symbolic link"]),
    "an opaque folder through a symbolic link": ([[LINK_OUT], [opaque("etc")]], ["layer 1 of 2", "'etc' is a symbolic link"]),
    "a hard link through a symbolic link": ([[LINK_OUT], [link("h", "etc/passwd")]], ["'h' of layer 2", "symbolic link"]),
    "a hard link through one of the same layer": ([[LINK_OUT, link("h", "etc/passwd")]], ["hard link 'h'", "symbolic link"]),
    "a write through a file": ([[FILE("a")], [FILE("a/b")]], ["layer 1 of 2", "'a' is no folder"]),
    "..": ([[FILE("../x")]], ["'../x' contains '..'"]),
    ".. further on": ([[FILE("a/../../x")]], ["contains '..'"]),
    ".. as a target of a hard link": ([[link("h", "../../etc/passwd")]], ["hard link 'h'", "contains '..'"]),
    "a hard link to nothing": ([[link("h", "nothing")]], ["'h' of layer 1 is a hard link to 'nothing'", "in no layer"]),
    "hard links in a circle": ([[link("a", "b"), link("b", "a")]], ["is a hard link to"]),
    "a hard link to a folder": ([[folder("d"), link("h", "d")]], ["'h' is a hard link to a folder"]),
    "a hard link to what is removed below": ([[FILE("f")], [whiteout("f")], [link("h", "f")]], ["'h' of layer 3", "removed"]),
    "a whiteout of ..": ([[FILE(".wh...")]], ["removes no name"]),
    "a whiteout of nothing": ([[FILE(".wh.")]], ["removes no name"]),
    "the root is no folder": ([[symlink(".", "/tmp")]], ["would replace the root"]),
    "a name of 256 bytes": ([[FILE("n" * 256)]], ["longer than 255"]),
    "a path of 5000 bytes": ([[FILE("/".join(["d" * 99] * 50))]], ["longer than 4095"]),
    "an owner of 33 bits": ([[FILE("f", uid=1 << 33)]], ["owner"]),
    "an attribute of 100 KiB": ([[FILE("f", pax={"SCHILY.xattr.user.x": "v" * 100000})]], ["attributes"]),
    "a thousand attributes": ([[FILE("f", pax={f"SCHILY.xattr.user.{i}": "v" for i in range(1000)})]], ["attributes"]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_layers_are_refused_by_name_and_leave_nothing(tmp_path, what):
    layers, said = HOSTILE[what]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("here")
    for info, _ in [item for layer in layers for item in layer]:
        if info.linkname == OUTSIDE:
            info.linkname = str(outside)
    image = Image(tmp_path / "image", [tar(layer) for layer in layers])
    done = convert(image, tmp_path / "ext4")
    assert done.returncode == 1, done.stdout
    for words in said:
        assert words in done.stderr
    assert not (tmp_path / "ext4").exists()
    assert os.listdir(outside) == ["victim"]


HARMLESS = {
    "absolute names": ([[FILE("/etc/x", data=b"x")]], {b"etc", b"etc/x"}),
    "a name twice": ([[FILE("f", data=b"old"), FILE("f", data=b"new")]], {b"f"}),
    "a link to itself": ([[FILE("f", data=b"x"), link("f", "f")]], {b"f"}),
    "control characters": ([[FILE("a\x1b[31m\x07", data=b"x")]], {b"a\x1b[31m\x07"}),
    "a symbolic link out": ([[symlink("s", "../../../etc/passwd")]], {b"s"}),
    "lost+found is a file": ([[FILE("lost+found")]], set()),
    "what AUFS kept": ([[FILE(".wh..wh.aufs"), FILE("f")]], {b"f"}),
    "a whiteout of nothing there": ([[FILE("f")], [whiteout("a/b/c")]], {b"f"}),
    "a write through what is removed in between": ([[LINK_OUT], [whiteout("etc")], [FILE("etc/x")]], {b"etc", b"etc/x"}),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_odd_layers_do_no_harm(tmp_path, what):
    layers, names = HARMLESS[what]
    converted(Image(tmp_path / "image", [tar(layer) for layer in layers]), tmp_path / "ext4")
    found, _ = mounted(tmp_path / "ext4", tmp_path, describe)
    assert set(found) - {b"."} == names


def refused(image, tmp_path, *said, **environment):
    done = convert(image, tmp_path / "ext4", **environment)
    assert done.returncode == 1, done.stdout
    for words in said:
        assert words in done.stderr, done.stderr
    assert not (tmp_path / "ext4").exists()


def test_damaged_and_lying_blobs(tmp_path):
    good = tar([FILE("a", data=os.urandom(100000))])
    for name, change, said in [
            ("cut", lambda layer: layer.update(size=layer["size"] + 5), "ends after"),
            ("long", lambda layer: layer.update(size=layer["size"] - 5), "longer than"),
            ("digest", lambda layer: layer.update(diff_id=sha256(b"other")), "has the digest"),
            ("no gzip", lambda layer: layer.update(compression="zstd"), "damaged")]:
        image = Image(tmp_path / name, [good])
        change(image.layers[0])
        refused(image, tmp_path, "layer 1 of 1 (sha256:", said)
    blob = gzip.compress(good)
    for name, data, said in [("truncated", blob[:-2000], "cut off"), ("empty", b"", "it is empty"),
                             ("flipped", blob[:5000] + bytes(100) + blob[5100:], "gzip")]:
        image = Image(tmp_path / name, [good])
        image.layers[0].update(digest=image.blob(data), size=len(data))
        refused(image, tmp_path, said)


def test_archives_that_end_too_early(tmp_path):
    refused(Image(tmp_path / "image", [big_header("f", 1 << 40) + b"x" * 5000]), tmp_path, "layer 1 of 1", "truncated")


def test_several_gzip_members_are_one_layer(tmp_path):
    layer = tar([FILE("a", data=b"a" * 10000), FILE("b", data=os.urandom(10000))])
    image = Image(tmp_path / "image", [layer])
    blob = b"".join(gzip.compress(layer[i:i + 777]) for i in range(0, len(layer), 777)) + bytes(100)
    image.layers[0].update(digest=image.blob(blob), size=len(blob))
    assert converted(image, tmp_path / "ext4")["content_bytes"] == 20000


def test_bombs(tmp_path):
    image = Image(tmp_path / "image", [tar([FILE("zeros", data=bytes(64 << 20))])])
    assert converted(image, tmp_path / "ext4")["content_bytes"] == 64 << 20
    (tmp_path / "ext4").unlink()
    refused(image, tmp_path, "limit of 10.0 MiB", OCI_UNPACKED_MAX=str(10 << 20))
    archive = tmp_path / "bomb.tar"
    with open(archive, "wb") as file:
        file.write(big_header("f", 1200 << 20))
        file.truncate(1210 << 20)
    blob = subprocess.run(["zstd", "-q", "-c", archive], stdout=subprocess.PIPE, check=True).stdout
    image.layers[0].update(compression="zstd", digest=image.blob(blob), size=len(blob))
    refused(image, tmp_path, "more than 400 times")


def test_a_second_reading_needs_a_file(tmp_path):
    """What cannot be read twice says so: the caller has the file by then."""
    layers = [tar([FILE("a", data=b"a" * 5000), link("b", "a")]), tar([FILE("a")])]
    image = Image(tmp_path / "image", layers)
    words = list(image.words())
    path, words[0] = words[0], "-"
    cat = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
    done = subprocess.run([TOOL, tmp_path / "ext4", "0", image.digest, *words], stdin=cat.stdout, capture_output=True, text=True)
    cat.wait()
    assert done.stderr.startswith(f"{__import__('errno').ESPIPE} layer 1 of 2")


def headers(name_of, n):
    """n empty files, without tarfile's care for each."""
    header = bytearray(entry("x" * 99)[0].tobuf(tarfile.USTAR_FORMAT))
    rest = sum(header[100:148]) + sum(header[156:]) + 8 * 32
    out = bytearray()
    for i in range(n):
        header[:100] = name_of(i).ljust(100, b"\0")
        header[148:156] = b"%06o\0 " % (rest + sum(header[:100]))
        out += header
    return bytes(out)


def test_more_names_than_memory_are_refused(tmp_path):
    layer = headers(lambda i: b"/".join([b"%024d" % i] * 4), 220000)
    refused(Image(tmp_path / "image", [layer], ["zstd"]), tmp_path, "more names than are possible")
