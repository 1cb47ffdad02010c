"""Images that the user brings, what becomes of them, and of the space they take."""
import json
import os
import shutil
import subprocess

import pytest

from conftest import TOP
from instance import sh


@pytest.fixture(scope="module")
def rootfs(instance):
    """A root file system of the owner's own: the default image's, under another name."""
    path = instance.home / "own.ext4"
    os.link(instance.state / "images/debian-bookworm/rootfs.ext4", path)
    yield path
    path.unlink()


@pytest.fixture
def registered(instance, rootfs):
    """An image of that file, named by a relative path."""
    done = instance.banger("image", "register", "--name", "own", "--rootfs", "./own.ext4")
    assert done.stdout == "own\n"
    yield "own"
    instance.banger("image", "delete", "own", check=False)


def names(instance):
    return [image["name"] for image in instance.json("image", "list")]


def test_a_registered_image_boots_and_stays_while_it_is_used(instance, registered, rootfs, vm):
    shown = json.loads(instance.banger("image", "show", "own").stdout)
    assert (shown["managed"], shown["rootfs_path"], shown["kernel"]) == (False, str(rootfs), "debian-6.1")
    assert "registered" in instance.banger("image", "list").stdout
    name = vm("--image", "own")
    assert "ID=debian\n" in instance.banger("vm", "exec", name, "--", "cat", "/etc/os-release").stdout
    assert json.loads(instance.banger("image", "show", "own").stdout)["used_by"] == [name]
    for noun, thing in (("image", "own"), ("kernel", "debian-6.1")):
        refused = instance.banger(noun, "delete", thing, check=False)
        assert refused.returncode == 1 and name in refused.stderr
    instance.banger("image", "prune", "--force", "--json")  # takes nothing that a vm uses
    assert "own" in names(instance) and "debian-bookworm" not in names(instance)
    instance.banger("vm", "delete", name)
    assert json.loads(instance.banger("image", "delete", "own", "--json").stdout) == {"image": "own"}
    assert rootfs.exists()


@pytest.fixture(autouse=True)
def default_image(instance):
    """prune takes the default image too; a hard link brings it back."""
    folder, saved = instance.state / "images/debian-bookworm", instance.root / "saved-image"
    sh("cp", "-al", str(folder), str(saved))
    yield
    if not folder.exists():
        sh("cp", "-al", str(saved), str(folder))
    shutil.rmtree(saved)


def test_a_promoted_image_is_a_copy(instance, registered):
    shown = json.loads(instance.banger("image", "promote", "own", "--json").stdout)
    assert shown["managed"] and shown["rootfs_path"] == str(instance.state / "images/own/rootfs.ext4")
    assert os.stat(shown["rootfs_path"]).st_ino != os.stat(instance.home / "own.ext4").st_ino
    again = instance.banger("image", "promote", "own", check=False)
    assert again.returncode == 1 and "already" in again.stderr
    assert [f.name for f in (instance.state / "images").iterdir() if f.name.startswith(".")] == []


def test_what_is_no_image_is_refused(instance, registered):
    (instance.home / "text").write_text("no file system")
    cases = {
        ("--name", "x", "--rootfs", "text"): "not an ext4 file system",
        ("--name", "x", "--rootfs", "absent"): "No such file",
        ("--name", "own", "--rootfs", "own.ext4"): "exists",
        ("--name", "../x", "--rootfs", "own.ext4"): "name",
        ("--name", "x"): "rootfs",
        ("--name", "x", "--rootfs", "own.ext4", "--kernel-ref", "nope"): "no kernel named 'nope'",
        ("--name", "x", "--rootfs", "own.ext4", "--kernel-ref", "debian-6.1", "--kernel", "text"): "one or the other",
        ("--name", "x", "--rootfs", "own.ext4", "--modules", "."): "--kernel",
        ("--name", "x", "--rootfs", "own.ext4", "--kernel", "text"): "kernel",
    }
    for words, said in cases.items():
        refused = instance.banger("image", "register", *words, check=False)
        assert refused.returncode == 1 and said in refused.stderr, (words, refused.stderr)
    assert sorted(names(instance)) == ["debian-bookworm", "own"]
    assert [k["name"] for k in instance.json("kernel", "list")] == ["debian-6.1"]


def test_a_kernel_file_becomes_the_images_own(instance, rootfs):
    kernel = instance.state / "kernels/debian-6.1/vmlinux"
    try:
        shown = json.loads(instance.banger("image", "register", "--name", "with", "--rootfs", "own.ext4", "--kernel",
                                           kernel, "--json").stdout)
        assert shown["kernel"] == "with"
        assert "with" in [k["name"] for k in instance.json("kernel", "list")]
    finally:
        instance.banger("image", "delete", "with", check=False)
        instance.banger("kernel", "delete", "with", check=False)


def test_prune_asks_first(instance, registered):
    refused = instance.banger("image", "prune", check=False, input="")
    assert refused.returncode == 1 and "--force" in refused.stderr and "own" in refused.stderr
    assert "own" in names(instance)
    assert instance.banger("image", "prune", "--force").stdout.split() == ["debian-bookworm", "own"]
    assert names(instance) == []


def test_a_thousand_images_are_listed(instance, registered):
    made = []
    template = json.loads((instance.state / "images/own/manifest.json").read_text())
    try:
        for i in range(1000):
            folder = instance.state / f"images/many-{i:03}"
            folder.mkdir()
            made.append(folder)
            (folder / "manifest.json").write_text(json.dumps(dict(template, name=folder.name)))
        lines = instance.banger("image", "list").stdout.splitlines()
        assert len([line for line in lines if line.startswith("many-")]) == 1000
        assert len(instance.json("image", "list")) == 1002
    finally:
        for folder in made:
            shutil.rmtree(folder)
    assert sorted(names(instance)) == ["debian-bookworm", "own"]


def test_the_cache_of_blobs_is_emptied(instance):
    blobs = instance.home / ".cache/banger/oci/blobs/sha256"
    instance.as_owner_mkdir(blobs)
    (blobs / ("a" * 64)).write_bytes(b"x" * 1536)
    where = instance.home / ".cache/banger/oci"
    assert instance.banger("image", "cache", "prune", "--dry-run").stdout == f"would free 1.5 KiB across 1 blob(s) in {where}\n"
    answer = json.loads(instance.banger("image", "cache", "prune", "--json").stdout)
    assert answer == {"bytes_freed": 1536, "blobs_freed": 1, "dry_run": False, "cache_dir": str(where)}
    assert list(blobs.iterdir()) == []
    assert instance.banger("image", "cache", "prune").stdout.startswith("freed 0 B across 0 blob(s)")


def test_df_tells_what_everything_takes(instance, vm):
    name = vm("--no-start")
    found = {category["type"]: category for category in instance.json("df")}
    assert list(found) == ["images", "kernels", "vms", "caches"]
    image = next(item for item in found["images"]["items"] if item["name"] == "debian-bookworm")
    assert image["used_by"] == [name] and image["apparent_bytes"] > image["real_bytes"] > 100 << 20
    assert image["shareable_bytes"] > 100 << 20  # this test's images are hard links
    assert [item["name"] for item in found["vms"]["items"]] == [name] and found["vms"]["n_used"] == 0
    real = sum(f.stat().st_blocks * 512 for f in (instance.state / "vms").glob("*/*"))
    assert found["vms"]["real_bytes"] == real and found["vms"]["reclaimable_bytes"] == 0
    assert "debian-bookworm" in instance.banger("df", "--verbose").stdout
    assert instance.banger("df").stdout.splitlines()[0].split("  ")[0] == "TYPE"


def test_a_bundle_in_a_catalog_of_ones_own_is_pulled_and_boots(instance, vm):
    shutil.copy2(TOP / "scripts/make-bundle", instance.bin)
    config = instance.home / ".config/banger"
    try:
        done = subprocess.run(instance.argv(instance.bin / "make-bundle", "debian-bookworm", instance.home / "bundles"),
                              env=instance.environment({"ZSTD_LEVEL": "1"}), cwd=instance.home, capture_output=True, text=True,
                              timeout=300)
        assert done.returncode == 0, done.stderr
        entry = json.loads((instance.home / "bundles/debian-bookworm.json").read_text())
        instance.as_owner_mkdir(config)
        (config / "images.json").write_text(json.dumps([dict(entry, name="team"), dict(entry, name="broken", bundle=dict(
            entry["bundle"], sha256="0" * 64))]))
        instance.end_daemon()  # catalogs are read at its start
        assert {"team", "broken"} <= {i["name"] for i in instance.json("image", "list", "--available")}
        refused = instance.banger("image", "pull", "broken", check=False)
        assert refused.returncode == 1 and "the catalog says 0000" in refused.stderr
        shown = json.loads(instance.banger("image", "pull", "team", "--json", timeout=300).stdout)
        assert shown["source"] == "bundle:" + entry["bundle"]["url"] and shown["kernel"] == "debian-6.1"
        assert shown["real_bytes"] < shown["size_bytes"] / 4  # holes stayed holes
        name = vm("--image", "team")
        assert "ID=debian\n" in instance.banger("vm", "exec", name, "--", "cat", "/etc/os-release").stdout
        assert [f for f in (instance.state / "images").iterdir() if f.name.startswith(".")] == []
        instance.banger("vm", "delete", name)
    finally:
        instance.banger("image", "delete", "team", check=False)
        (config / "images.json").unlink(missing_ok=True)
        shutil.rmtree(instance.home / "bundles", ignore_errors=True)
        instance.end_daemon()
