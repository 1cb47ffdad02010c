"""What a stop keeps, what a restarted daemon finds, several VMs at once, and operations as their client sees them."""
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from conftest import needs
from instance import sh

SMALL = ["--vcpu", "1", "--memory", "256MiB", "--disk-size", "64MiB"]
AGENT = "banger-agent"  # the name that its process has in a guest


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def guest(instance):
    """One running VM for the tests of this module that leave it running."""
    name = f"life-{os.urandom(3).hex()}"
    instance.banger("vm", "create", *SMALL, "--name", name)
    yield name
    instance.banger("vm", "delete", name, check=False)


@pytest.fixture
def records(instance):
    """VMs that were never started: records with disks, made in no time."""
    made = []

    def make(*names):
        for name in names:
            instance.banger("vm", "create", *SMALL, "--no-start", "--name", name)
            made.append(name)
        return names

    yield make
    for name in made:
        instance.banger("vm", "delete", name, check=False)


def is_silent(instance, name):
    try:
        return instance.banger("vm", "exec", name, "--", "true", check=False, timeout=8).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def silence_the_agent(instance, name):
    """Every process of the agent in the guest stops (SIGSTOP), by the hand of a service that is not the agent's child."""
    script = f'sleep 2; for p in /proc/[0-9]*; do case "$(cat $p/comm)" in {AGENT}*) kill -STOP ${{p#/proc/}};; esac; done'
    words = ["systemd-run", "--quiet", "--no-block", "sh", "-c", script.replace("$", "$$")]  # systemd would expand them itself
    wait_for(lambda: instance.banger("vm", "exec", name, "--", *words, check=False).returncode == 0, 300)
    wait_for(lambda: is_silent(instance, name), 60)


def over_ssh(instance, name, command):
    vm = instance.show(name)
    argv = ["ssh", "-F", "/dev/null", "-i", vm["ssh_key"], "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", f"root@{vm['address']}", command]
    return subprocess.run(instance.argv(*argv), env=instance.environment(), capture_output=True, text=True, timeout=60).returncode


def test_a_guest_whose_agent_is_silent_is_synced_over_ssh(instance, guest):
    wait_for(lambda: over_ssh(instance, guest, "true") == 0, 300)  # its sshd comes late in an emulated boot
    silence_the_agent(instance, guest)
    # written by no command of the agent's, and not synced by anybody: only a stop that syncs keeps it
    assert over_ssh(instance, guest, "echo kept > /root/over-ssh") == 0
    stopped = instance.banger("vm", "stop", guest)
    assert "did not answer" not in stopped.stderr
    assert "it was stopped over ssh" in daemon_log(instance)
    instance.banger("vm", "start", guest)
    assert instance.banger("vm", "exec", guest, "--", "cat", "/root/over-ssh").stdout == "kept\n"


def test_a_deaf_guest_is_stopped_in_two_seconds_and_it_is_said(instance, guest):
    instance.banger("vm", "exec", guest, "--", "ip", "link", "set", "eth0", "down")
    os.kill(instance.show(guest)["vmm_pid"], signal.SIGSTOP)  # the guest runs on, but its vsock is dead
    begun = time.monotonic()
    done = instance.banger("vm", "stop", guest)
    elapsed = time.monotonic() - begun
    assert "did not answer" in done.stderr
    assert 1.5 < elapsed < 15  # 2 s, and what a sanitized build on a busy machine takes; tests/bench has the number
    assert instance.show(guest)["state"] == "stopped"
    instance.banger("vm", "start", guest)


def test_what_is_recorded_while_an_operation_runs_is_kept(instance, guest):
    # a folder that the guest has: later commands of the shared VM begin in it
    stopping = instance.popen("vm", "stop", guest, stdout=subprocess.DEVNULL)
    wait_for(lambda: [o for o in instance.rpc("daemon.operations.list")["operations"] if o["kind"] == "vm.stop" and not o["done"]])
    instance.rpc("vm.workspace.record", vm=guest, guest_path="/root", host_path="/nonexistent/repo", head="0" * 40)
    assert stopping.wait(60) == 0
    shown = instance.show(guest)
    assert shown["state"] == "stopped" and shown["workspace"]["host_path"] == "/nonexistent/repo"
    instance.banger("vm", "start", guest)


def test_restart_makes_a_new_boot_and_keeps_the_files(instance, guest):
    before = instance.banger("vm", "exec", guest, "--", "sh", "-c", "echo here > /root/restarted; cat /proc/sys/kernel/random/boot_id").stdout
    instance.banger("vm", "restart", guest)
    after = instance.banger("vm", "exec", guest, "--", "sh", "-c", "cat /root/restarted /proc/sys/kernel/random/boot_id").stdout.split()
    assert after[0] == "here" and after[1] != before.strip()
    assert instance.show(guest)["boot_id"] == after[1]


def test_only_signals_of_the_list_reach_a_vmm(instance, guest):
    for bad in ("STOP", "9", "RTMIN", "CONT"):
        done = instance.banger("vm", "kill", "--signal", bad, guest, check=False)
        assert done.returncode == 1 and instance.show(guest)["state"] == "running"
    instance.banger("vm", "kill", "--signal", "sigterm", guest)
    assert instance.show(guest)["state"] == "stopped"
    instance.banger("vm", "start", guest)


def test_a_list_as_json_is_every_object_as_it_is(instance, guest, records):
    """The daemon writes them, and the command shows what is wanted of that: byte for byte what the objects are as indented JSON."""
    records("listed-1", "listed-2")
    instance.banger("vm", "set", "listed-2", "--label", "odd=a\\\"{} [],tier=test")
    instance.rpc("vm.workspace.record", vm="listed-1", guest_path="/root", host_path="/n\u00e9\t\"", head="0" * 40)
    objects = instance.rpc("vm.list")["vms"]

    def as_json(wanted):
        return json.dumps([vm for vm in objects if wanted(vm)], indent=2, ensure_ascii=False) + "\n"

    assert {vm["name"] for vm in objects} >= {guest, "listed-1", "listed-2"}
    assert instance.banger("vm", "list", "--json").stdout == as_json(lambda vm: True)
    assert instance.banger("ps", "--json").stdout == as_json(lambda vm: vm["state"] == "running")
    assert instance.banger("vm", "list", "--json", "--label", "tier=test").stdout == as_json(lambda vm: vm["labels"].get("tier") == "test")
    assert instance.banger("vm", "list", "--json", "--label", "nowhere").stdout == "[]\n"


# ---- several at once ----

def test_several_references_are_resolved_together_and_the_right_ones_are_done(instance, records):
    records("many-a", "many-b", "many-c")
    ids = {name: instance.show(name)["id"] for name in ("many-a", "many-b", "many-c")}
    done = instance.banger("vm", "stop", "many-c", ids["many-a"], "nobody", "many-a", ids["many-b"][:8], "many-c", check=False)
    assert done.returncode == 1
    assert done.stdout == "many-c\nmany-a\nmany-b\n"  # as first named, each once
    assert [line for line in done.stderr.splitlines() if "nobody" in line and line.startswith("banger:")]
    done = instance.banger("vm", "rm", "many-a", "gone", "many-b", check=False)
    assert done.returncode == 1 and done.stdout == "many-a\nmany-b\n" and "'gone'" in done.stderr
    assert {"many-a", "many-b"}.isdisjoint(vm["name"] for vm in instance.json("vm", "list"))


def test_prune_shows_and_asks_and_spares_what_runs(instance, records, guest):
    records("old-a", "old-b")
    refused = instance.banger("vm", "prune", check=False)
    assert refused.returncode == 1 and "-f" in refused.stderr and "old-a" in refused.stdout
    assert refused.stdout.splitlines()[0].split() == ["NAME", "STATE", "IMAGE", "DISK", "CREATED", "WORKSPACE"]
    said_no = subprocess.run(["script", "-qec", " ".join(instance.argv(instance.bin / "banger", "vm", "prune")), "/dev/null"],
                             input="n\n", env=instance.environment(), capture_output=True, text=True, timeout=60)
    assert "[y/N]" in said_no.stdout and "nothing was deleted" in said_no.stdout
    assert {"old-a", "old-b", guest} <= {vm["name"] for vm in instance.json("vm", "list")}
    done = instance.banger("vm", "prune", "-f")
    assert set(done.stdout.split()) >= {"old-a", "old-b"}
    assert [vm["name"] for vm in instance.json("vm", "list")] == [guest]
    assert instance.leftovers() == []
    assert "no stopped vms" in instance.banger("vm", "prune").stderr


def test_what_needs_a_running_vm_says_how_to_start_it(instance, records):
    name, = records("asleep")
    for words in ("pause", name), ("resume", name), ("ping", name), ("ports", name), ("exec", name, "--", "true"):
        done = instance.banger("vm", *words, check=False)
        assert done.returncode == 1 and f"'banger vm start {name}' starts it" in done.stderr, (words, done.stderr)


def test_prune_spares_what_was_started_while_it_asked(instance, records):
    records("old-a", "woken")
    words = " ".join(instance.argv(instance.bin / "banger", "vm", "prune"))
    prune = subprocess.Popen(["script", "-qec", words, "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=instance.environment())
    try:
        asked = b""
        while b"[y/N]" not in asked:
            asked += (read := os.read(prune.stdout.fileno(), 4096))
            assert read, asked
        instance.banger("vm", "start", "woken")
        prune.communicate(b"y\n", timeout=60)
    finally:
        prune.kill()
    left = {vm["name"] for vm in instance.json("vm", "list")}
    assert "woken" in left and "old-a" not in left
    assert instance.show("woken")["state"] == "running"


def test_delete_forgets_the_host_keys_of_its_address_and_name(instance, records):
    records("keyed")
    vm = instance.show("keyed")
    hosts = pathlib.Path(vm["known_hosts"])
    others = "172.16.0.200 ssh-ed25519 AAAA\nother.vm ssh-ed25519 BBBB\n"
    hosts.write_text(f"{vm['address']} ssh-ed25519 CCCC\nkeyed.vm,{vm['address']} ssh-ed25519 DDDD\n" + others)
    os.chown(hosts, instance.uid, instance.gid)
    instance.banger("vm", "delete", "keyed")
    assert hosts.read_text() == others
    hosts.unlink()


# ---- what a new daemon finds ----

def daemon_log(instance):
    return (instance.runtime / "bangerd.log").read_text()


@pytest.mark.parametrize("ledger", ["{ not json", "", None])
def test_a_running_vm_survives_the_loss_of_its_ledger(instance, guest, ledger):
    vm = instance.show(guest)
    path = instance.state / "vms" / vm["id"] / "handles.json"
    instance.end_daemon(signal.SIGKILL)
    if ledger is None:
        path.unlink()
    else:
        path.write_text(ledger)
    after = instance.show(guest)
    assert (after["state"], after["boot_id"], after["vmm_pid"]) == ("running", vm["boot_id"], vm["vmm_pid"])
    assert json.loads(path.read_text())["tap"]  # written again, so that a stop finds what to undo
    assert instance.banger("vm", "exec", guest, "--", "echo", "alive").stdout == "alive\n"


def test_what_a_vm_without_ledger_and_vmm_left_is_taken_away(instance, vm):
    name = vm(*SMALL)
    shown = instance.show(name)
    instance.end_daemon(signal.SIGKILL)
    os.kill(shown["vmm_pid"], signal.SIGKILL)
    (instance.state / "vms" / shown["id"] / "handles.json").unlink()
    assert [link for link in instance.links() if shown["id"][:8] in link or link.startswith("tap-")]
    wait_for(lambda: instance.show(name)["state"] == "stopped")
    assert instance.leftovers() == []
    instance.banger("vm", "start", name)


def test_a_vm_whose_creator_left_only_its_folder_is_taken_away(instance):
    instance.banger("vm", "create", *SMALL, "--no-start", "--name", "whole")
    instance.banger("vm", "create", *SMALL, "--no-start", "--name", "half")
    folder = instance.state / "vms" / instance.show("half")["id"]
    instance.end_daemon(signal.SIGKILL)
    for disk in ("rootfs.ext4", "root.ext4"):
        (folder / disk).unlink()
    wait_for(lambda: "half" not in [vm["name"] for vm in instance.json("vm", "list")] and not folder.exists())
    assert instance.show("whole")["state"] == "created"
    instance.banger("vm", "delete", "whole")


def test_a_recycled_pid_and_a_stranger_are_never_adopted(instance, records):
    """The ledger names a process that lives: one of the owner's that is no VMM, then one of another user's that looks like one."""
    records("robbed")
    vm = instance.show("robbed")
    folder = instance.state / "vms" / vm["id"]
    api = instance.runtime / "vms" / vm["id"] / "api.sock"
    argv = ["sleep", "1000"]
    lookalike = ["python3", "-c", "import time; time.sleep(1000)", "--api-sock", str(api)]
    for words, as_owner in ((argv, True), (lookalike, False)):
        instance.end_daemon()
        process = subprocess.Popen(instance.argv(*words) if as_owner else words)
        wait_for(lambda: pathlib.Path(f"/proc/{process.pid}/comm").read_text().strip() in ("sleep", "python3"))
        start_time = int(pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        (folder / "handles.json").write_text(json.dumps({
            "phase": "ready", "tap": "", "address": vm["address"], "vmm": True, "pid": process.pid,
            "start_time": start_time + 1 if as_owner else start_time, "vmm_kind": "qemu", "boot_id": "x"}))
        os.chown(folder / "handles.json", instance.uid, instance.gid)
        try:
            wait_for(lambda: instance.show("robbed")["state"] == "stopped" and not (folder / "handles.json").exists())
            assert process.poll() is None, "a process that is not ours was ended"
        finally:
            process.kill()
            process.wait()


def test_the_folder_of_a_delete_that_was_cut_short_is_swept(instance, records):
    """What a delete, killed after its answer, leaves: the folder under another name, and no row."""
    records("cut-short")
    folder = instance.state / "vms" / instance.show("cut-short")["id"]
    gone = folder.with_name(f".gone-{folder.name}")
    kept = instance.root / "cut-short.kept"
    sh("cp", "-a", "--sparse=always", "--reflink=auto", str(folder), str(kept))  # its disks are nearly empty
    instance.banger("vm", "delete", "cut-short")
    instance.end_daemon(signal.SIGKILL)
    sh("rm", "-rf", str(gone))  # where the delete has not come so far
    kept.rename(gone)
    assert list(gone.iterdir())
    instance.banger("vm", "list")
    wait_for(lambda: not gone.exists() and not folder.exists())


def test_a_half_made_vm_that_cannot_be_undone_is_seen_deleted_and_never_started(instance):
    others = set(instance.processes())
    process = instance.popen("vm", "create", *SMALL, "--name", "half", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("network"):
            break
    vmm = wait_for(lambda: [pid for pid, line in instance.processes().items() if pid not in others and "/banger-qemu" in line], 20)
    instance.stop_helper()  # nobody is left to take the network back
    try:
        os.kill(vmm[0], signal.SIGKILL)
        said = process.stderr.read()
        assert process.wait(60) == 1, said
    finally:
        instance.start_helper()
    vm = instance.show("half")
    assert vm["state"] == "error" and vm["last_error"] in said, said
    warned = [json.loads(line) for line in daemon_log(instance).splitlines() if f'"{vm["id"]}"' in line]
    assert [line for line in warned if line["level"] == "warn" and line.get("part") == "network"], warned
    for prepare in ("true", "stop"):  # a stop takes away what it has on the host, and makes it no more whole
        if prepare == "stop":
            instance.banger("vm", "stop", "half")
        refused = instance.banger("vm", "start", "half", check=False)
        assert refused.returncode == 1 and "banger vm delete half" in refused.stderr, refused.stderr
    instance.banger("vm", "delete", "half")
    assert instance.leftovers() == []


def test_a_database_of_a_newer_banger_is_refused_in_words(instance):
    instance.banger("vm", "list")
    instance.end_daemon()
    database = instance.state / "banger.db"
    kept = instance.root / "banger.db.kept"
    shutil.copy2(database, kept)
    try:
        db = sqlite3.connect(database)
        db.execute("INSERT INTO schema_migrations VALUES (999, 'from_tomorrow', '2099-01-01T00:00:00Z')")
        db.commit()
        db.close()
        with open(instance.runtime / "bangerd.log", "a") as log:
            log.write("of a daemon that ran for long\n" * 10000)
        done = instance.banger("vm", "list", check=False)
        assert done.returncode == 1
        assert "newer banger" in done.stderr and "999" in done.stderr, done.stderr
    finally:
        for leftover in instance.state.glob("banger.db*"):
            leftover.unlink()
        shutil.copy2(kept, database)
        os.chown(database, instance.uid, instance.gid)
    assert instance.banger("vm", "list").returncode == 0


def test_half_made_kernels_are_swept_by_the_next_daemon(instance):
    instance.end_daemon()
    left = instance.state / "kernels/.staging-abcdef"
    instance.as_owner_mkdir(left / "tree")
    instance.banger("vm", "list")
    wait_for(lambda: not left.exists())


# ---- set ----

def test_set_does_now_what_it_can_and_tells_what_waits(instance, guest):
    before = instance.show(guest)
    done = instance.banger("vm", "set", guest, "--vcpu", "2", "--memory", "320MiB", "--disk-size", "96MiB", "--nat", "on",
                           "--disk-iops", "9000", "--net-bandwidth", "9M", "--label", "team=infra,tier=test", "--name", guest + "-x")
    name = done.stdout.strip()
    try:
        assert name == guest + "-x" and "next start" in done.stderr
        shown = instance.show(name)
        assert shown["boot_id"] == before["boot_id"] and shown["nat"] is True
        # QEMU limits a network from its start on or not at all; disks at any time
        assert sorted(shown["pending"]) == ["disk_size", "hostname", "memory", "net_bandwidth", "vcpu"]
        assert shown["disk_iops"] == 9000 and shown["net_bandwidth"] == 9 << 20
        assert shown["labels"] == {"team": "infra", "tier": "test"}
        assert shown["address"] in instance.nft()  # let out already
        instance.banger("vm", "set", name, "--nat", "off")
        instance.banger("vm", "exec", name, "--", "sh", "-c", "head -c 20000000 /dev/urandom > /root/big; sha256sum /root/big > /root/sum")
        instance.banger("vm", "restart", name)
        assert instance.show(name)["pending"] == []
        assert "next start" not in instance.banger("vm", "set", name, "--net-bandwidth", "off", "--disk-iops", "off").stderr  # it has one now
        out = instance.banger("vm", "exec", name, "--", "sh", "-c",
                              "nproc; hostname; awk '/MemTotal/ {print $2}' /proc/meminfo; df -k /root | tail -1 | awk '{print $2}';"
                              "sha256sum -c /root/sum").stdout.split("\n")
        assert out[0] == "2" and out[1] == name and int(out[2]) > 256 * 1024 and int(out[3]) > 72 * 1024
        assert out[4] == "/root/big: OK"
        shrink = instance.banger("vm", "set", name, "--disk-size", "64MiB", check=False)
        assert shrink.returncode == 1 and "cannot shrink" in shrink.stderr
        for option, bad in (("--disk-iops", "0"), ("--disk-bandwidth", "1K"), ("--net-bandwidth", "fast")):
            refused = instance.banger("vm", "set", name, option, bad, check=False)
            assert refused.returncode == 1 and f"{option} is " in refused.stderr, refused.stderr
    finally:
        instance.banger("vm", "set", name, "--name", guest)


def test_labels_are_set_removed_and_searched(instance, records):
    records("lab-a", "lab-b")
    instance.banger("vm", "set", "lab-a", "--label", "crew=infra,note=a b")
    instance.banger("vm", "set", "lab-b", "--label", "crew=web")
    names = lambda wanted: [vm["name"] for vm in instance.json("vm", "list", "--label", wanted)]
    assert names("crew") == ["lab-a", "lab-b"] and names("crew=infra") == ["lab-a"] and names("none") == []
    instance.banger("vm", "set", "lab-a", "--label", "crew=")
    assert names("crew") == ["lab-b"] and instance.show("lab-a")["labels"] == {"note": "a b"}
    for bad in ("crew", "=x", "a b=c"):
        assert instance.banger("vm", "set", "lab-a", "--label", bad, check=False).returncode == 1
    taken = instance.banger("vm", "set", "lab-a", "--name", "lab-b", check=False)
    assert taken.returncode == 1 and "'lab-b' exists" in taken.stderr
    nothing = instance.banger("vm", "set", "lab-a", check=False)
    assert nothing.returncode == 1 and "--memory" in nothing.stderr


# ---- operations ----

def test_a_detached_create_is_seen_and_becomes_a_vm(instance):
    op = instance.banger("vm", "create", *SMALL, "-d", "--name", "later").stdout.strip()
    try:
        assert re.fullmatch(r"op-[0-9a-f]{12}", op)
        seen = [o for o in instance.json("operations", "--all") if o["id"] == op]
        assert seen and seen[0]["kind"] == "vm.create" and seen[0]["client_uid"] == instance.uid
        ended = wait_for(lambda: [o for o in instance.json("operations", "--all") if o["id"] == op and o["done"]], 60)[0]
        assert ended["success"] and {"disk", "network", "agent"} <= {stage["name"] for stage in ended["stages"]}
        assert instance.show("later")["state"] == "running"
        assert op not in instance.banger("operations").stdout
    finally:
        instance.banger("vm", "delete", "later", check=False)


def test_a_detached_create_is_cancelled_and_leaves_nothing(instance):
    op = instance.banger("vm", "create", *SMALL, "-d", "--name", "never").stdout.strip()
    wait_for(lambda: [vm for vm in instance.json("vm", "list") if vm["name"] == "never"])
    instance.banger("operations", "--cancel", op)
    wait_for(lambda: all(o["done"] for o in instance.json("operations", "--all") if o["id"] == op))
    assert "never" not in [vm["name"] for vm in instance.json("vm", "list")]
    assert instance.leftovers() == []
    unknown = instance.banger("operations", "--cancel", "op-000000000000", check=False)
    assert unknown.returncode == 1 and "banger operations" in unknown.stderr


def test_ctrl_c_undoes_a_create(instance):
    process = instance.popen("vm", "create", *SMALL, "--name", "regret", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in process.stderr:
        if line.startswith(b"network"):
            break
    process.send_signal(signal.SIGINT)
    process.wait(20)
    wait_for(lambda: "regret" not in [vm["name"] for vm in instance.json("vm", "list")] and not instance.leftovers())


def test_the_guests_agent_says_which_operation_started_it(instance, vm):
    name = vm(*SMALL)
    ended = [o for o in instance.json("operations", "--all") if o["kind"] == "vm.create" and o["vm_name"] == name]
    assert f"started by {ended[-1]['id']}" in instance.banger("vm", "logs", name).stdout


def test_one_operation_id_is_in_every_log(instance):
    """The id at the end of the error line, in bangerd's log, in the job's and in the helper's."""
    instance.end_daemon()
    instance.banger("vm", "list", env={"BANGER_FAULT": "vm.start/network:fail", "BANGER_LOG_LEVEL": "debug"})
    instance.stop_helper()
    instance.helper_log.flush()
    os.environ["BANGER_LOG_LEVEL"] = "debug"
    try:
        instance.start_helper()
        done = instance.banger("vm", "create", *SMALL, "--name", "traced", check=False)
    finally:
        del os.environ["BANGER_LOG_LEVEL"]
        instance.end_daemon()
    op = re.search(r"\((op-[0-9a-f]{12})\)", done.stderr)
    assert done.returncode == 1 and op, done.stderr
    daemon = [json.loads(line) for line in daemon_log(instance).splitlines() if op[1] in line]
    helper = [json.loads(line) for line in (instance.root / "helper.log").read_text().splitlines() if op[1] in line]
    assert {line["op_id"] for line in daemon + helper} == {op[1]}
    assert "daemon request failed" in [line["msg"] for line in daemon]
    assert {line["level"] for line in daemon if line["msg"] == "operation started"} == {"debug"}
    assert {line["level"] for line in helper if line["msg"] == "helper rpc completed"} == {"debug"}
    assert [line for line in helper if line["msg"] == "helper rpc completed" and line["method"].endswith(("create_tap", "pin_tap"))]


@pytest.fixture
def cgroup2(tmp_path):
    """Where cgroups of version 2 are; mounted where the host has not."""
    found = [p for p in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if os.path.exists(f"{p}/cgroup.controllers") and os.access(p, os.W_OK)]
    if found:
        yield pathlib.Path(found[0])
        return
    needs(sh("mount", "-t", "cgroup2", "none", str(tmp_path), check=False).returncode == 0, "no cgroup v2 to write to")
    yield tmp_path
    sh("umount", str(tmp_path))


def test_a_vm_has_a_cgroup_where_bangerd_may_make_some(instance, vm, cgroup2):
    """The daemon is started as a manager would: in a cgroup that is its user's. Which controllers there are is the host's affair."""
    top = cgroup2 / f"banger-{os.urandom(3).hex()}"

    def start_in(cgroup):
        (instance.runtime / "bangerd.sock").unlink(missing_ok=True)  # so that its being there says that all is taken up
        with open(instance.root / "bangerd.out", "w") as out:
            # not by `ip netns exec`, which mounts a /sys of its own, without cgroups
            argv = ["nsenter", f"--net=/run/netns/{instance.netns}", *instance.argv(instance.bin / "bangerd")[4:]]
            started = subprocess.Popen(argv, env=instance.environment(), cwd=instance.home, stdout=out,
                                       stderr=out, preexec_fn=lambda: (cgroup / "cgroup.procs").write_text("0"))
        deadline = time.monotonic() + 20
        while instance.daemon_pid() != started.pid or not (instance.runtime / "bangerd.sock").exists():
            assert time.monotonic() < deadline and started.poll() is None, (instance.root / "bangerd.out").read_text()
            time.sleep(0.02)
        return started

    instance.end_daemon()
    top.mkdir()
    for path in (top, top / "cgroup.procs", top / "cgroup.subtree_control", top / "cgroup.threads"):
        os.chown(path, instance.uid, instance.gid)
    name = None
    try:
        first = start_in(top)
        name = vm()
        shown = instance.show(name)
        own = top / f"vm-{shown['id']}"
        qemu = pathlib.Path(f"/proc/{shown['vmm_pid']}/task/{shown['vmm_pid']}/children").read_text().split()
        for pid in [shown["vmm_pid"], *qemu]:
            assert f"/{top.name}/{own.name}\n" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
        on = (top / "cgroup.subtree_control").read_text().split()
        if "memory" in on:
            assert int((own / "memory.max").read_text()) > shown["memory_mib"] << 20
        report = json.dumps(instance.json("doctor"))
        assert str(top) in report, report
        first.kill()
        first.wait()
        (top / "vm-0123456789abcdef").mkdir()  # of a daemon that was killed between a VMM's end and this
        second = start_in(top / "banger-daemon")
        assert not (top / "vm-0123456789abcdef").exists() and own.exists()
        instance.banger("vm", "exec", name, "--", "true")
        instance.banger("vm", "delete", name)
        assert not own.exists()
        second.terminate()
        assert second.wait(20) == 0
    finally:
        instance.end_daemon()
        if name:
            instance.banger("vm", "delete", name, check=False)
        for path in [*top.glob("*/"), top]:
            path.rmdir()
