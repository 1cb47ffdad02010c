"""Many records, many requests, more than the host has: what bangerd does at its limits. No guest is needed."""
import json
import os
import pathlib
import shutil
import socket
import sqlite3
import struct
import subprocess
import time

import pytest

from conftest import needs

SESSIONS_MAX = 256
JOBS_MAX = 32
MIB = 1 << 20


@pytest.fixture(scope="module")
def crowd(instance):
    """The installation with 2000 stopped machines on record."""
    instance.banger("vm", "list")
    instance.end_daemon()
    fill(instance, 2000, "stopped")
    yield instance
    instance.end_daemon()
    with sqlite3.connect(instance.state / "banger.db") as db:
        for vm_id, in db.execute("SELECT id FROM vms WHERE image = 'i'").fetchall():
            shutil.rmtree(instance.state / "vms" / vm_id, ignore_errors=True)
        db.execute("DELETE FROM vms WHERE image = 'i'")
    db.close()


def fill(it, n, state, prefix="vm"):
    with sqlite3.connect(it.state / "banger.db") as db:
        for i in range(n):
            vm_id = f"{(i + 1) * 0x9e3779b97f4a7c15 % 2**60:016x}" if prefix == "vm" else f"f{i:015x}"
            folder = it.state / "vms" / vm_id
            folder.mkdir(mode=0o700)
            os.chown(folder, it.uid, it.gid)
            db.execute("INSERT INTO vms (id, name, state, image, kernel, vcpu, memory_mib, disk_bytes, nat, address, vmm, boot_id,"
                       " last_error, created_at, updated_at, touched_at) VALUES (?, ?, ?, 'i', 'k', 1, 512, 1, 0, NULL, '', '', '', ?, 1, 1)",
                       (vm_id, f"{prefix}-{i}", state, i + 1))
    db.close()


def connect(it):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(it.runtime / "bangerd.sock"))  # waits for room in the backlog, as long as it has no timeout
    sock.settimeout(30)
    return sock


def send(sock, body):
    sock.sendall(struct.pack("<I", len(body)) + body)


def receive(sock):
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack("<I", data[:4])[0]:
        part = sock.recv(1 << 16)
        assert part, "the connection ended without an answer"
        data += part
    return json.loads(data[4:])


def request(method, **params):
    return json.dumps({"version": 1, "method": method, "params": params}).encode()


def test_thousands_of_records_are_listed_and_found(crowd):
    table = crowd.banger("vm", "list").stdout.splitlines()
    assert len(table) == 2001 and table[1].split()[0] == "vm-0" and table[-1].split()[0] == "vm-1999"
    whole = crowd.json("vm", "list")  # more than a request may be long
    assert len(whole) == 2000 and len(json.dumps(whole)) > MIB
    assert crowd.show("vm-1234")["id"] == whole[1234]["id"]
    assert crowd.show(whole[77]["id"])["name"] == "vm-77"
    assert crowd.banger("vm", "show", "vm-2000", check=False).returncode == 1
    assert crowd.banger("vm", "stop", "vm-5", whole[6]["id"]).stdout == "vm-5\nvm-6\n"
    assert int(next(line for line in pathlib.Path(f"/proc/{crowd.daemon_pid()}/status").read_text().splitlines()
                    if line.startswith("VmRSS")).split()[1]) < 400 * 1024  # the sanitizers' own share is large


def test_a_host_that_lost_its_machines_is_cleaned_by_few_processes_at_once(crowd):
    crowd.end_daemon()
    fill(crowd, 4 * JOBS_MAX, "running", "lost")
    client = crowd.popen("vm", "list", stdout=subprocess.DEVNULL)
    most, deadline, left = 0, time.monotonic() + 120, 1
    with sqlite3.connect(crowd.state / "banger.db") as db:
        while left:
            most = max(most, sum("--job" in line for line in crowd.processes().values()))
            left, = db.execute("SELECT count(*) FROM vms WHERE name LIKE 'lost-%' AND state != 'stopped'").fetchone()
            assert time.monotonic() < deadline, left
    db.close()
    client.wait(120)
    assert 0 < most < 2 * JOBS_MAX  # while /proc is read some end and others begin


def test_connections_beyond_the_limit_are_told_and_silent_ones_make_room(crowd):
    crowd.banger("vm", "list")
    silent = [connect(crowd) for _ in range(SESSIONS_MAX)]
    with connect(crowd) as one_more:
        answer = receive(one_more)
    assert not answer["ok"] and f"{SESSIONS_MAX} requests are in progress" in answer["error"]["message"]
    time.sleep(10.5)
    with connect(crowd) as late:
        send(late, request("daemon.ping"))
        assert receive(late)["ok"]
    for sock in silent:
        sock.close()


def test_a_request_has_a_largest_size(crowd):
    crowd.banger("vm", "list")
    for n, code in ((MIB - 200, "not_found"), (MIB + 1, "bad_request")):
        with connect(crowd) as sock:
            body = request("no.such", pad="")
            body = body.replace(b'"pad": ""', b'"pad": "' + b"x" * (n - len(body)) + b'"')
            try:
                send(sock, body)
            except BrokenPipeError:
                pass  # told before it was read whole
            error = receive(sock)["error"]
            assert error["code"] in (code, "operation_failed", "unknown_method"), error
            assert n < MIB or str(MIB) in error["message"]


def test_a_second_request_on_a_connection_is_refused(crowd):
    crowd.banger("vm", "list")
    with connect(crowd) as sock:
        sock.sendall(b"".join(struct.pack("<I", len(b)) + b for b in [request("doctor.run"), request("daemon.ping")]))
        message = receive(sock)
        assert "one connection carries one request" in message["error"]["message"], message


def test_what_the_host_does_not_have_is_refused_with_the_numbers(crowd):
    free = shutil.disk_usage(crowd.state).free
    refused = crowd.banger("vm", "create", "--no-start", "--image", "none", "--disk-size", f"{free // MIB + 1024}M", check=False)
    assert refused.returncode == 1 and " free" in refused.stderr and "--force" in refused.stderr, refused.stderr
    forced = crowd.banger("vm", "create", "--no-start", "--image", "none", "--force", "--disk-size", f"{free // MIB + 1024}M", check=False)
    assert "no image named 'none'" in forced.stderr  # so it went on
    total = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1]) // 1024
    helper = ("vm", "create", "--image", "none", "--disk-size", "16M", "--memory", f"{total + 1}M")
    refused = crowd.banger(*helper, check=False)
    assert refused.returncode == 1 and f"{total + 1} MiB" in refused.stderr and "--memory" in refused.stderr, refused.stderr
    assert "no image named 'none'" in crowd.banger(*helper, "--force", check=False).stderr
    assert "no image named 'none'" in crowd.banger(*helper, "--no-start", check=False).stderr  # it does not run, so it takes none
    with sqlite3.connect(crowd.state / "banger.db") as db:
        db.execute("UPDATE vms SET memory_mib = ? WHERE name = 'vm-9'", (total + 1,))
    crowd.end_daemon()
    refused = crowd.banger("vm", "start", "vm-9", check=False)
    assert refused.returncode == 1 and f"{total + 1} MiB" in refused.stderr, refused.stderr


def test_records_come_and_go_without_a_trace(programs, tmp_path):
    tool = programs.parent / "tests/unit/store_cycles"
    needs(tool.exists(), f"no {tool}")
    out = subprocess.run([tool, tmp_path / "db", "3000"], capture_output=True, text=True, check=True, timeout=120).stdout
    early, late = (json.loads(line) for line in out.splitlines())
    assert late["database"] <= early["database"] + 65536 and late["wal"] <= 8 * MIB
