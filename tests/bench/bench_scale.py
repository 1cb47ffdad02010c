#!/usr/bin/env python3
"""Measures a daemon with many records and prints a table: with RECORDS machines and with three, their ratio. It passes no judgement.

usage: bench_scale.py PROGRAMS [RECORDS [CYCLES]]      PROGRAMS: folder of a release build; 1000 records; 100000 cycles
"""
import json
import os
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
sys.path.insert(0, str(HERE))
from bench_main import Daemon, MIB, programs_of, resident, row, timed_inside  # noqa: E402 (the path is known only now)
from instance import Instance  # noqa: E402

FEW = 3
KIB = 1024
BOUNDS = {"daemon start with reconcile": 0.300, "vm list": 0.010, "  of that finding it (vm.show in the daemon)": 0.003}  # with 1000 records


def fill(it, n):
    """Records of stopped machines, as creates would have made them, and their folders."""
    it.end_daemon()
    with sqlite3.connect(it.state / "banger.db") as db:
        db.execute("DELETE FROM vms")
        for i in range(n):
            db.execute("INSERT INTO vms (id, name, state, image, kernel, vcpu, memory_mib, disk_bytes, nat, address, vmm, boot_id,"
                       " last_error, created_at, updated_at, touched_at) VALUES (?, ?, 'stopped', 'debian-bookworm', 'debian-6.1', 2, 2048,"
                       " 8589934592, 0, ?, 'qemu', '', '', ?, ?, ?)",
                       (f"{i * 0x9e3779b97f4a7c15 % 2**64:016x}", f"vm-{i}", f"10.9.{i // 250}.{i % 250 + 2}", i + 1, i + 1, i + 1))
        ids = [line[0] for line in db.execute("SELECT id FROM vms")]
    db.close()
    vms = it.state / "vms"
    for old in vms.glob("*"):
        old.rmdir()
    for vm_id in ids:
        folder = vms / vm_id
        folder.mkdir(mode=0o700)
        os.chown(folder, it.uid, it.gid)


def start_seconds(it, n):
    """From exec to the socket that answers, reconcile included."""
    times = []
    for _ in range(n):
        it.end_daemon()
        begun = time.monotonic()
        process = subprocess.Popen(it.argv(it.bin / "bangerd"), env=it.environment(), cwd=it.home, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        while True:
            try:
                list(Daemon(it.runtime / "bangerd.sock").call("daemon.ping", {}))
                break
            except OSError:
                time.sleep(0.001)
        times.append(time.monotonic() - begun)
        process.poll()
    return statistics.median(times)


def in_daemon(it, n, method, params):
    times = []
    for _ in range(n):
        *_, (seconds, _, _) = Daemon(it.runtime / "bangerd.sock").call(method, params)
        times.append(seconds)
    return statistics.median(times)


def measure(it, n_records, n):
    fill(it, n_records)
    banger, last = it.bin / "banger", f"vm-{n_records - 1}"
    found = {"daemon start with reconcile": start_seconds(it, 5)}
    found["vm list"] = statistics.median(timed_inside(it, n, banger, "vm", "list"))
    found["vm list --json"] = statistics.median(timed_inside(it, n, banger, "vm", "list", "--json"))
    found["vm show NAME"] = statistics.median(timed_inside(it, n, banger, "vm", "show", last))
    found["  of that finding it (vm.show in the daemon)"] = in_daemon(it, n, "vm.show", {"vm": last})
    found["banger version (a process that asks nothing)"] = statistics.median(timed_inside(it, n, banger, "version"))
    return found, resident(it.daemon_pid())


def bench_cycles(programs, n):
    """What making and removing a record leaves, in the file and in memory."""
    tool = programs.parent / "tests/unit/store_cycles"
    if not tool.exists():
        print(f"record cycles: not measured: no {tool} (a build with tests has it)")
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        begun = time.monotonic()
        out = subprocess.run([tool, f"{folder}/db", str(n)], capture_output=True, text=True, check=True).stdout
        seconds = time.monotonic() - begun
    early, late = (json.loads(line) for line in out.splitlines())
    row(f"one of {n} cycles: insert, update, delete", seconds / n, unit="us", scale=1e6)
    for what, scale, unit in (("database", KIB, "KiB"), ("wal", KIB, "KiB"), ("resident_kib", 1, "KiB")):
        row(f"  {what} at the end", late[what], "after a tenth", early[what], unit, 1 / scale)


def main():
    programs = programs_of(sys.argv[1])
    n_records = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    n_cycles = int(sys.argv[3]) if len(sys.argv) > 3 else 100000
    it = Instance(programs)
    try:
        it.banger("vm", "list")
        few, few_memory = measure(it, FEW, 30)
        many, many_memory = measure(it, n_records, 30)
        for name, seconds in many.items():
            row(f"{name}, {n_records} records", seconds, f"{FEW} records", few[name], bound=BOUNDS.get(name))
        row(f"bangerd resident, {n_records} records", many_memory, f"{FEW} records", few_memory, "MiB", 1 / MIB)
        fill(it, 0)
    finally:
        it.close()
    bench_cycles(programs, n_cycles)


if __name__ == "__main__":
    sys.exit(main())
