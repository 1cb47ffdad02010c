"""Guests' clocks, and VMs that nobody uses. The pulse is set to a second, so that what is documented in pulses can be waited for."""
import json
import os
import time

import pytest

POLL_S = 1


def configure(instance, text):
    """The daemon that is started next goes by this configuration, and adopts what runs."""
    config = instance.home / ".config/banger/config.toml"
    instance.as_owner_mkdir(config.parent)
    instance.end_daemon()
    config.write_text(text)
    os.chown(config, instance.uid, instance.gid)


@pytest.fixture(scope="module")
def quick(instance):
    """The instance with a daemon that looks after its VMs every second."""
    configure(instance, f'stats_poll_interval = "{POLL_S}s"\n')
    yield instance
    configure(instance, "")


@pytest.fixture(scope="module")
def clocked(quick):
    name = f"clock-{os.urandom(3).hex()}"
    quick.banger("vm", "create", "--name", name)
    yield name
    quick.banger("vm", "delete", name, check=False)


def offset_ms(instance, vm):
    """The guest's clock minus the host's by an independent way: what date(1) says, between two looks here; the best of three."""
    found = []
    for _ in range(3):
        before = time.time()
        guest = float(instance.banger("vm", "exec", vm, "--", "date", "+%s.%N").stdout)
        after = time.time()
        # how far outside of the interval in which the guest must have looked
        found.append(0 if before <= guest <= after else min(guest - before, guest - after, key=abs))
    return min(found, key=abs) * 1000


def measured_ms(instance, vm):
    """The offset as banger measures it, to within what the best of a few round trips leaves open."""
    best = None
    for _ in range(6):
        clock = json.loads(instance.banger("vm", "health", vm, check=False).stdout).get("clock")
        if not clock:
            continue  # a loaded machine: no answer in time
        if best is None or clock["uncertainty_ms"] < best["uncertainty_ms"]:
            best = clock
        if best["uncertainty_ms"] < 20:
            break
    assert best, "the agent never answered"
    return max(abs(best["offset_ms"]) - best["uncertainty_ms"], 0)


def test_the_clock_is_right_when_a_vm_is_ready(quick, clocked):
    assert abs(offset_ms(quick, clocked)) < 100
    assert measured_ms(quick, clocked) < 100


def test_the_clock_is_right_as_soon_as_a_vm_is_resumed(quick, clocked):
    quick.banger("vm", "pause", clocked)
    time.sleep(5)
    quick.banger("vm", "resume", clocked)
    assert measured_ms(quick, clocked) < 100
    assert abs(offset_ms(quick, clocked)) < 100


@pytest.mark.parametrize("shift", ["+3600", "-0.3"])
def test_a_clock_that_was_moved_is_put_right_by_the_next_pulse(quick, clocked, shift):
    quick.banger("vm", "exec", clocked, "--", "python3", "-c",
                 f"import time; time.clock_settime(time.CLOCK_REALTIME, time.time() {shift[0]} {shift[1:]})")
    deadline = time.monotonic() + POLL_S + 15  # a pulse, and a machine on which other tests run
    while measured_ms(quick, clocked) >= 100:
        assert time.monotonic() < deadline, "not corrected within the documented time"
        time.sleep(0.1)
    assert abs(offset_ms(quick, clocked)) < 100


def test_a_guest_that_keeps_its_own_time_is_left_alone(quick, clocked):
    """The kernel is told that the clock is disciplined (adjtimex(2) without STA_UNSYNC), as chrony and timesyncd do."""
    quick.banger("vm", "exec", clocked, "--", "python3", "-c", """
import ctypes, struct, time
libc = ctypes.CDLL(None, use_errno=True)
time.clock_settime(time.CLOCK_REALTIME, time.time() + 5)
buffer = ctypes.create_string_buffer(struct.pack('<I4xqqqqi', 0x10 | 0x8 | 0x4, 0, 0, 1000, 1000, 0) + bytes(256))  # ADJ_STATUS, ESTERROR, MAXERROR
assert libc.adjtimex(buffer) >= 0
""")
    time.sleep(3 * POLL_S)
    assert 4000 < measured_ms(quick, clocked) < 6000
    quick.banger("vm", "pause", clocked)
    quick.banger("vm", "resume", clocked)  # nobody in the guest can know better at once
    assert measured_ms(quick, clocked) < 100


def test_a_vm_that_nobody_uses_is_stopped_and_one_that_is_used_is_not(quick, clocked):
    configure(quick, f'stats_poll_interval = "{POLL_S}s"\nauto_stop_stale_after = "8s"\n')
    session = quick.popen("vm", "exec", clocked, "--", "sleep", "12")
    time.sleep(10.5)
    assert quick.show(clocked)["state"] == "running", "a session is open, however quiet"
    assert session.wait(30) == 0
    deadline = time.monotonic() + 30
    while quick.show(clocked)["state"] != "stopped":
        assert time.monotonic() < deadline, "an idle vm goes on"
        time.sleep(0.2)
