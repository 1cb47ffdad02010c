"""VMs are objects that last: stop and start, the daemon's death, what a failure leaves behind."""
import json
import os
import signal
import sqlite3
import subprocess
import time

import pytest

from instance import sh

CREATE_STEPS = ["vm.create/folder", "vm.create/reserve", "vm.start/check", "vm.start/network", "vm.start/vmm", "vm.start/boot",
                "vm.start/disk", "vm.start/agent"]


def traces_of(instance, name):
    """What a VM that does not run has on the host besides its folder."""
    vm = instance.show(name)
    found = [line for line in instance.processes().values() if vm["id"] in line]
    found += [link for link in instance.links() if link == vm["tap"]]
    found += [line for line in instance.nft().splitlines() if vm["address"] in line or f'"{vm["tap"]}"' in line]
    return found + [str(f) for f in (instance.runtime / "vms").glob(vm["id"] + "*")]


def test_what_was_written_is_there_after_stop_and_start(instance, vm):
    name = vm()
    instance.banger("vm", "exec", name, "--", "sh", "-c", "echo kept > /root/marker; echo also > /etc/marker")
    boot = instance.show(name)["boot_id"]
    instance.banger("vm", "stop", name)
    assert instance.show(name)["state"] == "stopped"
    vm_id = instance.show(name)["id"]
    assert [line for line in instance.processes().values() if vm_id in line] == []
    refused = instance.banger("vm", "exec", name, "--", "true", check=False)
    assert refused.returncode == 1 and "not running" in refused.stderr
    instance.banger("vm", "start", name)
    assert instance.show(name)["boot_id"] not in ("", boot)
    assert instance.banger("vm", "exec", name, "--", "cat", "/root/marker", "/etc/marker").stdout == "kept\nalso\n"


def test_the_guest_is_set_up(instance, shared_vm):
    address = instance.show(shared_vm)["address"]
    before = time.time()
    out = instance.banger("vm", "exec", shared_vm, "--", "sh", "-c",
                          "hostname; ip -4 -o addr show dev eth0 | awk '{print $4}'; stat -c %a /root /root/.ssh; "
                          "ls -a /root | grep hushlogin; date +%s.%N").stdout.split()
    assert out[0] == shared_vm
    assert out[1] == address + "/24"
    assert out[2:4] == ["755", "700"]
    assert out[4] == ".hushlogin"
    assert before - 0.1 < float(out[5]) < time.time() + 0.1
    # the image's init starts after a first short command, or beside a longer one
    assert instance.banger("vm", "exec", shared_vm, "--", "sh", "-c", "until grep -qx systemd /proc/1/comm; do sleep 0.1; done; echo up").stdout == "up\n"


def test_killing_the_vmm_leaves_a_stopped_vm(instance, vm):
    name = vm()
    pid = instance.show(name)["vmm_pid"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while instance.show(name)["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert instance.show(name)["state"] == "stopped"
    assert traces_of(instance, name) == []


def test_a_command_goes_on_when_the_daemon_is_killed_and_the_vm_is_adopted(instance, vm):
    name = vm()
    boot = instance.show(name)["boot_id"]
    process = instance.popen("vm", "exec", name, "--", "sh", "-c", "echo up; read x; echo $x; exit 3", stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    instance.end_daemon(signal.SIGKILL)
    out, _ = process.communicate(b"still here\n", timeout=30)
    assert out == b"still here\n" and process.returncode == 3
    shown = instance.show(name)  # starts a daemon, which takes the VM up
    assert shown["state"] == "running" and shown["boot_id"] == boot
    assert instance.banger("vm", "exec", name, "--", "cat", "/proc/sys/kernel/random/boot_id").stdout.strip() == boot


@pytest.fixture
def with_fault(instance):
    """A daemon whose jobs fail where told; the next test gets a sound one."""
    def restart(fault):
        instance.end_daemon()
        instance.banger("vm", "list", env={"BANGER_FAULT": fault})
    yield restart
    instance.end_daemon()


@pytest.mark.parametrize("how", ["fail", "kill"])
@pytest.mark.parametrize("step", CREATE_STEPS)
def test_every_step_of_a_create_fails_and_is_killed_and_leaves_nothing(instance, with_fault, step, how):
    with_fault(f"{step}:{how}")
    done = instance.banger("vm", "create", "--name", "doomed", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("banger:")
    assert instance.leftovers() == []
    assert "doomed" not in [vm["name"] for vm in instance.json("vm", "list")]


@pytest.mark.parametrize("after", ["reserve", "network", "disk"])
def test_the_daemon_killed_with_its_job_leaves_nothing_to_the_next(instance, after):
    instance.end_daemon()
    instance.banger("vm", "list")
    process = instance.popen("vm", "create", "--name", "orphan", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in process.stderr:  # a stage's line comes when it has ended
        if line.startswith(after.encode()):
            break
    instance.end_daemon(signal.SIGKILL)
    process.wait(30)
    assert process.returncode == 1
    deadline = time.monotonic() + 30
    while instance.leftovers() or "orphan" in [vm["name"] for vm in instance.json("vm", "list")]:
        assert time.monotonic() < deadline, (instance.json("vm", "list"), instance.leftovers())
        time.sleep(0.2)


@pytest.mark.parametrize("how", ["fail", "kill"])
@pytest.mark.parametrize("step", ["vm.start/check", "vm.start/network", "vm.start/vmm", "vm.start/boot", "vm.start/agent"])
def test_a_failed_start_leaves_the_disks_and_nothing_else(instance, with_fault, vm, step, how):
    name = f"again-{os.urandom(2).hex()}"
    instance.banger("vm", "create", "--no-start", "--name", name)
    with_fault(f"{step}:{how}")
    assert instance.banger("vm", "start", name, check=False).returncode == 1
    shown = instance.show(name)
    assert shown["state"] == "error" and shown["last_error"]
    assert traces_of(instance, name) == []
    instance.banger("vm", "delete", name)
    assert instance.leftovers() == []


def test_a_failed_start_that_cannot_be_recorded_tells_why_the_start_failed(instance, with_fault):
    instance.banger("vm", "create", "--no-start", "--name", "unrecorded")
    vm_id = instance.show("unrecorded")["id"]
    with_fault("vm.start/check:fail")
    db = sqlite3.connect(instance.state / "banger.db")
    try:
        with db:
            db.execute("CREATE TRIGGER no_error BEFORE UPDATE ON vms WHEN NEW.state = 'error' BEGIN SELECT RAISE(ABORT, 'not today'); END")
        done = instance.banger("vm", "start", "unrecorded", check=False)
    finally:
        with db:
            db.execute("DROP TRIGGER IF EXISTS no_error")
        db.close()
    assert done.returncode == 1 and "step 'check' was told to fail" in done.stderr and "not today" not in done.stderr, done.stderr
    warned = [json.loads(line) for line in (instance.runtime / "bangerd.log").read_text().splitlines() if "not today" in line]
    assert [(line["level"], line["vm_id"], line["state"]) for line in warned] == [("warn", vm_id, "error")]
    assert warned[0]["op_id"] in done.stderr
    instance.banger("vm", "delete", "unrecorded")
    assert instance.leftovers() == []


@pytest.mark.parametrize("after", ["network", "vmm", "boot"])
def test_a_vmm_that_dies_at_a_stage_undoes_the_create(instance, after):
    process = instance.popen("vm", "create", "--name", "fallen", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in process.stderr:
        if line.startswith(after.encode()):
            break
    deadline = time.monotonic() + 10
    killed = False
    while not killed and time.monotonic() < deadline:
        known = [str(vm.get("vmm_pid")) for vm in instance.json("vm", "list")]
        for pid, line in instance.processes().items():
            if "/banger-qemu" in line and str(pid) not in known:
                os.kill(pid, signal.SIGKILL)
                killed = True
    assert killed
    said = process.stderr.read().decode()
    assert process.wait(30) == 1 and said.splitlines()[-1].startswith("banger:"), said
    assert instance.leftovers() == []
    assert "fallen" not in [vm["name"] for vm in instance.json("vm", "list")]


def test_a_client_that_goes_away_undoes_its_create(instance):
    process = instance.popen("vm", "create", "--name", "regretted", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in process.stderr:
        if line.startswith(b"boot"):
            break
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while instance.leftovers() or "regretted" in [vm["name"] for vm in instance.json("vm", "list")]:
        assert time.monotonic() < deadline, instance.leftovers()
        time.sleep(0.1)


def test_a_missing_or_truncated_kernel_is_named(instance):
    folder = instance.state / "kernels/debian-6.1"
    kernel = folder / "vmlinux"
    moved = folder / "vmlinux.away"
    kernel.rename(moved)
    try:
        done = instance.banger("vm", "create", "--name", "no-kernel", check=False)
        assert done.returncode == 1 and "debian-6.1" in done.stderr
        kernel.write_bytes(b"\x7fELF")
        os.chown(kernel, instance.uid, instance.gid)
        done = instance.banger("vm", "create", "--name", "bad-kernel", check=False)
        assert done.returncode == 1
    finally:
        moved.rename(kernel)
    assert instance.leftovers() == []


def test_a_guest_that_never_calls_is_given_up(instance):
    config = instance.home / ".config/banger/config.toml"
    instance.as_owner_mkdir(config.parent)
    config.write_text("boot_timeout = 1\n")
    instance.end_daemon()
    try:
        done = instance.banger("vm", "create", "--name", "mute", check=False)
        assert done.returncode == 1
        assert "within 1000 ms" in done.stderr
        assert instance.leftovers() == []
    finally:
        config.unlink()
        instance.end_daemon()


def test_a_used_up_address_range_says_so(instance):
    config = instance.home / ".config/banger/config.toml"
    instance.as_owner_mkdir(config.parent)
    config.write_text('bridge_name = "br-fc-s"\nbridge_ip = "172.31.9.1"\ncidr = "30"\n')
    instance.end_daemon()
    try:
        instance.banger("vm", "create", "--no-start", "--name", "only")
        done = instance.banger("vm", "create", "--no-start", "--name", "one-too-many", check=False)
        assert done.returncode == 1 and "used up" in done.stderr
    finally:
        instance.banger("vm", "delete", "only")
        config.unlink()
        instance.end_daemon()


def test_an_image_or_kernel_in_use_cannot_be_deleted(instance, shared_vm):
    for noun, name in (("image", "debian-bookworm"), ("kernel", "debian-6.1")):
        done = instance.banger(noun, "delete", name, check=False)
        assert done.returncode == 1 and shared_vm in done.stderr


def test_strangers_are_refused(instance):
    instance.banger("vm", "list")
    socket = instance.runtime / "bangerd.sock"
    assert oct(socket.stat().st_mode & 0o777) == "0o600"
    assert socket.stat().st_uid == instance.uid
