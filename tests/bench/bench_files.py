#!/usr/bin/env python3
"""Measures files and streams between host and guest: vm cp against scp on the same VM, 1 GiB out of a guest, 64 sessions at once.

usage: bench_files.py PROGRAMS [N]      PROGRAMS: folder of a release build; N: repetitions (3)
"""
import hashlib
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
sys.path.insert(0, str(HERE))
from bench_main import MIB, installation, median, programs_of, row, timed_inside  # noqa: E402 (the path is known only now)

GIB = 1 << 30


def wait_for_sshd(it, options, target):
    deadline = time.monotonic() + 120
    while subprocess.run(it.argv("ssh", *options, target, "true"), env=it.environment(), capture_output=True).returncode != 0:
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def bench_copy(it, n, big=96 * MIB, files=2000):
    """Both ways, a big file and many small ones. scp is OpenSSH's own default: SFTP, a connection for each call."""
    shown = it.show("target")
    options = ["-F", "/dev/null", "-i", shown["ssh_key"], "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-o",
               f"UserKnownHostsFile={it.home}/kh", "-o", "LogLevel=ERROR"]
    remote = f"root@{shown['address']}"
    if not wait_for_sshd(it, options, remote):
        print("scp: the guest's sshd does not answer; no comparison")
        return
    time.sleep(15)  # the guest has finished booting
    source = it.home / "source"
    it.as_owner_mkdir(source / "small")
    (source / "big").write_bytes(os.urandom(big))
    for i in range(files):
        (source / f"small/{i}").write_bytes(b"%d\n" % i * 200)
    subprocess.run(["chown", "-R", f"{it.uid}:{it.gid}", str(source)], check=True)
    banger = it.bin / "banger"
    for what, name, amount, unit in (("big", f"{big // MIB} MiB", big / MIB, "MiB/s"), ("small", f"{files} files", files, "1/s")):
        rates = {}
        for way, ours_from, ours_to, scp_from, scp_to in (
                ("host to guest", source / what, f"target:/root/c-{what}-", source / what, f"{remote}:/root/s-{what}-"),
                ("guest to host", f"target:/root/s-{what}-0", f"{it.home}/c-{what}-", f"{remote}:/root/s-{what}-0", f"{it.home}/s-{what}-")):
            rates["scp"] = rate(it, n, amount, ["scp", "-q", "-r", *options], scp_from, scp_to)
            rates["cp"] = rate(it, n, amount, [it.bin / "banger", "vm", "cp"], ours_from, ours_to)
            row(f"vm cp, {way}, {name}", rates["cp"], "scp", rates["scp"], unit, 1, bound=3 * rates["scp"])


def rate(it, n, amount, words, source, destination):
    """A new destination each time, so that nothing is replaced."""
    return median([amount / timed_inside(it, 1, *words, source, f"{destination}{i}")[0] for i in range(n)])


RECEIVER = "import hashlib, sys\nh = hashlib.sha256(); n = 0\nfor part in iter(lambda: sys.stdin.buffer.read(1 << 20), b''): h.update(part); n += len(part)\nprint(n, h.hexdigest())"
# What the guest sends is made there from little, so that its own speed is not what is measured.
SENDER = "import sys\nblock = bytes(range(256)) * 4096\nfor i in range(1024): sys.stdout.buffer.write(block)"


def bench_stream(it):
    begun = time.monotonic()
    sender = subprocess.Popen(it.argv(it.bin / "banger", "vm", "exec", "target", "--", "python3", "-c", SENDER), stdout=subprocess.PIPE,
                              env=it.environment(), cwd=it.home)
    received = subprocess.run(["python3", "-c", RECEIVER], stdin=sender.stdout, capture_output=True, text=True)
    sender.wait()
    seconds = time.monotonic() - begun
    whole = hashlib.sha256(bytes(range(256)) * 4096 * 1024).hexdigest()
    n, checksum = received.stdout.split()
    row("1 GiB out of a guest, vm exec", GIB / MIB / seconds, unit="MiB/s", scale=1)
    print(f"{'':<46} {n} bytes, checksum {'as sent' if checksum == whole else 'DIFFERS'}")


def bench_sessions(it, n=64):
    begun = time.monotonic()
    processes = [it.popen("vm", "exec", "target", "--", "sh", "-c", "echo up; read x; echo $x", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                 for _ in range(n)]
    all_up = all(p.stdout.readline() == b"up\n" for p in processes)
    up = time.monotonic() - begun
    whole = all(p.communicate(b"%d\n" % i)[0] == b"%d\n" % i for i, p in enumerate(processes))
    row(f"{n} sessions at once, until all run", up, unit="ms")
    print(f"{'':<46} {'all ran, each with its own input' if all_up and whole else 'SOME FAILED'}")


def main():
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with installation(programs_of(sys.argv[1])) as it:
        it.banger("vm", "create", "--name", "target")
        bench_copy(it, n)
        bench_stream(it)
        bench_sessions(it)


if __name__ == "__main__":
    sys.exit(main())
