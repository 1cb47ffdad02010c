"""The vsock device beside a real QEMU and a real Linux guest.

Needs qemu-system-x86_64, a C compiler with a static libc, and a kernel with its modules: an unpacked linux-image package of
Debian in $BANGER_TEST_KERNEL_ROOT, or the host's own below /. $BANGER_BUILD is the build folder (default: build).
"""
import concurrent.futures
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import time

import pytest

from conftest import needs

TESTS = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BANGER_BUILD", TESTS.parent / "build"))
KERNEL = pathlib.Path(os.environ.get("BANGER_TEST_KERNEL_ROOT", "/"))
MODULES = ["drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_mmio", "net/vmw_vsock/vsock",
           "net/vmw_vsock/vmw_vsock_virtio_transport_common", "net/vmw_vsock/vmw_vsock_virtio_transport",
           "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"]
ECHO, SINK, SOURCE, CALL_BACK, DISCARD = 1, 2, 3, 4, 5
MIB = 1 << 20


def cpio(files):
    """The kernel's Documentation/driver-api/early-userspace/buffer-format.rst: names, modes and contents."""
    out = bytearray()
    for inode, (name, mode, data) in enumerate(files + [("TRAILER!!!", 0, b"")], 1):
        fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def initramfs(folder, modules):
    init = folder / "init"
    subprocess.run(["cc", "-O2", "-static", "-o", init, TESTS / "fixtures/vsock_echo.c"], check=True)
    found = [modules / "kernel" / f"{name}.ko" for name in MODULES]
    found = [module for module in found if module.exists()]
    files = [("init", 0o100755, init.read_bytes()), ("modules", 0o40755, b"")]
    files += [(f"modules/{module.name}", 0o100644, module.read_bytes()) for module in found]
    files.append(("modules/order", 0o100644, "".join(f"{module.name}\n" for module in found).encode()))
    (folder / "initrd").write_bytes(cpio(files))


def tsc_khz(folder):
    subprocess.run(["cc", "-O2", "-o", folder / "tsc_khz", TESTS / "fixtures/tsc_khz.c"], check=True)
    return subprocess.run([folder / "tsc_khz"], check=True, capture_output=True, text=True).stdout.strip()


class Guest:
    def __init__(self, folder, extra=()):
        kernels = sorted(KERNEL.glob("boot/vmlinuz-*"))
        needs(kernels, f"no kernel below {KERNEL} (BANGER_TEST_KERNEL_ROOT)")
        needs(shutil.which("qemu-system-x86_64"), "no qemu-system-x86_64")
        modules = KERNEL / "lib/modules" / kernels[-1].name.removeprefix("vmlinuz-")
        needs((modules / "kernel/net/vmw_vsock").exists(), f"no vsock modules in {modules}")
        self.path = folder / "v.sock"
        initramfs(folder, modules)
        listener = self.listen(1000)
        command = [BUILD / "tests/unit/vsock_serve", self.path, "3", "qemu-system-x86_64",
                   "-M", "microvm,acpi=on,rtc=on,pcie=off,memory-backend=mem", "-accel", "tcg,thread=multi", "-cpu", "max",
                   "-m", "256M", "-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-nodefaults",
                   "-no-user-config", "-no-reboot", "-display", "none", "-global", "virtio-mmio.force-legacy=false",
                   "-serial", f"file:{folder}/console", "-kernel", kernels[-1], "-initrd", folder / "initrd",
                   "-qmp", f"unix:{folder}/qmp,server=on,wait=off", *extra, "-append",
                   "console=ttyS0 quiet reboot=t panic=-1 net.ifnames=0 "
                   f"tsc=reliable tsc_early_khz={tsc_khz(folder)}"]
        self.qmp_path = folder / "qmp"
        self.process = subprocess.Popen([str(word) for word in command])
        listener.settimeout(60)
        try:
            listener.accept()[0].close()
        except TimeoutError:
            self.stop()
            pytest.fail(f"the guest did not call: {(folder / 'console').read_text(errors='replace')[-2000:]}")
        listener.close()

    def listen(self, port):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self.path}_{port}")
        listener.listen(128)
        return listener

    def connect(self, port):
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(60)
        stream.connect(str(self.path))
        stream.sendall(b"CONNECT %d\n" % port)
        line = b""
        while not line.endswith(b"\n"):
            got = stream.recv(1)
            if not got:
                raise ConnectionRefusedError(port)
            line += got
        assert line.startswith(b"OK ")
        return stream

    def qmp(self, *commands):
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.connect(str(self.qmp_path))
            file = qmp.makefile("rw")
            file.readline()
            for command in ("qmp_capabilities", *commands):
                file.write('{"execute":"%s"}\n' % command)
                file.flush()
                while '"return"' not in file.readline():
                    pass

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    tap = os.environ.get("BANGER_TEST_TAP")
    extra = ["-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no,vhost=off",
             "-device", "virtio-net-device,netdev=n0"] if tap else []
    made = Guest(tmp_path_factory.mktemp("vsock"), extra)
    yield made
    made.stop()


def receive(stream, n):
    data = bytearray()
    while len(data) < n:
        got = stream.recv(min(n - len(data), MIB))
        assert got, f"the end came after {len(data)} of {n} bytes"
        data += got
    return bytes(data)


def up(stream, n):
    """The guest sends n bytes, in its pattern."""
    stream.sendall(struct.pack("<Q", n))
    return receive(stream, n)


def down(stream, data):
    """The guest takes data and says what it sums up to."""
    stream.sendall(struct.pack("<Q", len(data)) + data)
    return struct.unpack("<Q", receive(stream, 8))[0]


def pattern(n):
    block = bytes((i * 31 + (i >> 8)) & 255 for i in range(256 * 1024))
    return (block * (n // len(block) + 1))[:n]


def test_an_echo_returns_what_was_sent(guest):
    with guest.connect(ECHO) as stream:
        for data in (b"x", bytes(range(256)) * 100):
            stream.sendall(data)
            assert receive(stream, len(data)) == data


def test_a_port_nobody_listens_on_is_closed_without_a_byte(guest):
    with pytest.raises(ConnectionRefusedError):
        guest.connect(99)


def test_the_guest_calls_the_host(guest):
    listener = guest.listen(1001)
    with guest.connect(CALL_BACK) as ask:
        ask.sendall(struct.pack("<Q", 1001))
        assert receive(ask, 7) == b"reached"
        call = listener.accept()[0]
        call.sendall(b"hello")
        assert receive(call, 5) == b"hello"
        call.close()
    listener.close()
    with guest.connect(CALL_BACK) as ask:
        ask.sendall(struct.pack("<Q", 1002))
        assert receive(ask, 7) == b"refused"


def test_fifty_connections_lose_nothing_either_way(guest):
    data, expected = os.urandom(MIB), pattern(MIB)

    def both_ways(_):
        with guest.connect(SINK) as stream:
            assert down(stream, data) == sum(data)
        with guest.connect(SOURCE) as stream:
            assert up(stream, MIB) == expected

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        list(pool.map(both_ways, range(50)))


def test_a_pause_keeps_connections(guest):
    with guest.connect(ECHO) as stream:
        guest.qmp("stop")
        stream.sendall(b"while it stands")
        stream.settimeout(0.5)
        with pytest.raises(TimeoutError):
            stream.recv(1)
        guest.qmp("cont")
        stream.settimeout(10)
        assert receive(stream, 15) == b"while it stands"


def measure(connect):
    """MiB/s from and to the guest."""
    speeds = []
    for port, move in ((SOURCE, lambda stream: up(stream, 64 * MIB)), (DISCARD, lambda stream: down(stream, bytes(64 * MIB)))):
        with connect(port) as stream:
            begin = time.monotonic()
            move(stream)
            speeds.append(64 / (time.monotonic() - begin))
    return speeds


def test_measures(guest, capsys):
    """Prints; never fails for being slow. With a tap named in $BANGER_TEST_TAP (up, 10.99.0.1/24) virtio-net beside it."""
    times = []
    for _ in range(50):
        begin = time.monotonic()
        stream = guest.connect(ECHO)
        times.append(time.monotonic() - begin)
        stream.close()
    text = "vsock: connect %.2f ms, " % (sorted(times)[25] * 1000)
    text += "from the guest %.0f MiB/s, to the guest %.0f MiB/s" % tuple(measure(guest.connect))
    if os.environ.get("BANGER_TEST_TAP"):
        speeds = measure(lambda port: socket.create_connection(("10.99.0.2", port), 10))
        text += "; virtio-net: from the guest %.0f MiB/s, to the guest %.0f MiB/s" % tuple(speeds)
    with capsys.disabled():
        print("\n" + text)
