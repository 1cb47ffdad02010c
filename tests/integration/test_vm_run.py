"""The main job: `banger vm run [repo] -- command` is a contract."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from instance import sh


def git(folder, *words):
    return sh("git", "-C", str(folder), "-c", "user.name=Test", "-c", "user.email=test@example.invalid", *words).stdout


@pytest.fixture(scope="module")
def repo(instance):
    """A repository with a history, odd names, an executable, and changes that are not committed."""
    folder = instance.home / "my repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "Makefile").write_text("test:\n\t@echo tests ran on $$(uname -n); cat data.txt\n")
    (folder / "data.txt").write_text("first\n")
    (folder / "a b'c\".txt").write_text("odd\n")
    (folder / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("data.txt")
    (folder / ".gitignore").write_text("ignored\n")
    git(folder, "config", "user.email", "test@example.invalid")
    git(folder, "config", "user.name", "Test")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    (folder / "data.txt").write_text("second\n")
    git(folder, "commit", "-qam", "two")
    (folder / "data.txt").write_text("changed\n")
    (folder / "untracked").write_text("u\n")
    (folder / "ignored").write_text("i\n")
    sh("chown", "-R", f"{instance.uid}:{instance.gid}", str(folder))
    return folder


def test_a_repository_runs_its_tests_and_nothing_is_left(instance, repo):
    done = instance.banger("vm", "run", "--rm", "--name", "main-job", repo, "--", "make", "test")
    assert done.stdout == "tests ran on main-job\nchanged\n"
    assert "ready in" in done.stderr
    assert instance.leftovers() == []
    assert "main-job" not in [vm["name"] for vm in instance.json("vm", "list")]


def test_the_repository_arrives_whole(instance, repo):
    name = "whole-" + os.urandom(2).hex()
    script = r"""
        git status --porcelain; git log --format=%s; git rev-parse --abbrev-ref HEAD
        cat "a b'c\".txt"; ./run.sh; readlink link; ls -a; git config user.email
    """
    done = instance.banger("vm", "run", "--rm", "--name", name, repo, "--", "sh", "-c", script)
    lines = done.stdout.splitlines()
    assert lines[:7] == [" M data.txt", "two", "one", "main", "odd", "ran", "data.txt"]
    assert set(os.listdir(repo)) - {"untracked", "ignored"} == set(lines[7:-1]) - {".", ".."}
    assert lines[-1] == "test@example.invalid"


def test_untracked_files_come_when_asked_for_and_ignored_ones_never(instance, repo):
    done = instance.banger("vm", "run", "--rm", "--include-untracked", repo, "--", "ls")
    assert "untracked" in done.stdout.split()
    assert "ignored" not in done.stdout.split()


def test_dry_run_lists_and_makes_nothing(instance, repo):
    before = instance.json("vm", "list")
    done = instance.banger("vm", "run", "--dry-run", repo)
    assert "data.txt" in done.stdout and "untracked" not in done.stdout.split("\n")
    assert instance.json("vm", "list") == before


@pytest.mark.parametrize("make, part", [
    (lambda f: f.mkdir(), "git"),
    (lambda f: sh("git", "init", "-q", "--bare", str(f)), "bare"),
])
def test_what_is_no_working_repository_is_refused_before_a_vm_exists(instance, tmp_path, make, part):
    folder = instance.home / ("no-repo-" + os.urandom(3).hex())
    make(folder)
    sh("chown", "-R", f"{instance.uid}:{instance.gid}", str(folder))
    done = instance.banger("vm", "run", "--rm", folder, "--", "true", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("banger:") and part in done.stderr and str(folder) in done.stderr
    assert instance.leftovers() == []


# ---- the contract of a command ----

def test_output_and_error_stay_apart_byte_exact(instance, shared_vm):
    done = instance.banger("vm", "exec", shared_vm, "--", "sh", "-c", r"printf 'a\000b\377'; printf 'err\r\n' >&2", text=False)
    assert done.stdout == b"a\0b\xff"
    assert done.stderr == b"err\r\n"


def test_input_arrives_and_ends(instance, shared_vm):
    data = os.urandom(1 << 20)
    done = instance.banger("vm", "exec", shared_vm, "--", "sha256sum", input=data, text=False)
    import hashlib
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_large_output_loses_nothing(instance, shared_vm):
    done = instance.banger("vm", "exec", shared_vm, "--", "head", "-c", str(16 << 20), "/dev/zero", text=False)
    assert done.stdout == bytes(16 << 20)


@pytest.mark.parametrize("command, status", [
    (["true"], 0), (["false"], 1), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -9 $$"], 137),
    (["sh", "-c", "kill -TERM $$"], 143), (["no-such-command"], 127), (["/etc/passwd"], 126),
])
def test_the_exit_status_passes_through(instance, shared_vm, command, status):
    assert instance.banger("vm", "exec", shared_vm, "--", *command, check=False).returncode == status


def test_arguments_arrive_as_they_are(instance, shared_vm):
    words = ["a b", "", "'", '"', "$HOME", "*", "\\n", "é", "-x", "--", ";ls"]
    done = instance.banger("vm", "exec", shared_vm, "--", "python3", "-c", "import sys,json; print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(done.stdout) == words


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_command(instance, shared_vm, sig):
    name = signal.Signals(sig).name[3:]
    process = instance.popen("vm", "exec", shared_vm, "--", "bash", "-c",
                             f"trap 'echo got {name}; exit 7' {name}; echo up; while :; do sleep 0.1; done",
                             stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout.readline() == b"up\n"
    os.kill(banger_of(process), sig)
    assert process.stdout.read() == f"got {name}\n".encode()
    assert process.wait(20) == 7


def banger_of(process):
    """The pid of banger itself: `ip netns exec setpriv` replace themselves, so it is the child's own."""
    return process.pid


def test_a_broken_pipe_ends_quietly(instance, shared_vm):
    line = " ".join(map(str, instance.argv(instance.bin / "banger", "vm", "exec", shared_vm, "--", "yes")))
    done = subprocess.run(["bash", "-c", f"{line} | head -1; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True,
                          env=instance.environment(), timeout=60)
    assert done.stdout.splitlines()[0] == "y"
    assert done.stderr == ""


def read_until(master, wanted, seconds=60):
    seen = b""
    deadline = time.monotonic() + seconds
    while wanted not in seen:
        left = deadline - time.monotonic()
        assert left > 0, f"{wanted!r} did not come; saw {seen!r}"
        if select.select([master], [], [], left)[0]:
            try:
                seen += os.read(master, 65536)
            except OSError:
                break
    assert wanted in seen, seen
    return seen


def test_a_terminal_is_allocated_when_there_is_one_and_follows_its_size(instance, shared_vm):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    process = instance.popen("vm", "exec", shared_vm, "--", "bash", "--norc", stdin=slave, stdout=slave, stderr=slave,
                             start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    os.write(master, b"tty && stty size\n")
    read_until(master, b"31 97")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 111, 0, 0))
    time.sleep(0.5)
    os.write(master, b"stty size\n")
    read_until(master, b"44 111")
    os.write(master, b"sleep 100\n")
    time.sleep(0.5)
    os.write(master, b"\x03")
    os.write(master, b"exit 5\n")
    assert process.wait(30) == 5
    os.close(master)


def test_ssh_is_the_real_one_once_the_guest_has_its_sshd(instance, shared_vm):
    address = instance.show(shared_vm)["address"]
    deadline = time.monotonic() + 120
    while subprocess.run(instance.argv("bash", "-c", f"exec 3<>/dev/tcp/{address}/22; head -c 4 <&3"),
                         capture_output=True, timeout=60).stdout != b"SSH-":
        assert time.monotonic() < deadline, "the guest's sshd does not answer"
        time.sleep(0.5)
    master, slave = pty.openpty()
    process = instance.popen("vm", "ssh", shared_vm, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    os.write(master, b"echo via=$SSH_CONNECTION=; exit\n")
    read_until(master, b"via=172.16.0.1 ")
    assert process.wait(60) == 0
    os.close(master)


def test_without_a_terminal_none_is_allocated(instance, shared_vm):
    assert instance.banger("vm", "exec", shared_vm, "--", "tty", check=False).stdout == "not a tty\n"


def test_interrupting_a_run_with_rm_leaves_nothing(instance):
    process = instance.popen("vm", "run", "--rm", "--name", "interrupted", "--", "sh", "-c", "echo up; sleep 100",
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert process.returncode == 143
    assert instance.leftovers() == []


# ---- states, names, refusals ----

def test_d_with_rm_or_a_command_is_refused_before_creation(instance):
    before = instance.json("vm", "list")
    for words in (["-d", "--rm"], ["-d", "--", "true"]):
        done = instance.banger("vm", "run", *words, check=False)
        assert done.returncode == 1 and done.stderr.startswith("banger:")
    assert instance.json("vm", "list") == before


def test_detached_run_stays_and_can_be_used(instance):
    done = instance.banger("vm", "run", "-d", "--name", "detached")
    assert "detached" in done.stdout + done.stderr
    assert instance.banger("vm", "exec", "detached", "--", "hostname").stdout == "detached\n"
    rows = instance.banger("ps").stdout.splitlines()
    assert rows[0].split()[:2] == ["ID", "NAME"] or "NAME" in rows[0]
    assert any("detached" in row and "running" in row for row in rows[1:])
    instance.banger("vm", "delete", "detached")
    assert instance.leftovers() == []


def test_the_same_name_twice_is_refused(instance, shared_vm):
    done = instance.banger("vm", "run", "--name", shared_vm, "--", "true", check=False)
    assert done.returncode == 1
    assert f"a vm named '{shared_vm}' exists" in done.stderr
    assert re.search(r"\(op-[0-9a-f]{12}\)", done.stderr)


@pytest.mark.parametrize("words, part", [
    (["--name", "Bad_Name"], "'Bad_Name'"), (["--vcpu", "0"], "--vcpu must be 1 to 32"), (["--memory", "1M"], "--memory"),
    (["--image", "no-such-image"], "no image named 'no-such-image'"), (["--nonsense"], "--nonsense"),
    (["--disk-size", "banana"], "banana"),
])
def test_bad_input_is_named(instance, words, part):
    done = instance.banger("vm", "run", "--rm", *words, "--", "true", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("banger:") and part in done.stderr
    assert instance.leftovers() == []


def test_two_runs_at_once(instance):
    processes = [instance.popen("vm", "run", "--rm", "--", "hostname", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                stdin=subprocess.DEVNULL) for _ in range(2)]
    names = [p.communicate(timeout=180)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert len(set(names)) == 2
    assert instance.leftovers() == []
