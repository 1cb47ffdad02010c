"""scripts/make-kernel without the half hour that its build takes: the configuration, and what it packs."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
CONFIG = TOP / "catalog/minimal-6.1.config"


def run(*argv, **env):
    return subprocess.run([TOP / "scripts/make-kernel", *argv], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "ZSTD_LEVEL": "1", **env})


def test_every_line_of_the_configuration_has_a_reason_and_stands_once():
    groups = [group.splitlines() for group in CONFIG.read_text().strip().split("\n\n")]
    seen = set()
    for lines in groups[1:]:  # the first is about all of it
        options = [line for line in lines if not line.startswith("# ")]
        assert lines[0].startswith("# ") and options, lines[0]
        assert lines[-len(options):] == options, "a reason stands above its lines"
        names = [re.fullmatch(r'(CONFIG_[A-Z0-9_]+)=(?:y|\d+|"[^"]*")', line)[1] for line in options]
        assert names == sorted(names), lines[0]
        assert not seen & set(names)
        seen |= set(names)
    assert {"CONFIG_PVH", "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES", "CONFIG_VIRTIO_VSOCKETS"} <= seen


@pytest.fixture
def built(instance, tmp_path):
    """A folder as a build leaves it, with a real kernel: Debian's."""
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "vmlinux").symlink_to(instance.state / "kernels/debian-6.1/vmlinux")
    (folder / "debian-version").write_text("6.1.0-1\n")
    return folder


def test_what_it_packs_is_a_kernel_for_a_catalog(instance, built):
    config, bundles = instance.home / ".config/banger", instance.root / "bundles"
    try:
        first, second = (run("--from-build", built, bundles) for _ in range(2))
        assert first.returncode == 0, first.stderr
        assert first.stdout == second.stdout, "the same kernel gives the same bytes"
        bundle = pathlib.Path(first.stdout.strip())
        entry = json.loads((bundles / "minimal-6.1.json").read_text())
        assert entry["bundle"] == {"url": f"file://{bundle}", "sha256": hashlib.sha256(bundle.read_bytes()).hexdigest(),
                                   "size": bundle.stat().st_size}
        assert sorted(f.name for f in bundles.iterdir()) == sorted([bundle.name, "minimal-6.1.json"])
        listed = subprocess.run(["tar", "--zstd", "-tvf", bundle], capture_output=True, text=True, check=True).stdout
        assert [line.split()[5] for line in listed.splitlines()] == ["manifest.json", "vmlinux"]
        manifest = json.loads(subprocess.run(["tar", "--zstd", "-xOf", bundle, "manifest.json"], capture_output=True,
                                             check=True).stdout)
        installed = json.loads(instance.banger("kernel", "show", "debian-6.1").stdout)
        assert manifest["kernel_version"] == installed["version"]
        assert manifest["source"] == "linux-source-6.1 6.1.0-1"

        instance.as_owner_mkdir(config)
        (config / "kernels.json").write_text(json.dumps([entry]))
        instance.end_daemon()  # catalogs are read at its start
        instance.banger("kernel", "pull", "minimal-6.1")
        shown = json.loads(instance.banger("kernel", "show", "minimal-6.1").stdout)
        assert shown["source"] == "bundle:" + entry["bundle"]["url"]
        assert shown["version"] == installed["version"] and shown["n_modules"] == 0
    finally:
        instance.banger("kernel", "delete", "minimal-6.1", check=False)
        (config / "kernels.json").unlink(missing_ok=True)
        shutil.rmtree(bundles, ignore_errors=True)
        instance.end_daemon()


def test_what_is_no_kernel_is_not_packed(tmp_path):
    for argv, words in ((["--from-build", tmp_path / "none", tmp_path / "out"], "there is no vmlinux in"),
                        (["--from-build", tmp_path, tmp_path / "out"], "is no Linux kernel"),
                        (["--nonsense"], "usage:")):
        if argv[0] == "--from-build":
            shutil.copy2("/bin/true", tmp_path / "vmlinux")
        done = run(*argv)
        assert done.returncode == 1 and words in done.stderr, done.stderr
    assert list((tmp_path / "out").iterdir()) == []
