#!/usr/bin/env python3
"""Measures what the life of a VM costs on the host's side, and prints each figure beside its bound. It passes no judgement.

usage: bench_lifecycle.py PROGRAMS [N]      PROGRAMS: folder of a release build; N: creates (60), a tenth of them whole boots

A guest's own time is not ours: a create is timed until its VMM has been told to start, and from the guest's call to the
answer; a stop is timed without the sync that the same guest needs for the same dirty pages.
"""
import os
import pathlib
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
sys.path.insert(0, str(HERE))
from bench_main import Daemon, installation, median, programs_of, row, timed  # noqa: E402 (the path is known only now)

TOGETHER = 8
AGENT = "banger-agent"  # the name that its process has in a guest
SMALL = {"vcpu": 1, "memory": 256, "disk_size": 64 << 20}
WORDS = ["--vcpu", "1", "--memory", "256MiB", "--disk-size", "64MiB"]


def percentile(values, percent):
    """The smallest value that so many of them do not exceed."""
    return sorted(values)[min(len(values) - 1, max(0, -(-len(values) * percent // 100) - 1))]


def rest(it):
    """Until the host has nothing to do for us: taps are warm, folders of the deleted are gone, and writes are on the disk."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pool = it.json("daemon", "status")["tap_pool"]
        if pool["ready"] >= pool["size"] and not pool["warming"] and not list((it.state / "vms").glob(".gone-*")):
            break
        time.sleep(0.05)
    os.sync()
    time.sleep(0.1)


class Creation:
    """One create: when its stages began and ended, seen as a client sees them. until="boot" hangs up there, which undoes it."""

    def __init__(self, it, name, until=None):
        self.began, self.ended, self.answered = {}, {}, None
        for at, event, result in Daemon(it.runtime / "bangerd.sock").call("vm.create", {"name": name, **SMALL}):
            if result is not None:
                self.answered = at
            elif event["state"] in ("begin", "end"):
                (self.began if event["state"] == "begin" else self.ended)[event["stage"]] = at
            if until and until in self.ended:
                return


def wait_until_undone(it, name):
    while name in [vm["name"] for vm in it.json("vm", "list")] or it.json("operations"):
        time.sleep(0.02)


def bench_create(it, n):
    told, after, stages = [], [], {}
    for i in range(n):
        rest(it)
        whole = i % 10 == 0
        creation = Creation(it, f"c{i}", None if whole else "vmm")
        told.append(creation.ended["vmm"])
        for stage in ("reserve", "network", "vmm"):
            stages.setdefault(stage, []).append(creation.ended[stage])
        if whole:
            after.append(creation.answered - creation.ended["agent"])
            it.banger("vm", "delete", f"c{i}")
        else:
            wait_until_undone(it, f"c{i}")
    both = [seconds + median(after) for seconds in told]
    row("create: host's side, p50", median(both), bound=0.025)
    row("create: host's side, p99", percentile(both, 99), bound=0.080)
    print(f"{'':<46} {n} creates, least {min(both) * 1000:.1f} ms; of that, from the guest's call to the answer {median(after) * 1000:.1f} ms")
    for name, at in stages.items():
        print(f"{'':<46} until {name} has ended: {median(at) * 1000:.1f} ms")
    return median(told)


def bench_together(it, one, n=5):
    """From the first request until the last VMM has been told to start; with those that boot already beside it."""
    all_told = []
    for turn in range(n):
        rest(it)
        found = [None] * TOGETHER
        def create(i):
            begun = time.monotonic()
            Creation(it, f"t{turn}-{i}", "vmm")
            found[i] = (begun, time.monotonic())
        threads = [threading.Thread(target=create, args=(i,)) for i in range(TOGETHER)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_told.append(max(end for _, end in found) - min(begun for begun, _ in found))
        for i in range(TOGETHER):
            wait_until_undone(it, f"t{turn}-{i}")
    row(f"{TOGETHER} creates at once, host's side", median(all_told), "one", one, bound=3 * one)
    print(f"{'':<46} least {min(all_told) * 1000:.1f} ms")


def guest_settles(it, name):
    """A guest that still boots is late with everything, and not by our doing."""
    for _ in range(60):
        if it.banger("vm", "exec", name, "--", "systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"):
            return
        time.sleep(1)


def bench_stop(it, n):
    ours = []
    it.banger("vm", "create", *WORDS, "--name", "s")
    for _ in range(n):
        guest_settles(it, "s")
        it.banger("vm", "exec", "s", "--", "sh", "-c", "head -c 8M /dev/urandom > /root/dirty; sync")
        sync = min(timed(lambda: it.banger("vm", "exec", "s", "--", "sync")) for _ in range(3))
        bare = min(timed(lambda: it.banger("vm", "exec", "s", "--", "true")) for _ in range(3))
        ours.append(timed(lambda: list(Daemon(it.runtime / "bangerd.sock").call("vm.stop", {"vm": "s"}))) - max(0, sync - bare))
        it.banger("vm", "start", "s")
    it.banger("vm", "delete", "s")
    row("stop, beyond the guest's own sync", median(ours), bound=0.300)
    print(f"{'':<46} {n} stops, least {min(ours) * 1000:.1f} ms, most {max(ours) * 1000:.1f} ms")


DEAFEN = ("sleep 1; systemctl stop ssh.socket ssh.service sshd.service 2>/dev/null;"
          ' for p in /proc/[0-9]*; do case "$(cat $p/comm)" in ' + AGENT + "*) kill -STOP ${p#/proc/};; esac; done")


def is_deaf(it, name):
    try:
        return it.banger("vm", "exec", name, "--", "true", check=False, timeout=5).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def bench_deaf(it, n):
    """The agent's processes stand still (SIGSTOP), and no sshd runs: nobody hears the stop."""
    times = []
    it.banger("vm", "create", *WORDS, "--name", "d")
    for _ in range(n):
        words = ["systemd-run", "--quiet", "--no-block", "sh", "-c", DEAFEN.replace("$", "$$")]  # systemd would expand them itself
        while it.banger("vm", "exec", "d", "--", *words, check=False).returncode != 0:
            time.sleep(0.5)  # its init has not come so far
        while not is_deaf(it, "d"):
            time.sleep(0.5)
        times.append(timed(lambda: list(Daemon(it.runtime / "bangerd.sock").call("vm.stop", {"vm": "d"}))))
        it.banger("vm", "start", "d")
    it.banger("vm", "delete", "d")
    row("stop of a deaf guest", median(times), bound=2.2)
    print(f"{'':<46} {n} stops, least {min(times) * 1000:.1f} ms, most {max(times) * 1000:.1f} ms")


def main():
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    with installation(programs_of(sys.argv[1])) as it:
        it.banger("vm", "list")
        it.banger("vm", "create", *WORDS, "--name", "first")  # the pool is warmed by the first machine there is
        it.banger("vm", "stop", "first")
        one = bench_create(it, n)
        bench_together(it, one)
        bench_stop(it, max(3, n // 10))
        bench_deaf(it, max(2, n // 20))


if __name__ == "__main__":
    sys.exit(main())
