#!/usr/bin/env python3
"""Measures the main job and prints a table: ours, a named alternative in the same run, their ratio. It passes no judgement.

usage: bench_main.py PROGRAMS [N] [--kernel NAME[=FILE]]... [--only-run]
  PROGRAMS     folder of a release build
  N            repetitions (10)
  --kernel     what `vm run` boots (debian-6.1), several in turn; one that is neither in the cache nor in the catalog is imported from FILE
  --only-run   nothing but `vm run`
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
from instance import Instance, sh  # noqa: E402 (the path is known only now)

MIB = 1 << 20
FIRST_LINE = b"banger-agent: version"


def median(values):
    return statistics.median(values)


def timed(action):
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


TIMER = """
import json, subprocess, sys, time
times = []
for _ in range(int(sys.argv[1])):
    begun = time.monotonic()
    status = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    times.append(time.monotonic() - begun)
    if status != 0:
        sys.exit(f"status {status}: {sys.argv[2:]}")
print(json.dumps(times))
"""


def timed_inside(it, n, *argv):
    """Seconds of n runs of a command, measured within the namespace and as the owner: what leads there is not counted."""
    done = subprocess.run(it.argv("python3", "-c", TIMER, n, *argv), env=it.environment(), cwd=it.home, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def row(name, ours, other_name="", other=None, unit="ms", scale=1000, bound=None):
    """bound: what the figure is to be at most, or at least where more is better; it is only printed."""
    text = f"{name:<46} {ours * scale:>10.1f} {unit:<6}"
    if bound is not None:
        text += f" (bound {bound * scale:.1f})"
    if other is not None:
        text += f" {other_name:<34} {other * scale:>10.1f} {unit:<6} ratio "
        text += f"{ours / other:6.2f} (1/{other / ours:.1f})" if ours > 0 and other > 0 else "     - (one is too small to tell)"
    print(text, flush=True)


class Daemon:
    """Speaks to bangerd as the CLI does, to see when which stage begins."""

    def __init__(self, path):
        self.path = path

    def call(self, method, params):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.path))
            body = json.dumps({"version": 1, "method": method, "params": params}).encode()
            begun = time.monotonic()
            sock.sendall(struct.pack("<I", len(body)) + body)
            while True:
                length = struct.unpack("<I", self._exactly(sock, 4))[0]
                message = json.loads(self._exactly(sock, length))
                if "event" not in message:
                    if not message["ok"]:
                        raise RuntimeError(message)
                    yield time.monotonic() - begun, None, message["result"]
                    return
                yield time.monotonic() - begun, message["event"], None

    @staticmethod
    def _exactly(sock, n):
        data = b""
        while len(data) < n:
            more = sock.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data


def by_hand(it, qemu_words, disk_source):
    """The same kernel, initramfs, disk and QEMU flags without us: copy the disk, start QEMU, wait for the guest's first line."""
    disk = it.root / "by-hand.ext4"
    begun = time.monotonic()
    sh("cp", "--sparse=always", "--reflink=auto", str(disk_source), str(disk))
    process = subprocess.Popen([w.replace("@DISK@", str(disk)) for w in qemu_words], stdout=subprocess.PIPE,
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for line in process.stdout:
        if FIRST_LINE in line:
            break
    elapsed = time.monotonic() - begun
    process.kill()
    process.wait()
    disk.unlink()
    return elapsed


def hand_line(it, name, kernel_name):
    """The QEMU line of a running VM, its descriptors replaced by what a person would write."""
    pid = it.show(name)["vmm_pid"]
    for proc in pathlib.Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                words = (proc / "cmdline").read_bytes().decode().split("\0")[:-1]
                parent = (proc / "stat").read_text().rsplit(")", 1)[1].split()[1]
            except (OSError, IndexError):
                continue
            if parent == str(pid) and words and "qemu-system" in words[0]:
                break
    else:
        raise RuntimeError("no QEMU below the VMM")
    def value(option):
        return words[words.index(option) + 1]
    kernel = it.state / "kernels" / kernel_name
    return ["qemu-system-x86_64", "-M", value("-M").replace(",memory-backend=mem", ""), "-accel", value("-accel"), "-cpu", value("-cpu"),
            "-smp", value("-smp"), "-m", value("-m") if "-m" in words else "1024", "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-global", "virtio-mmio.force-legacy=false", "-serial", "stdio",
            "-kernel", str(kernel / "vmlinux"), "-initrd", str(kernel / "initramfs.cpio"), "-append", value("-append"),
            "-drive", "if=none,id=d0,file=@DISK@,format=raw", "-device", "virtio-blk-device,drive=d0",
            "-device", "virtio-rng-device"]


def bench_run(it, n, kernels):
    lines, ours, hand = {}, {}, {}
    for kernel in kernels:
        it.banger("vm", "create", "--name", "model", "--kernel", kernel)
        lines[kernel] = hand_line(it, "model", kernel)
        it.banger("vm", "delete", "model")
        ours[kernel], hand[kernel] = [], []
    image = it.state / "images/debian-bookworm/rootfs.ext4"
    for i in range(n):  # all begin with nothing of another left to be written to the disk; the order changes
        for kernel in kernels[::1 if i % 2 else -1]:
            os.sync()
            hand[kernel].append(by_hand(it, lines[kernel], image))
            os.sync()
            ours[kernel] += timed_inside(it, 1, it.bin / "banger", "vm", "run", "--rm", "--kernel", kernel, "--", "true")
    for kernel in kernels:
        row(f"vm run --rm -- true, {kernel}", median(ours[kernel]), "copy + QEMU by hand, first line", median(hand[kernel]))
        print(f"{'':<46} {(median(ours[kernel]) - median(hand[kernel])) * 1000:>10.1f} ms above; "
              f"least {min(ours[kernel]) * 1000:.0f} and {min(hand[kernel]) * 1000:.0f} ms")


def bench_host_side(it, n):
    daemon = Daemon(it.runtime / "bangerd.sock")
    before, disk = [], []
    for i in range(n):
        stages = {}
        for at, event, _ in daemon.call("vm.create", {"name": f"h{i}"}):
            if event and event["state"] == "begin":
                stages[event["stage"]] = at
            elif event and event["state"] == "end" and event["stage"] == "disk":
                disk.append(event["elapsed_ms"] / 1000)
        before.append(stages["boot"])
        folder = it.state / "vms" / it.show(f"h{i}")["id"]
        list(daemon.call("vm.delete", {"vm": f"h{i}"}))
        while folder.exists():  # given back after the answer
            time.sleep(0.01)
        os.sync()
    row("host, request to VMM told to start", median(before))
    row("  the disk copy, while the guest boots", median(disk))


def bench_exec(it, n):
    it.banger("vm", "create", "--name", "target")
    shown = it.show("target")
    deadline = time.monotonic() + 120
    ssh = ["ssh", "-F", "/dev/null", "-i", shown["ssh_key"], "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-o",
           f"UserKnownHostsFile={it.home}/kh", "-o", "LogLevel=ERROR"]
    def over(*options):
        return subprocess.run(it.argv(*ssh, *options, f"root@{shown['address']}", "true"), env=it.environment(),
                              capture_output=True).returncode
    while over() != 0:
        if time.monotonic() > deadline:
            print("ssh: the guest's sshd does not answer; no comparison")
            return
        time.sleep(1)
    time.sleep(15)  # the guest has finished booting
    target = (f"root@{shown['address']}", "true")
    ours = timed_inside(it, n, it.bin / "banger", "vm", "exec", "target", "--", "true")
    fresh = timed_inside(it, n, *ssh, *target)
    share = ("-o", "ControlMaster=auto", "-o", f"ControlPath={it.home}/cm", "-o", "ControlPersist=60")
    over(*share)
    shared = timed_inside(it, n, *ssh, *share, *target)
    subprocess.run(it.argv(*ssh, *share, "-O", "exit", f"root@{shown['address']}"), env=it.environment(), capture_output=True)
    row("vm exec -- true", median(ours), "ssh", median(fresh))
    row("vm exec -- true", median(ours), "ssh, shared connection", median(shared))
    bench_streams(it, shown)
    bench_memory(it)
    it.banger("vm", "delete", "target")


SENDER = """
import socket, sys
kind, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_VSOCK if kind == "vsock" else socket.AF_INET)
s.bind((socket.VMADDR_CID_ANY, port) if kind == "vsock" else ("", port))
s.listen(1); print("up", flush=True)
c, _ = s.accept()
block = bytes(65536)
for _ in range(size // len(block)): c.sendall(block)
c.close()
"""

RECEIVER = """
import socket, sys, time
kind, where, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_UNIX if kind == "vsock" else socket.AF_INET)
s.connect(where if kind == "vsock" else (where, port))
if kind == "vsock":
    s.sendall(b"CONNECT %d\\n" % port)
    while s.recv(1) != b"\\n": pass
begun, total = time.monotonic(), 0
while True:
    n = len(s.recv(1 << 18))
    if n == 0: break
    total += n
print(total, time.monotonic() - begun)
"""


def bench_streams(it, shown):
    size = 64 * MIB
    rates = {}
    for kind, where in (("vsock", str(it.runtime / "vms" / shown["id"] / "vsock.sock")), ("tcp", shown["address"])):
        samples = []
        for i in range(3):
            server = it.popen("vm", "exec", "target", "--", "python3", "-c", SENDER, kind, str(5000 + i), str(size),
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            if server.stdout.readline() != b"up\n":
                print("streams: not measured:", server.stderr.read().decode()[-200:])
                return
            done = subprocess.run(it.argv("python3", "-c", RECEIVER, kind, where, str(5000 + i)), capture_output=True, text=True,
                                  env=it.environment(), timeout=120)
            server.wait(30)
            if done.returncode != 0:
                print("streams: not measured:", done.stderr[-300:])
                return
            total, seconds = done.stdout.split()
            assert int(total) == size, "bytes were lost"
            samples.append(size / MIB / float(seconds))
        rates[kind] = median(samples)
    row("guest to host, one stream over vsock", rates["vsock"], "virtio-net, TCP", rates["tcp"], "MiB/s", 1)


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def unshared(pid):
    """Bytes that another process of the same program does not share: what one more costs."""
    total = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            total += int(line.split()[1]) * 1024
    return total


def bench_memory(it):
    pid = it.daemon_pid()
    row("bangerd resident, one idle VM", resident(pid), unit="MiB", scale=1 / MIB)
    vmm = it.show("target")["vmm_pid"]
    row("one VM more: banger-qemu's own, unshared", unshared(vmm), unit="MiB", scale=1 / MIB)
    row("  with what it shares (libraries)", resident(vmm), unit="MiB", scale=1 / MIB)


def bench_version(programs, n):
    banger = str(programs / "banger")
    ours = [timed(lambda: subprocess.run([banger, "version"], stdout=subprocess.DEVNULL)) for _ in range(5 * n)]
    nothing = [timed(lambda: subprocess.run(["/bin/true"])) for _ in range(5 * n)]
    row("banger version (start of a process included)", median(ours), "/bin/true", median(nothing))


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("n", type=int, nargs="?", default=10)
    parser.add_argument("--kernel", action="append", metavar="NAME[=FILE]")
    parser.add_argument("--only-run", action="store_true")
    return parser.parse_args()


def provide(it, kernel):
    """The kernel's name; it is here afterwards."""
    name, _, file = kernel.partition("=")
    if not (it.state / "kernels" / name).is_dir():
        if file:
            shutil.copy(file, it.root / "kernel")
            it.banger("kernel", "import", name, "--from", it.root / "kernel")
        else:
            it.pull("kernel", name)
    return name


def programs_of(build):
    """The folder of a build's programs; the build's own folder will do."""
    build = pathlib.Path(build).resolve()
    return build / "bin" if (build / "bin").is_dir() else build


@contextlib.contextmanager
def installation(programs):
    """An instance with the default kernel and image; what was pulled is kept for the next run."""
    cache = pathlib.Path(os.environ.get("BANGER_TEST_CACHE", programs.parent / "test-cache"))
    it = Instance(programs, cache)
    try:
        provide(it, "debian-6.1")
        if not (it.state / "images/debian-bookworm").is_dir():
            it.pull("image", "debian-bookworm")
        it.keep(cache)
        yield it
    finally:
        it.close()


def main():
    wanted = arguments()
    programs = programs_of(wanted.programs)
    n = wanted.n
    if not wanted.only_run:
        bench_version(programs, n)
    with installation(programs) as it:
        kernels = [provide(it, kernel) for kernel in wanted.kernel or ["debian-6.1"]]
        it.banger("vm", "list")
        if wanted.only_run:
            bench_run(it, n, kernels)
            return
        row("bangerd resident, idle", resident(it.daemon_pid()), unit="MiB", scale=1 / MIB)
        bench_host_side(it, n)
        bench_run(it, n, kernels)
        bench_exec(it, n)


if __name__ == "__main__":
    sys.exit(main())
