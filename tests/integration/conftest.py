"""Fixtures of the integration tests, and the rule for what a test needs: needs(...) skips with the reason, but where
the suite must run whole (BANGER_MUST_RUN, set by `make check`) the skip is a failure."""
import os
import pathlib
import shutil

import pytest

from instance import Instance

TOP = pathlib.Path(__file__).resolve().parents[2]


def needs(condition, reason):
    if condition:
        return
    if os.environ.get("BANGER_MUST_RUN"):
        pytest.fail(f"this suite must run whole, but: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def programs():
    """The folder of the built programs."""
    folder = pathlib.Path(os.environ.get("BANGER_BIN", TOP / "build-check/bin"))
    needs((folder / "banger").exists(), f"no programs in {folder} (make check builds them; BANGER_BIN names another folder)")
    return folder


@pytest.fixture(scope="session")
def instance(programs):
    """An installation with the default kernel and image; what was pulled is kept for the next run."""
    needs(os.geteuid() == 0, "root makes the network namespace and the owner's account")
    for program in ("qemu-system-x86_64", "mmdebstrap", "ip", "nft", "setpriv"):
        needs(shutil.which(program), f"no {program}")
    cache = pathlib.Path(os.environ.get("BANGER_TEST_CACHE", programs.parent / "test-cache"))
    it = Instance(programs, cache)
    try:
        kernels = {k["name"] for k in it.json("kernel", "list")}
        if "debian-6.1" not in kernels:
            it.pull("kernel", "debian-6.1")
        images = {i["name"] for i in it.json("image", "list")}
        if "debian-bookworm" not in images:
            it.pull("image", "debian-bookworm")
        it.keep(cache)
        yield it
    finally:
        it.close()


@pytest.fixture
def vm(instance):
    """A running VM of its own for a test that changes it."""
    made = []

    def make(*words):
        name = f"t{len(made)}-{os.urandom(3).hex()}"
        instance.banger("vm", "create", "--name", name, *words)
        made.append(name)
        return name

    yield make
    for name in made:
        instance.banger("vm", "delete", name, check=False)


@pytest.fixture(scope="module")
def shared_vm(instance):
    """A running VM for the tests of a module that only look at it."""
    name = f"shared-{os.urandom(3).hex()}"
    instance.banger("vm", "create", "--name", name)
    yield name
    instance.banger("vm", "delete", name, check=False)
