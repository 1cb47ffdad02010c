"""vm port-forward: connections into a guest and out of it, over vsock alone."""
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

# A server in the guest; "echo" sends back what comes, and at the end of that how much it was.
SERVER = r"""
import socket, sys, threading
kind, where = sys.argv[1], sys.argv[2]
s = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
s.bind(where if kind == "unix" else ("127.0.0.1", int(where))); s.listen(128); print("up", flush=True)
def serve(c):
    n = 0
    try:
        while True:
            data = c.recv(65536)
            if not data: break
            n += len(data); c.sendall(data)
        c.sendall(b"\n%d" % n)
    except OSError: pass
    c.close()
while True:
    c, _ = s.accept(); threading.Thread(target=serve, args=(c,), daemon=True).start()
"""


@contextlib.contextmanager
def server(instance, vm, kind, where):
    process = instance.popen("vm", "exec", vm, "--", "python3", "-c", SERVER, kind, where, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert process.stdout.readline() == b"up\n"
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def forward(instance, vm, *words):
    process = instance.popen("vm", "port-forward", vm, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        lines = [process.stdout.readline().decode() for _ in [w for w in words if not w.startswith("-")]]
        assert all(lines), process.stderr.read()
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert process.returncode == -signal.SIGINT


# Runs in the instance's network namespace, where the forwarded ports are.
CLIENT = r"""
import hashlib, socket, sys, threading
where, n, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def connect():
    s = socket.socket(socket.AF_UNIX if where[0] == "/" else socket.AF_INET)
    s.connect(where if where[0] == "/" else (where.rsplit(":", 1)[0], int(where.rsplit(":", 1)[1])))
    return s
def one(i, results):
    try:
        s = connect(); data = bytes([i % 251]) * size
        t = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)), daemon=True); t.start()
        got = b""
        while True:
            part = s.recv(65536)
            if not part: break
            got += part
        results[i] = got == data + b"\n%d" % size
    except OSError as e: results[i] = str(e)
results = [None] * n
threads = [threading.Thread(target=one, args=(i, results)) for i in range(n)]
for t in threads: t.start()
for t in threads: t.join()
bad = [r for r in results if r is not True]
print("all" if not bad else bad)
"""


def client(instance, where, n=1, size=10):
    done = subprocess.run(instance.argv("/usr/bin/python3", "-c", CLIENT, where, n, size), capture_output=True, text=True, timeout=120)
    return done.stdout.strip() or done.stderr


def test_ports_and_sockets_lead_into_the_guest(instance, shared_vm):
    with server(instance, shared_vm, "tcp", "7001"), server(instance, shared_vm, "unix", "/srv/echo.sock"):
        here = str(instance.home / "f.sock")
        with forward(instance, shared_vm, "0:7001", f"{here}:/srv/echo.sock", "0:/srv/echo.sock") as lines:
            port = re.fullmatch(r"127\.0\.0\.1:(\d+) -> \S+:127\.0\.0\.1:7001\n", lines[0]).group(1)
            assert lines[1] == f"{here} -> {shared_vm}:/srv/echo.sock\n" and os.stat(here).st_mode & 0o777 == 0o600
            assert client(instance, f"127.0.0.1:{port}") == "all"
            assert client(instance, here) == "all"
            assert client(instance, lines[2].split()[0]) == "all"
            assert client(instance, f"127.0.0.1:{port}", n=40, size=20000) == "all"
            assert client(instance, f"127.0.0.1:{port}", n=2, size=8 << 20) == "all"
        assert not os.path.exists(here)


def test_a_port_that_nobody_serves_is_refused_and_told(instance, shared_vm):
    process = instance.popen("vm", "port-forward", "--json", shared_vm, "0:7999", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    text = ""
    while "]" not in text:
        text += process.stdout.readline().decode()
    shown = json.loads(text)
    assert shown[0]["listens"] == "host" and shown[0]["guest"] == "127.0.0.1:7999"
    assert "reset" in client(instance, shown[0]["host"])
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert b"connect to 127.0.0.1:7999: Connection refused" in errors


def test_the_other_way(instance, shared_vm):
    path = str(instance.home / "host.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chown(path, instance.uid, instance.gid)
    listener.listen(16)

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            data = b""
            while part := sock.recv(65536):
                data += part
            sock.sendall(hashlib.sha256(data).hexdigest().encode())
            sock.close()

    threading.Thread(target=serve, daemon=True).start()
    script = ("import socket,hashlib\nd=b'x'*300000\nfor a in (('127.0.0.1',PORT),'/srv/back.sock'):\n"
              " for i in range(5):\n  s=socket.socket(socket.AF_UNIX if isinstance(a,str) else socket.AF_INET); s.connect(a); s.sendall(d);"
              " s.shutdown(1)\n  r=b''\n  while True:\n   p=s.recv(100)\n   if not p: break\n   r+=p\n"
              "  assert r==hashlib.sha256(d).hexdigest().encode(), r\nprint('good')")
    with forward(instance, shared_vm, "--reverse", f"{path}:0", f"{path}:/srv/back.sock") as lines:
        port = re.fullmatch(r"\S+:127\.0\.0\.1:(\d+) -> \S+\n", lines[0]).group(1)
        out = instance.banger("vm", "exec", shared_vm, "--", "python3", "-c", script.replace("PORT", port))
        assert out.stdout == "good\n"
    listener.close()
    time.sleep(0.5)
    assert instance.banger("vm", "exec", shared_vm, "--", "sh", "-c", "ls /srv/back.sock", check=False).returncode != 0


def test_what_cannot_be_forwarded_is_named(instance, shared_vm):
    taken = instance.home / "taken.sock"
    taken.write_text("")
    for words, says in ((("x:80",), "the host's side"), ((f"{taken}:80",), "exists"), (("no-such-vm", "0:2"), "no-such-vm"),
                        (("22:22",), "22 is root's to listen on; take a port of at least 1024"),
                        (("--reverse", "0:80"), "port 0 is none"), (("--reverse", "80:/no/such/folder/s"), "/no/such/folder/s")):
        vm = () if words[0] == "no-such-vm" else (shared_vm,)
        done = instance.banger("vm", "port-forward", *vm, *words, check=False, timeout=60)
        assert done.returncode == 1 and says in done.stderr, (words, done.stderr)
