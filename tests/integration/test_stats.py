"""What VMs use, whether they are well, what listens in them, and letting them stand still."""
import json
import os
import pathlib
import pty
import re
import select
import signal
import time

import pytest


# HTTP on all addresses, HTTP on the loopback, and one that is silent
LISTEN = """
import http.server, socket, threading
for host, port in (("0.0.0.0", 8080), ("127.0.0.1", 8081)):
    server = http.server.HTTPServer((host, port), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever).start()
silent = socket.create_server(("0.0.0.0", 9000))
print("up", flush=True)
""".strip()


@pytest.fixture(scope="module")
def web(instance):
    """A running VM with an HTTP server and a listener that speaks no HTTP."""
    name = f"stats-{os.urandom(3).hex()}"
    instance.banger("vm", "create", "--name", name)
    yield name
    instance.banger("vm", "delete", name, check=False)


def exec_(instance, vm, script, **options):
    return instance.banger("vm", "exec", vm, "--", "sh", "-c", script, **options)


def stats(instance, *names):
    text, found = instance.banger("vm", "stats", *names).stdout, []
    while text.strip():
        one, end = json.JSONDecoder().raw_decode(text.lstrip())
        found.append(one)
        text = text.lstrip()[end:]
    return found


def test_stats_tell_what_the_host_pays_and_what_the_guest_says(instance, web):
    before = stats(instance, web)[0]
    exec_(instance, web, "dd if=/dev/zero of=/root/some bs=1M count=8 2>/dev/null; sync; "
                         "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; ping -c 2 -i 0.2 172.16.0.1 >/dev/null")
    after = stats(instance, web)[0]
    assert after["state"] == "running" and after["memory_bytes"] > 0
    assert after["vmm"]["pid"] == instance.show(web)["vmm_pid"]
    assert after["vmm"]["resident_bytes"] > 32 << 20, "QEMU is counted too, not only banger-qemu"
    spent = [one["vmm"]["cpu_user_ms"] + one["vmm"]["cpu_system_ms"] for one in (before, after)]
    assert spent[1] > spent[0]
    assert after["disks"]["work"]["real_bytes"] <= after["disks"]["work"]["apparent_bytes"] == 8 << 30
    assert after["disks"]["work"]["real_bytes"] >= before["disks"]["work"]["real_bytes"] + (7 << 20)
    assert after["network"]["tap"] == instance.show(web)["tap"]
    for way in ("sent", "received"):
        assert after["network"][f"{way}_packets"] >= before["network"][f"{way}_packets"] + 2
        assert after["network"][f"{way}_bytes"] >= before["network"][f"{way}_bytes"] + 2 * 84
    guest = after["guest"]
    assert 0 < guest["memory"]["available_bytes"] < guest["memory"]["total_bytes"] <= after["memory_bytes"]
    assert set(guest["pressure"]) == {"cpu", "memory", "io"}
    assert guest["uptime_s"] > 0 and set(guest["disks"]) == {"/", "/root"}
    assert sum(disk["written_bytes"] for disk in guest["io"].values()) > 8 << 20


def test_stats_of_several_and_of_stopped_ones(instance, web):
    stopped = f"stopped-{os.urandom(3).hex()}"
    instance.banger("vm", "create", "--no-start", "--name", stopped)
    try:
        both = stats(instance, web, stopped)
        assert [one["name"] for one in both] == [web, stopped]
        assert both[1]["vmm"] is None and both[1]["guest"] is None and both[1]["network"] is None
        assert both[1]["disks"]["work"]["apparent_bytes"] > 0
        lost = instance.banger("vm", "stats", web, "nosuch", check=False)
        assert lost.returncode == 1 and "no vm named 'nosuch'" in lost.stderr and json.loads(lost.stdout)["name"] == web
        done = instance.banger("vm", "ping", stopped, check=False)
        assert done.returncode == 1 and f"banger vm start {stopped}" in done.stderr
        sick = instance.banger("vm", "health", stopped, check=False)
        assert sick.returncode == 1 and json.loads(sick.stdout)["healthy"] is False
    finally:
        instance.banger("vm", "delete", stopped)


def test_ping_and_health(instance, web):
    assert re.fullmatch(rf"{web} answers in \d+\.\d ms\n", instance.banger("vm", "ping", web).stdout)
    exec_(instance, web, "systemctl is-system-running --wait >/dev/null; systemctl reset-failed; true", timeout=120)
    healthy = instance.banger("vm", "health", web, check=False)
    told = json.loads(healthy.stdout)
    assert healthy.returncode == 0 and told["healthy"] and told["problems"] == [], healthy.stdout
    assert told["vmm"]["alive"] and told["agent"]["answers"] and told["system"] == "running"
    assert set(told["disks"]) == {"/", "/root"} and abs(told["clock"]["offset_ms"]) < 100
    exec_(instance, web, "systemd-run --unit=broken-by-test false >/dev/null 2>&1; sleep 0.5")
    sick = instance.banger("vm", "health", web, check=False)
    assert sick.returncode == 1 and "degraded" in json.loads(sick.stdout)["problems"][0]
    exec_(instance, web, "systemctl reset-failed")


def test_ports_have_processes_and_links(instance, web):
    exec_(instance, web, "cd /srv && (exec python3 -c '" + LISTEN + "' >/srv/up 2>&1 &); "
                         "until grep -q up /srv/up 2>/dev/null; do sleep 0.2; done")
    for _ in range(5):  # an emulated server may need more than the two seconds of a probe
        vm = instance.json("vm", "ports", web)[0]
        found = {l["port"]: l for l in vm["listeners"] if l["protocol"] == "tcp" and "." in l["address"]}
        if "url" in found[8080]:
            break
    address = instance.show(web)["address"]
    assert found[8080]["process"] == "python3" and found[8080]["url"] == f"http://{address}:8080/"
    assert "url" not in found[8081] and "url" not in found[9000], "on the loopback; speaks no HTTP"
    table = instance.banger("vm", "ports", web).stdout.splitlines()
    assert table[0].split() == ["PROTO", "ENDPOINT", "LISTENS", "ON", "PROCESS", "PID", "URL"]
    assert any(f"{web}.vm:8080" in line for line in table)
    plain = instance.banger("vm", "ports", "--no-probe", "--json", web).stdout
    assert '"url"' not in plain


def test_top_prints_once_without_a_terminal(instance, web):
    exec_(instance, web, "(timeout 20 sh -c 'while :; do :; done' >/dev/null 2>&1 &)")
    lines = instance.banger("vm", "top", "--sort", "cpu").stdout.splitlines()
    assert lines[0].split()[:3] == ["NAME", "STATE", "CPU"]
    mine = next(line for line in lines if line.startswith(web)).split()
    assert mine[1] == "running" and float(mine[2].rstrip("%")) > 2, "a loaded machine gives it little"
    lost = instance.banger("vm", "top", "nosuch", check=False)
    assert lost.returncode == 1 and "no vm 'nosuch' is running" in lost.stderr
    assert "--sort must be" in instance.banger("vm", "top", "--sort", "colour", check=False).stderr


def read_until(fd, wanted, seconds=10):
    got, deadline = b"", time.monotonic() + seconds
    while wanted not in got and time.monotonic() < deadline:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                got += os.read(fd, 65536)
            except OSError:
                break
    assert wanted in got, got
    return got


def test_top_lives_on_a_terminal_and_gives_it_back(instance, web):
    master, slave = pty.openpty()
    process = instance.popen("vm", "top", stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    got = read_until(master, web.encode())
    assert b"\x1b[?1049h" in got and b"by cpu" in got
    os.write(master, b"m")
    read_until(master, b"by memory")
    os.write(master, b"q")
    read_until(master, b"\x1b[?1049l")
    assert process.wait(10) == 0
    os.close(master)


def test_a_paused_vm_says_so_and_goes_on(instance, web):
    exec_(instance, web, "echo kept > /run/kept")
    assert instance.banger("vm", "pause", web).stdout == f"{web}\n"
    assert instance.show(web)["state"] == "paused"
    assert web in instance.banger("ps").stdout
    for words in (("vm", "exec", web, "--", "true"), ("vm", "ping", web), ("vm", "ports", web)):
        begun = time.monotonic()
        refused = instance.banger(*words, check=False)
        assert refused.returncode == 1 and f"banger vm resume {web}" in refused.stderr
        assert time.monotonic() - begun < 2, "at once, not after a deadline"
    frozen = [stats(instance, web)[0]["vmm"] for _ in range(2)]
    assert frozen[0]["resident_bytes"] > 0
    assert "paused" in instance.banger("vm", "start", web, check=False).stderr
    instance.end_daemon()  # a pause is no secret of one daemon's
    assert instance.show(web)["state"] == "paused"
    instance.banger("vm", "resume", web)
    assert instance.show(web)["state"] == "running"
    assert exec_(instance, web, "cat /run/kept").stdout == "kept\n"


def qemu_of(instance, vm):
    pid = instance.show(vm)["vmm_pid"]
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_a_silent_guest_is_told_within_the_deadline(instance, web):
    qemu = qemu_of(instance, web)
    os.kill(qemu, signal.SIGSTOP)  # the VMM takes the call, and nobody answers it
    try:
        begun = time.monotonic()
        one = stats(instance, web)[0]
        assert one["guest"] is None and one["guest_error"] and one["vmm"]["resident_bytes"] > 0
        sick = instance.banger("vm", "health", web, check=False)
        assert sick.returncode == 1 and json.loads(sick.stdout)["agent"]["answers"] is False
        assert instance.banger("vm", "ping", web, check=False).returncode == 1
        assert time.monotonic() - begun < 10
    finally:
        os.kill(qemu, signal.SIGCONT)
    assert "answers in" in instance.banger("vm", "ping", web).stdout


def test_a_paused_vm_is_spared_by_prune_and_restarts_without_loss(instance, web):
    exec_(instance, web, "sync; echo gold > /root/gold")
    before = instance.show(web)["boot_id"]
    instance.banger("vm", "pause", web)
    instance.banger("vm", "prune", "-f")
    assert instance.show(web)["state"] == "paused"
    assert instance.banger("vm", "restart", web).stdout == f"{web}\n"
    shown = instance.show(web)
    assert shown["state"] == "running" and shown["boot_id"] != before
    assert exec_(instance, web, "cat /root/gold").stdout == "gold\n", "written, not synced, then paused"


def test_a_paused_vm_stops_without_loss_and_deletes(instance, web):
    exec_(instance, web, "sync; echo precious > /root/file")
    instance.banger("vm", "pause", web)
    instance.banger("vm", "stop", web)
    assert instance.show(web)["state"] == "stopped"
    instance.banger("vm", "start", web)
    assert exec_(instance, web, "cat /root/file").stdout == "precious\n", "written, not synced, then paused"
    instance.banger("vm", "pause", web)
    instance.banger("vm", "delete", web)
    assert instance.leftovers() == []
