"""The logs of a VM: what of them is shown, how, and that a guest cannot fill the disk with them."""
import json
import os
import pathlib
import pty
import select
import subprocess
import time

MAX = 8 << 20  # VM_CONSOLE_MAX


def log_of(instance, vm):
    return pathlib.Path(instance.show(vm)["vm_folder"]) / "console.log"


def say(instance, vm, text):
    instance.banger("vm", "exec", vm, "--", "sh", "-c", f"printf '{text}' > /dev/ttyS0")


def logs(instance, *words):
    return instance.banger("vm", "logs", *words).stdout


def wait_for(condition, what):
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def on_a_terminal(instance, *words):
    master, slave = pty.openpty()
    process = instance.popen("vm", "logs", *words, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
    os.close(slave)
    got = b""
    while process.poll() is None or select.select([master], [], [], 0.1)[0]:
        try:
            got += os.read(master, 65536)
        except OSError:
            break
    process.wait(10)
    os.close(master)
    return got


def test_lines_since_and_the_vmm(instance, shared_vm):
    def ends_with_them():  # again, as long as the guest's start still speaks in between
        say(instance, shared_vm, "one\\ntwo\\nthree\\n")
        return logs(instance, "-n", "2", shared_vm).split() == ["two", "three"]

    wait_for(ends_with_them, "the last two lines of the console")
    assert logs(instance, "-n", "0", shared_vm) == ""
    assert "three" in logs(instance, "--since", "1h", shared_vm)
    assert logs(instance, "--since", "2100-01-01T00:00:00Z", shared_vm) == ""
    assert "API server started" in logs(instance, "--vmm", "--since", "1h", shared_vm)
    assert logs(instance, "--vmm", "--since", "2100-01-01T00:00:00Z", shared_vm) == ""
    for words in (("--since", "yesterday"), ("-n", "few"), ("--vmm", "--console")):
        assert instance.banger("vm", "logs", *words, shared_vm, check=False).returncode == 1


def test_a_follower_sees_what_comes(instance, shared_vm):
    follower = instance.popen("vm", "logs", "-f", "-n", "1", shared_vm, stdout=subprocess.PIPE)
    time.sleep(0.5)
    say(instance, shared_vm, "news\\n")
    got, deadline = b"", time.monotonic() + 15
    while b"news" not in got and time.monotonic() < deadline:
        if select.select([follower.stdout], [], [], 0.5)[0]:
            got += os.read(follower.stdout.fileno(), 4096)
    follower.kill()
    follower.wait()
    assert b"news" in got


def test_what_a_guest_prints_does_not_steer_a_terminal(instance, shared_vm):
    say(instance, shared_vm, "\\033]52;c;ZXZpbA==\\007\\033[2Jplain\\302\\23331m end\\rover\\n")
    wait_for(lambda: "plain" in logs(instance, shared_vm), "the console arrives")
    shown = on_a_terminal(instance, "-n", "1", shared_vm)
    assert b"\x1b" not in shown and b"ZXZpbA" not in shown and b"\xc2\x9b" not in shown
    assert shown.replace(b"\r\n", b"\n").endswith(b"plain end\nover\n"), shown
    assert "\x1b[2J" in logs(instance, "-n", "1", shared_vm), "into a pipe goes what the guest wrote"


def fill_vmm_log(log):
    """As a VMM that complains without end would, since no guest can make ours do so."""
    with open(log, "ab") as file:
        file.write(b"the front of it\n")
        for _ in range(9):
            file.write((b"x" * 127 + b"\n") * (1 << 13))
    assert log.stat().st_blocks * 512 > MAX


def test_floods_of_a_guest_and_of_a_vmm_do_not_fill_the_disk(instance, shared_vm):
    """The console's log is brought near its maximum by the host: an emulated serial line takes a minute for a few MiB."""
    vmm_log = log_of(instance, shared_vm).with_name("vmm.log")
    fill_vmm_log(vmm_log)
    instance.banger("vm", "stop", shared_vm)
    log = log_of(instance, shared_vm)
    with open(log, "ab") as file:
        file.write(b"x" * (MAX - (8 << 10) - log.stat().st_size))
    instance.banger("vm", "start", shared_vm)
    instance.banger("vm", "exec", shared_vm, "--", "sh", "-c",
                    "head -c 16384 /dev/zero | tr '\\0' y > /dev/ttyS0; echo last > /dev/ttyS0", timeout=120)
    wait_for(lambda: b"ylast" in log.read_bytes()[-65536:], "the end of the flood arrives")
    assert log.stat().st_size <= (1 << 20) + (96 << 10), "cut to its last MiB, and what came then"
    assert "console output cut here" in log.read_text(errors="replace")[:100]
    assert "ylast" in logs(instance, "-n", "20", shared_vm), "and perhaps a login prompt behind it"
    assert json.loads(instance.banger("vm", "stats", shared_vm).stdout)["state"] == "running"
    # the VMM's log: its front is given back at the daemon's next look, and what came after it is there
    wait_for(lambda: vmm_log.stat().st_blocks * 512 <= (1 << 20) + 65536, "the front of the VMM's log is given back")
    assert "the front of it" not in logs(instance, "--vmm", "-n", "100000", shared_vm)
    assert "API server started" in logs(instance, "--vmm", "-n", "20", shared_vm)
