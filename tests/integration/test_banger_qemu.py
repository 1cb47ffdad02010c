"""banger-qemu with a real QEMU and a real kernel: the API, boot, vsock, pause, the end, and that nothing stays behind.

The kernel is BANGER_TEST_KERNEL, or the newest /boot/vmlinuz-*-cloud-amd64; its modules are BANGER_TEST_MODULES, or those of
that kernel in /lib/modules (none are needed when the drivers are built in).
"""
import glob
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import needs

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BANGER_BUILD", ROOT / "build"))
PROGRAM = BUILD / "src/vmm/qemu/banger-qemu"
# in the order in which they need each other
MODULES = ["virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "failover", "net_failover", "virtio_net", "virtio-rng",
           "virtio_balloon", "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport"]
WAIT_S = float(os.environ.get("BANGER_TEST_WAIT", "120"))


def newc(entries):
    """An initramfs (Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = b""
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        raw = name.encode() + b"\0"
        out += b"070701" + b"".join(b"%08X" % v for v in (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0))
        out += raw
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out


@pytest.fixture(scope="session")
def kernel():
    found = os.environ.get("BANGER_TEST_KERNEL") or max(glob.glob("/boot/vmlinuz-*-cloud-amd64"), default="")
    needs(found, "no guest kernel (BANGER_TEST_KERNEL)")
    needs(shutil.which("qemu-system-x86_64"), "no qemu-system-x86_64")
    needs(PROGRAM.exists(), f"{PROGRAM} is not built")
    return found


@pytest.fixture(scope="session")
def initrd(kernel, tmp_path_factory):
    needs(shutil.which("cc"), "no C compiler")
    folder = tmp_path_factory.mktemp("initrd")
    subprocess.run(["cc", "-static", "-O2", "-D_GNU_SOURCE", "-o", folder / "init", ROOT / "tests/fixtures/guest_init.c"],
                   check=True)
    modules = os.environ.get("BANGER_TEST_MODULES", "/lib/modules/" + os.path.basename(kernel).removeprefix("vmlinuz-"))
    entries = [(name, 0o40755, b"") for name in ("dev", "proc", "m")]
    entries.append(("init", 0o100755, (folder / "init").read_bytes()))
    for number, name in enumerate(MODULES):
        for path in pathlib.Path(modules).rglob(name + ".ko"):
            entries.append((f"m/{number:02}-{name}.ko", 0o100644, path.read_bytes()))
    (folder / "initrd").write_bytes(newc(entries))
    return folder / "initrd"


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=WAIT_S)
        self.path = str(path)

    def connect(self):
        deadline = time.monotonic() + WAIT_S
        while True:  # between bind(2) and listen(2) the name is there and refuses
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            try:
                return self.sock.connect(self.path)
            except ConnectionRefusedError:
                self.sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def until(what, condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.02)


class Vmm:
    def __init__(self, folder, *arguments):
        self.folder = folder
        self.output = open(folder / "console", "ab")
        self.process = subprocess.Popen([PROGRAM, "--api-sock", folder / "api", "--id", "test", "--log-path", folder / "log",
                                         "--accel", "tcg", *arguments], stdin=subprocess.DEVNULL, stdout=self.output)
        if "--no-api" not in arguments:
            until("the API socket", (folder / "api").exists)

    def ask(self, method, path, body=None):
        connection = Connection(self.folder / "api")
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def put(self, path, body):
        status, answer = self.ask("PUT", path, body)
        assert (status, answer) == (204, None)

    def console(self):
        return (self.folder / "console").read_text(errors="replace")

    def qemu_pids(self):
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], stdout=subprocess.PIPE, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def configure(self, kernel, initrd, test):
        self.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 192})
        self.put("/boot-source", {"kernel_image_path": str(kernel), "initrd_path": str(initrd),
                                  "boot_args": f"console=ttyS0 reboot=t panic=-1 quiet test={test}"})

    def start(self):
        self.put("/actions", {"action_type": "InstanceStart"})

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.output.close()


@pytest.fixture
def vmm(tmp_path):
    needs(PROGRAM.exists(), f"{PROGRAM} is not built")
    machine = Vmm(tmp_path)
    yield machine
    machine.end()


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_version_is_firecrackers_first():
    needs(PROGRAM.exists(), f"{PROGRAM} is not built")
    lines = subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert lines[0] == "Firecracker v1.14.1"
    assert lines[1].startswith("banger-qemu ")


def test_bad_arguments_end_with_153():
    needs(PROGRAM.exists(), f"{PROGRAM} is not built")
    assert subprocess.run([PROGRAM, "--nonsense"], stderr=subprocess.DEVNULL).returncode == 153


def test_a_used_socket_path_is_refused(vmm):
    second = subprocess.run([PROGRAM, "--api-sock", vmm.folder / "api"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)
    assert second.returncode == 1
    assert "Check that it is not already used" in second.stderr


def test_what_is_put_is_got(vmm):
    vmm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 64})
    assert vmm.ask("GET", "/machine-config")[1]["vcpu_count"] == 2
    assert vmm.ask("GET", "/")[1] == {"id": "test", "state": "Not started", "vmm_version": "1.14.1",
                                      "app_name": "Firecracker"}
    assert vmm.ask("GET", "/version") == (200, {"firecracker_version": "1.14.1"})
    assert vmm.ask("GET", "/vm/config")[1]["vsock"] is None


def test_a_body_over_the_limit_is_refused(vmm):
    vmm.put("/mmds", {"a": "x" * 51000})
    connection = Connection(vmm.folder / "api")
    connection.request("PUT", "/mmds", json.dumps({"a": "x" * 51200}))
    answer = connection.getresponse()
    assert answer.status == 400
    assert "is larger than the limit of 51200" in answer.read().decode()


def test_a_kernel_that_is_none_fails_and_can_be_replaced(vmm, kernel, initrd):
    vmm.put("/boot-source", {"kernel_image_path": "/etc/hostname"})
    status, answer = vmm.ask("PUT", "/actions", {"action_type": "InstanceStart"})
    assert status == 400
    assert answer["fault_message"].startswith("Start microvm error: ")
    assert vmm.ask("GET", "/")[1]["state"] == "Not started"
    vmm.configure(kernel, initrd, "none")
    vmm.start()
    assert vmm.process.wait(WAIT_S) == 0


@pytest.mark.parametrize("test", ["none", "off"])
def test_the_end_of_the_guest_is_the_end_of_the_process(vmm, kernel, initrd, test):
    vmm.configure(kernel, initrd, test)
    vmm.start()
    assert vmm.process.wait(WAIT_S) == 0
    assert "GUEST-READY" in vmm.console()


def test_disks_come_in_order_and_can_be_replaced(vmm, kernel, initrd):
    for name, mib in (("a", 3), ("root", 5), ("b", 7), ("new", 9)):
        (vmm.folder / name).touch()
        os.truncate(vmm.folder / name, mib << 20)
    for name in ("a", "root", "b"):
        vmm.put(f"/drives/{name}", {"drive_id": name, "path_on_host": str(vmm.folder / name),
                                    "is_root_device": name == "root"})
    vmm.configure(kernel, initrd, "sleep")
    vmm.start()
    until("the guest", lambda: "GUEST-READY" in vmm.console())
    partitions = {fields[3]: int(fields[2]) for fields in map(str.split, vmm.console().splitlines())
                  if len(fields) == 4 and fields[3].startswith("vd")}
    assert partitions == {"vda": 5 << 10, "vdb": 3 << 10, "vdc": 7 << 10}
    change = {"drive_id": "b", "path_on_host": str(vmm.folder / "new"),
              "rate_limiter": {"bandwidth": {"size": 1000000, "refill_time": 100}}}
    assert vmm.ask("PATCH", "/drives/b", change) == (204, None)
    # the folder of a disk is open to a PATCH, others are not: this is the confinement
    status, answer = vmm.ask("PATCH", "/drives/b", {"drive_id": "b", "path_on_host": "/etc/hostname"})
    assert status == 400
    assert "Permission denied" in answer["fault_message"]


def test_vsock_carries_both_ways_and_survives_a_pause(vmm, kernel, initrd):
    path = str(vmm.folder / "v")
    vmm.put("/vsock", {"guest_cid": 3, "uds_path": path})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + "_700")
        listener.listen()
        listener.settimeout(WAIT_S)
        vmm.configure(kernel, initrd, "vsock")
        vmm.start()
        from_guest, _ = listener.accept()
        assert from_guest.recv(5) == b"ready"
        with socket.socket(socket.AF_UNIX) as guest:
            guest.settimeout(WAIT_S)
            guest.connect(path)
            guest.sendall(b"CONNECT 52\n")
            assert guest.recv(64).startswith(b"OK ")
            guest.sendall(b"hello")
            assert guest.recv(64) == b"hello"
            assert vmm.ask("PATCH", "/vm", {"state": "Paused"}) == (204, None)
            assert vmm.ask("PATCH", "/vm", {"state": "Resumed"}) == (204, None)
            guest.sendall(b"again")
            assert guest.recv(64) == b"again"
            guest.sendall(b"quit")
        from_guest.close()
    assert vmm.process.wait(WAIT_S) == 0


def test_a_paused_guest_stands_still(vmm, kernel, initrd):
    vmm.configure(kernel, initrd, "tick")
    vmm.start()
    until("a tick", lambda: "tick 3" in vmm.console())
    for _ in range(2):  # idempotent
        assert vmm.ask("PATCH", "/vm", {"state": "Paused"}) == (204, None)
    assert vmm.ask("GET", "/")[1]["state"] == "Paused"
    time.sleep(0.2)  # what was in the pipe
    before = vmm.console()
    time.sleep(0.5)
    assert vmm.console() == before
    assert vmm.ask("PATCH", "/vm", {"state": "Resumed"}) == (204, None)
    until("more ticks", lambda: len(vmm.console()) > len(before))


def test_the_console_file_is_bounded(vmm, kernel, initrd):
    vmm.configure(kernel, initrd, "flood")
    # nearly full already, so that a slow guest needs to print little
    vmm.put("/serial", {"serial_out_path": str(vmm.folder / "serial")})
    (vmm.folder / "serial").write_bytes(b"x" * (8 * 1024 * 1024 - 20000))
    vmm.start()
    until("a cut", lambda: (vmm.folder / "serial").stat().st_size < 2 * 1024 * 1024)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_qemu_never_stays_behind(vmm, kernel, initrd, how):
    vmm.configure(kernel, initrd, "sleep")
    vmm.start()
    pids = vmm.qemu_pids()
    assert len(pids) == 1
    vmm.process.send_signal(how)
    assert vmm.process.wait(WAIT_S) == -how
    until("the end of QEMU", lambda: gone(pids[0]))


def test_a_killed_qemu_is_exit_1(vmm, kernel, initrd):
    vmm.configure(kernel, initrd, "sleep")
    vmm.start()
    os.kill(vmm.qemu_pids()[0], signal.SIGKILL)
    assert vmm.process.wait(WAIT_S) == 1


def test_a_configuration_file_boots_without_api(tmp_path, kernel, initrd):
    (tmp_path / "config").write_text(json.dumps({
        "boot-source": {"kernel_image_path": str(kernel), "initrd_path": str(initrd),
                        "boot_args": "console=ttyS0 reboot=t panic=-1 quiet test=none"},
        "drives": [], "machine-config": {"vcpu_count": 1, "mem_size_mib": 192}}))
    machine = Vmm(tmp_path, "--config-file", tmp_path / "config", "--no-api")
    try:
        assert machine.process.wait(WAIT_S) == 0
        assert "GUEST-READY" in machine.console()
    finally:
        machine.end()


def test_a_wrong_configuration_file_ends_with_152(tmp_path):
    needs(PROGRAM.exists(), f"{PROGRAM} is not built")
    (tmp_path / "config").write_text('{"boot-source": {"kernel_image_path": "/nonexistent"}, "drives": []}')
    machine = Vmm(tmp_path, "--config-file", tmp_path / "config", "--no-api")
    try:
        assert machine.process.wait(WAIT_S) == 152
    finally:
        machine.end()
