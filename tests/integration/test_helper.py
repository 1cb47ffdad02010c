"""The root helper against the real kernel, in a network namespace of its own: what it makes, what it takes away again,
what a guest may send, and what a hostile daemon gets."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from conftest import needs
from root_helper import NET, OWNER, Guest, Helper, Namespace, Outside, program, run

QUIET = 0.6  # seconds in which a frame that is let through has long arrived


@pytest.fixture(scope="module")
def namespace():
    needs(os.geteuid() == 0, "the helper is root's")
    for name in ("ip", "nft", "unshare", "nsenter"):
        needs(shutil.which(name), f"no {name}")
    space = Namespace()
    yield
    space.close()


@pytest.fixture(scope="module")
def helper(namespace):
    it = Helper()
    yield it
    it.close()


@pytest.fixture(autouse=True)
def nothing_left(namespace):
    yield
    for link in json.loads(run("ip", "-j", "link").stdout):
        if link["ifname"].startswith(("tap-", "br-fc", "up0")):
            run("ip", "link", "del", link["ifname"], check=False)  # a veth goes with its peer
    run("nft", "flush", "ruleset")


@pytest.fixture
def guest(helper):
    it = Guest(helper, 2)
    yield it
    it.close()


@contextlib.contextmanager
def talker(guest, frame):
    stop = threading.Event()

    def talk():
        while not stop.is_set():
            with contextlib.suppress(OSError):  # EIO while the tap is down
                guest.send(frame)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def links():
    return {link["ifname"]: link for link in json.loads(run("ip", "-j", "-d", "addr").stdout)}


def ruleset():
    return run("nft", "list", "ruleset").stdout


def host_state():
    """All that the helper could have changed."""
    seen = sorted((n, k.get("master"), k["link_type"], [a.get("local") for a in k["addr_info"] if a["family"] == "inet"])
                  for n, k in links().items())
    return seen, ruleset()


# What it makes


def test_bridge_is_made_once_and_stays(helper):
    for _ in range(2):
        helper.ok("ensure_bridge", **NET)
    bridge = links()["br-fc"]
    assert bridge["linkinfo"]["info_kind"] == "bridge" and "UP" in bridge["flags"]
    assert [a["local"] for a in bridge["addr_info"] if a["family"] == "inet"] == ["172.16.0.1"]
    assert bridge["address"] == "06:01:ac:10:00:01"
    assert '"br-fc"' in ruleset()


def test_tap_is_an_isolated_port_of_the_owner_and_goes_again(helper):
    guest = Guest(helper, 2)
    tap = links()["tap-fc-2"]
    data, port = tap["linkinfo"]["info_data"], tap["linkinfo"]["info_slave_data"]
    assert tap["master"] == "br-fc" and "UP" in tap["flags"]
    assert data["type"] == "tap" and data["vnet_hdr"] and data["persist"] and not data["pi"]
    assert str(OWNER) in (str(data["user"]), str(data["group"]))
    assert port["isolated"] and not port["learning"] and not port["flood"]
    guest.close()
    assert "tap-fc-2" not in links()
    assert "172.16.0.2" not in ruleset()
    helper.ok("delete_tap", tap="tap-fc-2")  # a missing one is success


def test_a_tap_that_is_open_is_busy_and_afterwards_taken_over(helper, guest):
    answer, _ = helper.ask("create_tap", tap=guest.name, guest_ip=guest.ip, mac=guest.mac, **NET)
    assert not answer["ok"] and "busy" in answer["error"]["message"]
    os.close(guest.fd)
    guest.fd, = helper.ok("create_tap", tap=guest.name, guest_ip="172.16.0.9", mac="06:00:ac:10:00:09", **NET)
    assert "172.16.0.9" in ruleset() and "172.16.0.2" not in ruleset()


def test_an_interface_of_another_is_never_touched(helper):
    run("ip", "link", "add", "br-fc", "type", "veth", "peer", "name", "tap-fc-7")
    before = links()
    assert helper.code("ensure_bridge", **NET) == "already_exists"
    assert helper.code("delete_tap", tap="tap-fc-7") == "bad_request"
    assert helper.code("create_tap", tap="tap-fc-7", **NET) != "ok"
    assert links().keys() == before.keys()


def test_a_range_of_the_host_is_refused(helper):
    run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    run("ip", "addr", "add", "172.16.0.77/16", "dev", "up0")
    answer, _ = helper.ask("ensure_bridge", **NET)
    assert not answer["ok"] and "already in use" in answer["error"]["message"]
    assert "br-fc" not in links()


# What a guest may send


@contextlib.contextmanager
def ear():
    """Hears what comes through the bridge to the host."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
        sock.bind(("br-fc", 0))
        sock.settimeout(QUIET)
        yield sock


def is_heard(sock, frame):
    with contextlib.suppress(TimeoutError):
        while True:
            if sock.recv(4096) == frame:
                return True
    return False


def test_host_and_guest_reach_each_other(guest):
    guest.send(guest.echo())
    assert guest.waits_for(lambda f: f[12:14] == b"\x08\x00" and f[23] == 1 and f[34] == 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("172.16.0.1", 4100))
        sock.settimeout(4)
        sock.sendto(b"question", (guest.ip, 4000))
        assert guest.waits_for(lambda f: f.endswith(b"question"))
        guest.send(guest.udp(4100, b"answer"))
        assert sock.recv(100) == b"answer"


def test_frames_of_others_addresses_are_dropped(guest):
    other, gateway = "06:00:ac:10:00:03", socket.inet_aton("172.16.0.1")
    spoofed = {
        "link address": guest.echo(mac=other),
        "ipv4 address": guest.echo(ip="172.16.0.3"),
        "host's address": guest.echo(ip="172.16.0.1"),
        "no address": guest.echo(ip="0.0.0.0"),
        "arp link address": guest.arp(1, bytes(6), gateway, sender_mac=other),
        "arp ipv4 address": guest.arp(1, bytes(6), gateway, sender_ip="172.16.0.1"),
        "arp frame's address": guest.arp(1, bytes(6), gateway, source=other),
        "ipv6": guest.ether(0x86dd, bytes(40)),
        "vlan tag": guest.ether(0x8100, b"\0\1" + guest.echo()[12:]),
        "qinq tag": guest.ether(0x88a8, b"\0\1\x81\0\0\1" + guest.echo()[12:]),
        "unknown type": guest.ether(0x1234, bytes(46)),
    }
    with ear() as sock:
        for frame in (guest.echo(), guest.arp(1, bytes(6), gateway)):
            guest.send(frame)
            assert is_heard(sock, frame)  # so the ear works
        for what, frame in spoofed.items():
            guest.send(frame)
            assert not is_heard(sock, frame), what


def test_link_local_frames_teach_the_bridge_nothing(helper, guest):
    victim = Guest(helper, 3)
    guest.send(guest.ether(0x88cc, bytes(46), source=victim.mac, target="01:80:c2:00:00:0e"))
    time.sleep(0.2)
    table = run("bridge", "fdb", "show", "br", "br-fc").stdout.splitlines()
    assert [line.split()[2] for line in table if line.startswith(victim.mac)] == [victim.name]
    victim.close()


def test_guests_do_not_reach_each_other(helper, guest):
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    other = Guest(helper, 3, nat=True)
    guest.nat(True)
    run("ping", "-c", "1", "-W", "1", other.ip, check=False) if shutil.which("ping") else None
    guest.send(guest.arp(1, bytes(6), socket.inet_aton(other.ip)))
    guest.send(guest.udp(9, b"direct", to=other.ip, via=other.mac))
    guest.send(guest.udp(9, b"routed", to=other.ip))
    assert not other.waits_for(lambda f: f.endswith((b"direct", b"routed")) or f[6:12] == bytes.fromhex("0600ac100002"), 1.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # and yet it hears the host
        sock.sendto(b"hello", (other.ip, 9))
        assert other.waits_for(lambda f: f.endswith(b"hello"))
    other.close()


def reaches(one, other, how):
    """Whether a datagram from one guest arrives at the other, through the bridge or by way of the host."""
    word = os.urandom(6).hex().encode()
    if how == "bridge":
        one.send(one.arp(1, bytes(6), socket.inet_aton(other.ip)))
    one.send(one.udp(9, word, to=other.ip, via=other.mac if how == "bridge" else "06:01:ac:10:00:01"))
    return bool(other.waits_for(lambda f: f.endswith(word), 1.0))


@pytest.mark.parametrize("bridge_nf", [0, 1], ids=["alone", "bridge-nf-and-drop"])
def test_guests_with_peers_reach_those_alone_that_have_them_too(helper, bridge_nf):
    switch = pathlib.Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    needs(switch.exists() or not bridge_nf, "no br_netfilter")
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    if bridge_nf:
        switch.write_text("1")
        subprocess.run(["nft", "-f", "-"], input=IPTABLES_DROP + INET_DROP, text=True, check=True)
    one, two = Guest(helper, 2, peers=True), Guest(helper, 3, peers=True)
    alone = Guest(helper, 4, nat=True)
    try:
        assert links()["tap-fc-4"]["linkinfo"]["info_slave_data"]["isolated"]
        for how in ("bridge", "host"):
            assert reaches(one, two, how) and reaches(two, one, how), how
            assert not reaches(one, alone, how) and not reaches(alone, two, how), how
        frame = two.arp(1, bytes(6), socket.inet_aton(one.ip), sender_ip=alone.ip)
        two.send(frame)
        assert not one.waits_for(lambda f: f == frame, QUIET)  # pins hold among peers
        os.close(two.fd)
        two.fd, = helper.ok("create_tap", tap=two.name, guest_ip=two.ip, mac=two.mac, **NET)
        assert not reaches(one, two, "bridge") and not reaches(one, two, "host")  # no longer allowed
    finally:
        for guest in (one, two, alone):
            guest.close()
        if switch.exists():
            switch.write_text("0")
    assert "172.16.0." not in ruleset() and "tap-fc-2" not in ruleset()


def test_a_removed_bridge_comes_back_with_its_guests(helper, guest):
    one, two = Guest(helper, 3, peers=True), Guest(helper, 4, peers=True)
    lie = guest.ether(0x88cc, bytes(46), source=one.mac, target="01:80:c2:00:00:0e")
    with talker(guest, lie):  # it never stops to say that it is another
        for _ in range(10):
            run("ip", "link", "del", "br-fc")
            assert "master" not in links()[guest.name]
            helper.ok("ensure_bridge", **NET)
            table = run("bridge", "fdb", "show", "br", "br-fc").stdout.splitlines()
            assert [line.split()[2] for line in table if line.startswith(one.mac)] == [one.name]
    guest.send(guest.echo())
    assert guest.waits_for(lambda f: f[12:14] == b"\x08\x00" and f[23] == 1 and f[34] == 0)
    with ear() as sock:
        frame = guest.echo(ip="172.16.0.3")
        guest.send(frame)
        assert not is_heard(sock, frame)
    for tap in (guest, one, two):
        port = links()[tap.name]["linkinfo"]["info_slave_data"]
        assert port["isolated"] == (tap is guest) and not port["learning"] and not port["flood"], tap.name
    assert reaches(one, two, "bridge") and not reaches(one, guest, "bridge")
    one.close()
    two.close()


def test_guest_reaches_no_service_of_the_host(guest):
    run("ip", "addr", "add", "198.51.100.1/32", "dev", "lo")
    with socket.create_server(("0.0.0.0", 4200)):
        for address in ("172.16.0.1", "198.51.100.1"):
            guest.send(guest.syn(4200, to=address))
            assert not guest.waits_for(lambda f: f[12:14] == b"\x08\x00" and f[23] == 6, QUIET)
        run("nft", "flush", "chain", "ip", "banger", "to_host")  # the test can fail:
        guest.send(guest.syn(4200))
        assert guest.waits_for(lambda f: f[12:14] == b"\x08\x00" and f[23] == 6)
    run("ip", "addr", "del", "198.51.100.1/32", "dev", "lo")


def test_a_tap_for_the_pool_carries_nothing(helper):
    fd, = helper.ok("create_tap", tap="tap-pool-0", **NET)
    guest = Guest(helper, 2)
    own, guest.fd = guest.fd, fd
    with ear() as sock:
        frame = guest.echo()
        guest.send(frame)
        assert not is_heard(sock, frame)
        assert helper.code("pin_tap", tap="tap-pool-1", guest_ip="172.16.0.9", mac="06:00:ac:10:00:09", **NET) != "ok"  # none there
        pooled = Guest.__new__(Guest)
        pooled.helper, pooled.name, pooled.fd, pooled.ip, pooled.mac = helper, "tap-pool-0", fd, "172.16.0.9", "06:00:ac:10:00:09"
        helper.ok("pin_tap", tap=pooled.name, guest_ip=pooled.ip, mac=pooled.mac, **NET)
        pooled.send(frame)  # another's
        assert not is_heard(sock, frame)
        frame = pooled.echo()
        pooled.send(frame)
        assert is_heard(sock, frame)
    assert helper.code("pin_tap", tap=pooled.name, guest_ip=pooled.ip, mac=pooled.mac, **NET) == "already_exists"
    port = links()["tap-pool-0"]["linkinfo"]["info_slave_data"]
    assert port["isolated"] and not port["learning"] and not port["flood"]
    guest.fd = own
    assert not reaches(pooled, guest, "bridge") and not reaches(guest, pooled, "bridge")
    guest.close()
    pooled.close()
    assert "172.16.0.9" not in ruleset()


def test_of_two_guests_one_gets_a_tap_of_the_pool(helper):
    for _ in range(20):
        fd, = helper.ok("create_tap", tap="tap-pool-0", **NET)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            codes = pool.map(lambda n: helper.code("pin_tap", tap="tap-pool-0", guest_ip=f"172.16.0.{n}",
                                                   mac=f"06:00:ac:10:00:0{n}", **NET), (8, 9))
            assert sorted(codes) == ["already_exists", "ok"]
        os.close(fd)
        helper.ok("delete_tap", tap="tap-pool-0")


def test_a_pin_that_fails_leaves_nothing(helper):
    fd, = helper.ok("create_tap", tap="tap-pool-0", **NET)
    run("ip", "addr", "add", "172.17.0.1/24", "dev", "lo")
    before = ruleset()
    try:
        assert helper.code("pin_tap", tap="tap-pool-0", bridge="br-fc-other", bridge_ip="172.17.0.2", cidr=24,
                           guest_ip="172.17.0.9", mac="06:00:ac:11:00:09", peers=True) != "ok"
        assert "172.17.0.9" not in ruleset() and ruleset().count("tap-pool-0") == before.count("tap-pool-0")
    finally:
        run("ip", "addr", "del", "172.17.0.1/24", "dev", "lo")
    helper.ok("pin_tap", tap="tap-pool-0", guest_ip="172.16.0.9", mac="06:00:ac:10:00:09", **NET)  # still free
    os.close(fd)
    helper.ok("delete_tap", tap="tap-pool-0")


# NAT

IPTABLES_DROP = "table ip filter {\n chain FORWARD {\n type filter hook forward priority 0; policy drop;\n }\n}\n"
INET_DROP = ("table inet filter {\n chain forward {\n type filter hook forward priority 0; policy drop;\n"
             " ct state invalid drop\n }\n}\n")


@pytest.mark.parametrize("others, bridge_nf", [("", 0), (IPTABLES_DROP, 0), (INET_DROP, 0),
                                               (IPTABLES_DROP + INET_DROP, 1)],
                         ids=["alone", "iptables-drop", "inet-drop", "both-and-bridge-nf"])
def test_nat_lets_a_guest_out_and_only_then(helper, guest, others, bridge_nf):
    switch = pathlib.Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    needs(switch.exists() or not bridge_nf, "no br_netfilter")
    if switch.exists():
        switch.write_text(str(bridge_nf))
    if others:
        subprocess.run(["nft", "-f", "-"], input=others, text=True, check=True)
    outside, before = Outside(), run("nft", "-s", "list", "ruleset").stdout.replace(" counter", "")

    def goes_out(word):
        guest.send(guest.udp(7, word, to="203.0.113.2"))
        answer = guest.waits_for(lambda f: f.endswith(word) and f[23] == 17, 2.0)
        return answer and answer[42:]

    try:
        assert not goes_out(b"one")
        for _ in range(2):
            guest.nat(True)
        assert goes_out(b"two") == b"203.0.113.1 two"  # the server saw the host's address
        assert ruleset().count('comment "banger:172.16.0.2"') == 2 * others.count("table")
        assert ruleset().count("policy drop") == others.count("policy drop")
        for _ in range(2):
            guest.nat(False)
        assert not goes_out(b"three")
        assert run("nft", "-s", "list", "ruleset").stdout == before
        guest.nat(True)
        os.close(guest.fd)
        helper.ok("delete_tap", tap=guest.name)
        assert "172.16.0.2" not in ruleset()  # a tap takes all with it
        for nat in (True, False):
            guest.fd, = helper.ok("create_tap", tap=guest.name, guest_ip=guest.ip, mac=guest.mac, nat=nat, **NET)
            assert bool(goes_out(b"four")) == nat
            os.close(guest.fd)
        guest.fd, = helper.ok("create_tap", tap=guest.name, guest_ip=guest.ip, mac=guest.mac, **NET)
    finally:
        outside.close()
        if switch.exists():
            switch.write_text("0")


def test_a_flushed_firewall_is_mended_by_the_next_request(helper, guest):
    run("nft", "flush", "ruleset")
    helper.ok("ensure_bridge", **NET)
    with ear() as sock:
        frame = guest.echo()
        guest.send(frame)
        assert not is_heard(sock, frame)  # shut, not open, until the tap is pinned again


def test_iptables_goes_on_showing_its_chain(helper, guest):
    needs(shutil.which("iptables-nft"), "no iptables-nft")
    run("iptables-nft", "-P", "FORWARD", "DROP")
    guest.nat(True)
    shown = run("iptables-nft", "-S", "FORWARD").stdout
    assert "-s 172.16.0.2/32 -i br-fc+" in shown and "-d 172.16.0.2/32 -o br-fc+" in shown, shown
    guest.nat(False)
    assert "172.16.0.2" not in run("iptables-nft", "-S", "FORWARD").stdout


def test_nat_is_for_the_guest_behind_the_tap(helper, guest):
    before = ruleset()
    for tap, ip in ((guest.name, "172.16.0.3"), (guest.name, "8.8.8.8"), ("tap-fc-3", guest.ip)):
        assert helper.code("ensure_nat", tap=tap, guest_ip=ip, enable=True) == "not_found"
        helper.ok("ensure_nat", tap=tap, guest_ip="172.16.0.3", enable=False)
    assert ruleset() == before


# A hostile daemon

HUGE = "x" * 100000
GOOD = {
    "ensure_bridge": dict(NET),
    "create_tap": dict(NET, tap="tap-fc-5", guest_ip="172.16.0.5", mac="06:00:ac:10:00:05", nat=True, peers=True),
    "pin_tap": dict(NET, tap="tap-pool-5", guest_ip="172.16.0.5", mac="06:00:ac:10:00:05", nat=True, peers=True),
    "delete_tap": {"tap": "tap-fc-5", "guest_ip": "172.16.0.5"},
    "ensure_nat": {"tap": "tap-fc-5", "guest_ip": "172.16.0.5", "enable": True},
    "kill_process": {"pid": 4000000},
    "signal_process": {"pid": 4000000, "signal": "TERM"},
}
OPTIONAL = {"create_tap": ("guest_ip", "mac", "nat", "peers"), "pin_tap": ("nat", "peers"), "delete_tap": ("guest_ip",)}
ODD = [None, True, 7, -1, 1.5, [], {}, "", HUGE, "../x", "%d", "a b", "\u00e9", 2**63 - 1]
BAD = {
    "bridge": ["eth0", "docker0", "lo", "br-fcx", "br-fc-0123456789", "br-fc-%d"],
    "bridge_ip": ["8.8.8.8", "127.0.0.1", "172.16.0", "172.16.0.0", "172.16.0.255", "::1", "172.16.0.1/24"],
    "cidr": [7, 33, 64, 0, 2**32 + 24, "24"],
    "tap": ["eth0", "tap0", "tap-fc-", "tap-fc-012345678", "tap-fc-%d"],
    "guest_ip": ["172.16.0.256", "172.16.0", "::1"],
    "mac": ["00:00:ac:10:00:05", "ff:ff:ff:ff:ff:ff", "06:00:ac:10:00", "06-00-ac-10-00-05"],
    "enable": ["true", 1, 0],
    "nat": ["true", 1, 0],
    "peers": ["true", 1, 0],
    "pid": [0, 1, 2**22 + 1, 2**32, "12"],
    "signal": ["STOP", "CONT", "9", "RTMIN", "SIG"],
}


@pytest.mark.parametrize("method", GOOD)
def test_no_wrong_field_changes_anything(helper, method):
    before = host_state()
    for field, good in GOOD[method].items():
        right_kind = (lambda v: type(v) is type(good)) if not isinstance(good, str) else (lambda v: False)
        for value in BAD[field] + [v for v in ODD if not right_kind(v)]:
            code = helper.code(method, **dict(GOOD[method], **{field: value}))
            assert code == "bad_request", (method, field, value if value != HUGE else "huge")
        if field not in OPTIONAL.get(method, ()):
            assert helper.code(method, **{k: v for k, v in GOOD[method].items() if k != field}) == "bad_request"
        assert helper.code(method, **dict(GOOD[method], **{field: "a\0b"})) != "ok"  # not even JSON to jansson
    assert helper.code(method, **dict(GOOD[method], unknown=1)) == "bad_request"
    assert host_state() == before


def test_guest_and_bridge_belong_together(helper):
    before = host_state()
    for ip in ("172.16.0.1", "172.16.0.0", "172.16.0.255", "172.16.1.5", "8.8.8.8"):
        assert helper.code("create_tap", **dict(GOOD["create_tap"], guest_ip=ip)) == "bad_request"
    for alone in ("guest_ip", "mac"):
        params = {k: v for k, v in GOOD["create_tap"].items() if k != alone}
        assert helper.code("create_tap", **params) == "bad_request"
    assert host_state() == before


@pytest.mark.parametrize("body, code", [
    (b'{"version":2,"method":"priv.ping"}', "bad_version"),
    (b'{"version":1,"method":"priv.shell"}', "unknown_method"),
    (b'{"version":1,"method":"vm.start"}', "unknown_method"),
    (b'{"version":1,"method":"priv.ping","params":[]}', "bad_request"),
    (b'{"version":1,"method":"priv.ping","params":{"a":1}}', "bad_request"),
    (b'{"version":1}', "unknown_method"),
    (b"[]", None), (b"null", None), (b"{", None), (b"\xff\xfe", None), (b"[" * 100000, None),
])
def test_no_wrong_message_does_more_than_fail(helper, body, code):
    answer, fds = helper.raw(body)
    assert not fds and not answer["ok"] and code in (None, answer["error"]["code"])
    helper.ok("ping")


def test_lengths_that_lie_are_refused(helper):
    for length in (0, 2**31, 2**32 - 1):
        with helper.connect() as sock:
            sock.sendall(struct.pack("<I", length) + b"{}")
            answer, _ = helper.receive(sock)
            assert not answer["ok"]
    helper.ok("ping")


def test_other_users_are_refused_even_with_an_open_door(helper):
    code = ("import os,socket,sys\nos.setgid(54001);os.setuid(54001)\ns=socket.socket(socket.AF_UNIX)\n"
            "s.connect(sys.argv[1])\nb=b'{\"version\":1,\"method\":\"priv.ping\"}'\n"
            "s.sendall(len(b).to_bytes(4,'little')+b)\nprint(s.recv(9999)[4:].decode())\n")
    words = ["/usr/bin/python3", "-c", code, str(helper.socket)]
    assert subprocess.run(words, capture_output=True).returncode != 0  # 0600: not even connected
    helper.socket.chmod(0o666)
    answer = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    helper.socket.chmod(0o600)
    assert answer["error"]["code"] == "unauthorized" and "54001" in answer["error"]["message"]


@pytest.fixture
def fake_vmm(helper):
    """Starts a process that looks like a VMM, or nearly; it says so when it runs."""
    started = []

    def start(name="firecracker", uid=OWNER, sock=None, flag="--api-sock"):
        link = helper.folder / name
        if not link.exists():
            link.symlink_to("/usr/bin/python3")
        words = [link, "-c", "import time;print('up',flush=True);time.sleep(60)", flag, sock or helper.runtime / "fc.sock"]
        process = subprocess.Popen(words, user=uid, group=uid, extra_groups=[], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("name", ["firecracker", "jailer", "banger-qemu"])
@pytest.mark.parametrize("flag", ["--api-sock", "-a"])
def test_a_vmm_is_signalled(helper, fake_vmm, name, flag):
    vmm = fake_vmm(name, flag=flag)
    helper.ok("signal_process", pid=vmm.pid, signal="SIGUSR1")
    assert vmm.wait(5) == -signal.SIGUSR1
    vmm = fake_vmm(name, flag=flag)
    helper.ok("kill_process", pid=vmm.pid)
    assert vmm.wait(5) == -signal.SIGKILL
    assert helper.code("kill_process", pid=vmm.pid) == "not_found"


@pytest.mark.parametrize("how", [{"name": "python"}, {"uid": 54001}, {"uid": 0}, {"sock": "/tmp/fc.sock"},
                                 {"sock": "RUN/../fc.sock"}, {"flag": "--socket"}], ids=str)
def test_nearly_a_vmm_is_left_alone(helper, fake_vmm, how):
    if "sock" in how:
        how = {"sock": how["sock"].replace("RUN", str(helper.runtime))}
    process = fake_vmm(**how)
    assert helper.code("kill_process", pid=process.pid) == "unauthorized"
    assert helper.code("signal_process", pid=process.pid, signal="TERM") == "unauthorized"
    assert process.poll() is None


def test_the_helper_itself_and_this_process_are_left_alone(helper):
    for pid in (helper.process.pid, os.getpid()):
        assert helper.code("kill_process", pid=pid) == "unauthorized"
    helper.ok("ping")


# The process


def test_socket_belongs_to_the_owner_alone(helper):
    folder, sock = helper.socket.parent.stat(), helper.socket.stat()
    assert (folder.st_uid, folder.st_mode & 0o7777) == (0, 0o711)
    assert (sock.st_uid, sock.st_gid, sock.st_mode & 0o7777) == (OWNER, OWNER, 0o600)


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())


def test_rights_are_shed(helper):
    with helper.connect():
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:  # the filter is loaded last
            child = helper.children()
            if child and status_of(child[0])["Seccomp"] == "2":
                break
            time.sleep(0.05)
        for pid in (helper.process.pid, child[0]):
            shown = status_of(pid)
            assert int(shown["CapEff"], 16) == int(shown["CapPrm"], 16) == 1 << 12 | 1 << 5  # NET_ADMIN, KILL
            assert int(shown["CapInh"], 16) == int(shown["CapAmb"], 16) == int(shown["CapBnd"], 16) & ~(1 << 12 | 1 << 5) == 0
            assert shown["NoNewPrivs"] == "1"
        assert status_of(child[0])["Seccomp"] == "2"


def test_one_log_line_a_call_with_the_callers_id(helper):
    helper.ask("ping", op_id="op-00000000aaaa")
    helper.ask("delete_tap", op_id="op-00000000bbbb", tap="eth0")
    lines = {i: [l for l in helper.lines() if l.get("op_id") == i] for i in ("op-00000000aaaa", "op-00000000bbbb")}
    (good,), (bad,) = lines.values()
    assert (good["msg"], good["level"], good["method"]) == ("helper rpc completed", "debug", "priv.ping")
    assert (bad["msg"], bad["level"], bad["code"]) == ("helper rpc failed", "warn", "bad_request")
    assert "eth0" in bad["error"] and all(isinstance(l["duration_ms"], int) for l in (good, bad))


def test_twenty_at_once(helper):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        guests = list(pool.map(lambda n: Guest(helper, n, nat=True), range(2, 22)))
        shown = ruleset()
        pinned = re.findall(r" \. (172\.16\.0\.\d+)", shown)
        assert sorted(pinned) == sorted(g.ip for g in guests)
        list(pool.map(Guest.close, guests))
    assert not [n for n in links() if n.startswith("tap-")]
    assert "172.16.0." not in ruleset()


def test_a_silent_caller_holds_up_nobody(helper):
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(helper.connect())
        started = time.monotonic()
        helper.ok("ping")
        assert time.monotonic() - started < 4


def test_whenever_a_request_is_killed_a_retry_completes(helper):
    for delay in [n * 0.004 for n in range(12)]:
        with helper.connect() as sock:
            helper.send(sock, json.dumps({"version": 1, "method": "priv.create_tap",
                                          "params": GOOD["create_tap"]}).encode())
            time.sleep(delay)
            for pid in helper.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                for fd in helper.receive(sock)[1]:
                    os.close(fd)
        guest = Guest(helper, 5)
        guest.send(guest.echo())
        assert guest.waits_for(lambda f: f[12:14] == b"\x08\x00" and f[34] == 0), delay
        guest.close()
        assert "tap-fc-5" not in links()


def test_sigterm_ends_the_listener_only(namespace):
    own = Helper()
    try:
        with own.connect() as sock:
            while not own.children():
                time.sleep(0.02)
            own.process.terminate()
            assert own.process.wait(10) == 0
            assert not own.socket.exists()
            own.send(sock, b'{"version":1,"method":"priv.ping"}')
            assert own.receive(sock)[0]["ok"]
    finally:
        own.close()


def test_a_socket_left_behind_is_replaced_and_a_live_one_is_not(namespace):
    own = Helper()
    try:
        words = own.process.args
        second = subprocess.run(words, capture_output=True, text=True, timeout=20)
        assert second.returncode == 1 and "another bangerd-root" in second.stderr
        own.ok("ping")
        own.process.kill()
        own.process.wait()
        assert own.socket.exists()
        own.start()
        own.ok("ping")
    finally:
        own.close()


def test_idleness_ends_it(namespace):
    own = Helper("--idle-exit", "1")
    try:
        own.ok("ping")
        assert own.process.wait(10) == 0 and not own.socket.exists()
    finally:
        own.close()


@pytest.mark.parametrize("words", [["--owner-uid", "0"], ["--owner-uid", "x"], ["--socket", "x"], ["--idle-exit", "-1"],
                                   ["--runtime-dir", "relative"], ["--nonsense"], ["word"]], ids=" ".join)
def test_wrong_options_start_nothing(namespace, tmp_path, words):
    good = ["--owner-uid", "5", "--owner-gid", "5", "--runtime-dir", "/tmp/x", "--socket", str(tmp_path / "r" / "s")]
    done = subprocess.run([program(), *good, *words], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and done.stderr and not (tmp_path / "r").exists()


def test_version_is_one_line():
    done = run(program(), "--version")
    assert done.stdout.startswith("bangerd-root ") and done.stdout.count("\n") == 1
