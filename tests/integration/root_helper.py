"""A network namespace of its own with the root helper in it, and a guest played by hand on the open tap."""
import array
import ctypes
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

from conftest import needs

TOP = pathlib.Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000
OWNER = 54000  # a uid that no account has
NET = {"bridge": "br-fc", "bridge_ip": "172.16.0.1", "cidr": 24}
VNET_HEADER = bytes(10)  # struct virtio_net_hdr, all zero: no offload


def program():
    places = [pathlib.Path(os.environ["BANGER_BIN"])] if "BANGER_BIN" in os.environ else []
    places += [TOP / "build/src/privileged/helper", TOP / "build/bin", TOP / "build-check/bin"]
    found = [p / "bangerd-root" for p in places if (p / "bangerd-root").exists()]
    needs(found, "bangerd-root is not built")
    return found[0]


def run(*words, check=True):
    return subprocess.run(words, check=check, text=True, capture_output=True)


class Namespace:
    """This process moves into a new network namespace and back."""

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if self.libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        run("ip", "link", "set", "lo", "up")

    def close(self):
        self.libc.setns(self.before, CLONE_NEWNET)
        os.close(self.before)


class Helper:
    def __init__(self, *more):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="banger-helper-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.runtime = self.folder / "run"
        self.runtime.mkdir(mode=0o755)
        self.socket = self.folder / "root" / "bangerd-root.sock"
        self.log = self.folder / "log"
        self.process = None
        self.start(*more)

    def start(self, *more):
        words = [program(), "--owner-uid", str(OWNER), "--owner-gid", str(OWNER), "--state-dir", str(self.folder),
                 "--runtime-dir", str(self.runtime), "--socket", str(self.socket), *more]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stderr=log, env={"BANGER_LOG_LEVEL": "debug"})
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                connection = self.connect()
            except OSError:
                time.sleep(0.02)
                continue
            connection.close()
            return
        raise AssertionError("the helper did not start: " + self.log.read_text())

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(40)
        sock.connect(str(self.socket))
        return sock

    def send(self, sock, body):
        sock.sendall(struct.pack("<I", len(body)) + body)

    def receive(self, sock):
        data, fds = b"", []
        while len(data) < 4 or len(data) < 4 + struct.unpack("<I", data[:4])[0]:
            part, more, _, _ = socket.recv_fds(sock, 65536, 8)
            fds += more
            if not part:
                return None, fds
            data += part
        return json.loads(data[4:]), fds

    def raw(self, body):
        with self.connect() as sock:
            self.send(sock, body)
            return self.receive(sock)

    def ask(self, method, op_id="op-0123456789ab", **params):
        return self.raw(json.dumps({"version": 1, "method": "priv." + method, "params": params,
                                    "op_id": op_id}).encode())

    def ok(self, method, **params):
        answer, fds = self.ask(method, **params)
        assert answer and answer["ok"], answer
        return fds

    def code(self, method, **params):
        answer, fds = self.ask(method, **params)
        assert not fds
        return "ok" if answer["ok"] else answer["error"]["code"]

    def children(self):
        pid = self.process.pid
        return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        shutil.rmtree(self.folder)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


class Guest:
    """Speaks Ethernet on an open tap as the guest at an address would."""

    def __init__(self, helper, number, nat=None, **allowed):
        self.helper, self.name, self.ip = helper, f"tap-fc-{number}", f"172.16.0.{number}"
        self.mac = f"06:00:ac:10:00:{number:02x}"
        self.fd, = helper.ok("create_tap", tap=self.name, guest_ip=self.ip, mac=self.mac, **allowed, **NET)
        if nat is not None:
            self.nat(nat)

    def nat(self, enable):
        self.helper.ok("ensure_nat", tap=self.name, guest_ip=self.ip, enable=enable)

    def send(self, frame):
        os.write(self.fd, VNET_HEADER + frame)

    def frames(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.fd], [], [], left)[0]:
                return
            yield os.read(self.fd, 4096)[len(VNET_HEADER):]

    def waits_for(self, wanted, seconds=4.0):
        """The first frame that wanted() takes, answering ARP for this guest meanwhile; None when none comes."""
        for frame in self.frames(seconds):
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x01" and frame[38:42] == socket.inet_aton(self.ip):
                self.send(self.arp(2, frame[22:28], frame[28:32]))
            if wanted(frame):
                return frame
        return None

    def ether(self, kind, payload, source=None, target="ff:ff:ff:ff:ff:ff"):
        target = target if isinstance(target, bytes) else mac_bytes(target)
        return target + mac_bytes(source or self.mac) + struct.pack("!H", kind) + payload

    def arp(self, operation, target_mac, target_ip, sender_mac=None, sender_ip=None, source=None):
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac_bytes(sender_mac or self.mac)
        body += socket.inet_aton(sender_ip or self.ip) + target_mac + target_ip
        return self.ether(0x0806, body, source, target_mac if any(target_mac) else "ff:ff:ff:ff:ff:ff")

    def ipv4(self, protocol, payload, to="172.16.0.1", ip=None, mac=None, via="06:01:ac:10:00:01"):
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
        head += socket.inet_aton(ip or self.ip) + socket.inet_aton(to)
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        return self.ether(0x0800, head + payload, mac, via)

    def echo(self, **how):
        body = struct.pack("!BBHHH", 8, 0, 0, 7, 7) + b"banger"
        return self.ipv4(1, body[:2] + struct.pack("!H", checksum(body)) + body[4:], **how)

    def udp(self, port, data, **how):
        return self.ipv4(17, struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data, **how)

    def syn(self, port, to="172.16.0.1"):
        body = struct.pack("!HHIIBBHHH", 4000, port, 1, 0, 0x50, 2, 8192, 0, 0)
        pseudo = socket.inet_aton(self.ip) + socket.inet_aton(to) + struct.pack("!HH", 6, len(body))
        body = body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]
        return self.ipv4(6, body, to=to)

    def close(self):
        os.close(self.fd)
        self.helper.ok("delete_tap", tap=self.name)


class Outside:
    """Another network: a namespace with a UDP echo server, one hop from the host."""

    CODE = ("import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('203.0.113.2',7))\n"
            "while 1:\n d,a=s.recvfrom(999)\n s.sendto(a[0].encode()+b' '+d,a)\n")

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", str(self.holder.pid))
        run("ip", "addr", "add", "203.0.113.1/24", "dev", "up0")
        run("ip", "link", "set", "up0", "up")
        inside = ("nsenter", "-t", str(self.holder.pid), "-n")
        run(*inside, "ip", "addr", "add", "203.0.113.2/24", "dev", "up1")
        run(*inside, "ip", "link", "set", "up1", "up")
        self.server = subprocess.Popen([*inside, "/usr/bin/python3", "-c", self.CODE])
        time.sleep(0.5)

    def close(self):
        for process in (self.server, self.holder):
            process.kill()
            process.wait()
        run("ip", "link", "del", "up0", check=False)
