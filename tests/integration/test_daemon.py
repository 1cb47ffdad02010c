"""bangerd by itself: its command line, its database check, its socket. No guest is needed."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import time

import pytest

from conftest import needs
from instance import PROGRAMS, owner_account


class Daemon:
    def __init__(self, programs):
        account = owner_account()
        self.uid, self.gid = account.pw_uid, account.pw_gid
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="bgd-", dir="/var/tmp"))
        self.root.chmod(0o755)
        for name in PROGRAMS:
            shutil.copy2(programs / name, self.root / name)
        self.home = self.root / "home"
        self.home.mkdir(mode=0o700)
        os.chown(self.home, self.uid, self.gid)
        self.database = self.home / ".local/state/banger/banger.db"
        self.socket = self.home / "banger/bangerd.sock"
        self.process = None

    def argv(self, *words):
        """Without the network and the helper of this host: taps that are there would be taken for its own, and an instance's
        helper, which listens for the same owner, be asked for them."""
        return ["unshare", "--net", "--mount", "sh", "-c", 'mount -t tmpfs -o mode=755 none /run && exec "$@"', "sh",
                "setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", str(self.root / "bangerd"), *words]

    def environment(self):
        return {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home), "PATH": os.environ["PATH"]}

    def run(self, *words):
        return subprocess.run(self.argv(*words), env=self.environment(), capture_output=True, text=True, timeout=30)

    def start(self):
        self.process = subprocess.Popen(self.argv(), env=self.environment(), stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while not self.listens():
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def listens(self):
        """A socket is there a moment before somebody listens."""
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self.socket)) == 0

    def stop(self, sig=signal.SIGTERM):
        if self.process:
            self.process.send_signal(sig)
            log = self.process.communicate(timeout=20)[1]
            self.process = None
            return log
        return ""

    def ask(self, message):
        data = json.dumps(message).encode() if not isinstance(message, bytes) else message
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.socket))
            sock.sendall(struct.pack("<I", len(data)) + data)
            answer = b""
            while more := sock.recv(65536):
                answer += more
        return json.loads(answer[4:])

    def close(self):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


@pytest.fixture
def daemon(programs):
    needs(os.geteuid() == 0, "root makes the owner's account")
    it = Daemon(programs)
    yield it
    it.close()


def test_the_version_is_one_line(daemon):
    done = daemon.run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"bangerd \S+ \(commit ([0-9a-f]{8}|unknown), built \S+\)\n", done.stdout), done.stdout


def test_an_unknown_option_is_named(daemon):
    done = daemon.run("--nonsense")
    assert done.returncode == 2 and "--nonsense" in done.stderr


def test_it_does_not_run_as_root(daemon):
    done = subprocess.run([str(daemon.root / "bangerd")], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "root" in done.stderr


def test_the_database_check_tells_by_its_status(daemon):
    done = daemon.run("--check-migrations")
    assert (done.returncode, done.stdout.startswith("migrations needed: pending [1, 2, 3")) == (1, True)
    assert not daemon.database.exists()  # looking makes nothing

    daemon.start()
    daemon.stop()
    assert daemon.run("--check-migrations").returncode == 0

    with sqlite3.connect(daemon.database) as db:
        db.execute("insert into schema_migrations (id, name, applied_at) values (99, 'from the future', '')")
    assert daemon.run("--check-migrations").returncode == 2
    refused = subprocess.run(daemon.argv(), env=daemon.environment(), capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1 and "newer" in refused.stderr

    daemon.database.write_bytes(b"no database at all" * 100)
    done = daemon.run("--check-migrations")
    assert done.returncode == 2 and done.stderr


def test_its_socket_is_the_owners_alone(daemon):
    daemon.start()
    assert oct(daemon.socket.stat().st_mode & 0o777) == "0o600"
    assert daemon.socket.stat().st_uid == daemon.uid
    stranger = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-c",
                               "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])", str(daemon.socket)],
                              capture_output=True, text=True)
    assert stranger.returncode != 0


@pytest.mark.parametrize("message, code", [
    ({"version": 2, "method": "daemon.ping"}, "bad_version"),
    ({"version": 1, "method": "vm.fly"}, "unknown_method"),
    ({"version": 1, "method": "vm.show", "params": {"vm": "nobody"}}, "not_found"),
    ({"version": 1, "method": "vm.show", "params": {"vm": "nobody", "x": 1}}, "bad_request"),
    ({"version": 1, "method": "image.show", "params": {"image": "no-such-image"}}, "not_found"),
    (b"{not json", "bad_request"),
    (b"[]", "bad_request"),
])
def test_every_refusal_has_its_code_and_an_operation_id_that_the_log_has_too(daemon, message, code):
    daemon.start()
    answer = daemon.ask(message)
    assert answer["ok"] is False and answer["error"]["code"] == code
    op_id = answer["error"]["op_id"]
    assert re.fullmatch(r"op-[0-9a-f]{12}", op_id)
    log = [json.loads(line) for line in daemon.stop().splitlines()]
    assert any(line.get("op_id") == op_id for line in log)


def test_a_second_daemon_of_the_same_owner_is_refused(daemon):
    daemon.start()
    second = subprocess.run(daemon.argv(), env=daemon.environment(), capture_output=True, text=True, timeout=30)
    assert second.returncode == 1 and "another bangerd" in second.stderr
    assert daemon.ask({"version": 1, "method": "daemon.ping"})["ok"]


def test_a_killed_daemon_starts_again(daemon):
    daemon.start()
    daemon.stop(signal.SIGKILL)
    daemon.socket.unlink()  # start() waits for the new one
    daemon.start()
    assert daemon.ask({"version": 1, "method": "vm.list"})["result"] == {"vms": []}
    assert daemon.ask({"version": 1, "method": "daemon.operations.list"})["result"] == {"operations": []}


def spares_of(daemon):
    """Processes that wait for the next job."""
    found = []
    for proc in pathlib.Path("/proc").iterdir():
        try:
            if proc.name.isdigit() and os.readlink(proc / "exe") == str(daemon.root / "bangerd") \
                    and (proc / "comm").read_text() == "bangerd-spare\n":
                found.append(int(proc.name))
        except OSError:
            continue
    return found


def wait_for_the_end_of(pid):
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def the_spare_but(daemon, *pids):
    deadline = time.monotonic() + 20
    while len(found := [pid for pid in spares_of(daemon) if pid not in pids]) != 1:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found[0]


def test_a_process_waits_for_the_next_job_and_goes_with_the_daemon(daemon):
    daemon.start()
    first = the_spare_but(daemon)
    assert daemon.ask({"version": 1, "method": "daemon.df"})["ok"]
    second = the_spare_but(daemon, first)
    assert not pathlib.Path(f"/proc/{first}").exists(), "the job was another process"
    os.kill(second, signal.SIGKILL)
    wait_for_the_end_of(second)  # the daemon has seen it
    assert daemon.ask({"version": 1, "method": "daemon.df"})["ok"]
    third = the_spare_but(daemon, first, second)
    assert f'"pid":{second}' in daemon.stop()
    assert third not in spares_of(daemon)
    daemon.start()
    fourth = the_spare_but(daemon)
    daemon.stop(signal.SIGKILL)
    wait_for_the_end_of(fourth)
