"""The network of real machines: the pool of taps, who reaches whom, what a hostile guest may send, a bridge that goes."""
import json
import os
import signal
import subprocess
import time

import pytest

from conftest import needs
from instance import sh

# Sends a frame as given in hex from inside a guest.
SEND = "import socket,sys; s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); s.bind(('eth0',0)); s.send(bytes.fromhex(sys.argv[1]))"


@pytest.fixture(scope="module")
def pair(instance):
    """Two machines with --peers."""
    names = [f"peer{i}-{os.urandom(3).hex()}" for i in range(2)]
    for name in names:
        instance.banger("vm", "create", "--peers", "--name", name)
    yield [instance.show(name) for name in names]
    for name in names:
        instance.banger("vm", "delete", name, check=False)


def inside(instance, *words):
    return sh("ip", "netns", "exec", instance.netns, *words, check=False)


def port_of(instance, tap, *options):
    return json.loads(inside(instance, "ip", "-j", "-d", *options, "link", "show", tap).stdout)[0]


def pings(instance, vm, address):
    return instance.banger("vm", "exec", vm["name"], "--", "ping", "-c", "1", "-W", "2", address, check=False).returncode == 0


def test_the_pool_is_warm_and_its_taps_are_used(instance, vm):
    vm("--no-start")  # the first machine there is
    ready = sorted(instance.pool_taps(), key=lambda name: int(name.rsplit("-", 1)[1]))
    assert len(ready) == 4
    for tap in ready:
        port = port_of(instance, tap)
        assert port["master"] == "br-fc" and port["linkinfo"]["info_slave_data"]["isolated"]
        assert f'"{tap}"' not in instance.nft()  # nothing pinned: nothing passes
    name = vm()
    shown = instance.show(name)
    assert shown["tap"] in ready
    assert pings(instance, shown, "172.16.0.1")
    again = instance.pool_taps()
    assert len(again) == 4 and set(ready) - {shown["tap"]} < set(again)
    instance.banger("vm", "stop", name)
    assert shown["tap"] not in instance.links() and shown["address"] not in instance.nft()
    instance.banger("vm", "start", name)
    started = instance.show(name)
    assert started["tap"] != shown["tap"] and started["address"] == shown["address"]  # numbers only grow
    assert pings(instance, started, "172.16.0.1")


def test_a_daemon_that_ended_leaves_its_taps_to_the_next(instance):
    before = instance.pool_taps()
    for sig in (signal.SIGTERM, signal.SIGKILL):
        instance.end_daemon(sig)
        instance.banger("vm", "list")
        assert instance.pool_taps() == before and len(before) == 4
    instance.end_daemon()
    config = instance.home / ".config/banger/config.toml"
    instance.as_owner_mkdir(config.parent)
    config.write_text("tap_pool_size = 1\n")
    os.chown(config, instance.uid, instance.gid)
    try:
        instance.banger("vm", "list")
        deadline = time.monotonic() + 20
        while len([name for name in instance.links() if name.startswith("tap-pool-")]) > 1 + len(
                [v for v in instance.json("vm", "list") if v["state"] == "running"]):
            assert time.monotonic() < deadline, instance.links()
            time.sleep(0.05)
    finally:
        config.unlink()
        instance.end_daemon()
    instance.banger("vm", "list")


def test_a_tap_that_comes_after_the_next_daemon_has_looked_is_not_forgotten(instance, vm):
    """As the helper makes it for a daemon that is killed while it waits: here a moment after its successor has begun."""
    vm("--no-start")
    instance.pool_taps()
    instance.end_daemon(signal.SIGKILL)
    number = 1 + max(int(name.rsplit("-", 1)[1]) for name in instance.links() if name.startswith("tap-pool-"))
    instance.banger("vm", "list")
    for late in (f"tap-pool-{number}", f"tap-pool-{number + 40}"):
        sh("ip", "-n", instance.netns, "tuntap", "add", "dev", late, "mode", "tap", "user", str(instance.uid), "vnet_hdr")
    assert len(instance.pool_taps()) == 4
    assert f"tap-pool-{number + 40}" not in instance.links()


def test_without_a_helper_the_pool_rests_and_numbers_are_not_burned(instance, vm):
    name = vm("--no-start")
    instance.stop_helper()
    try:
        for _ in range(3):
            assert instance.banger("vm", "start", name, check=False).returncode != 0
    finally:
        instance.start_helper()
    instance.banger("vm", "start", name)
    numbers = [int(tap.rsplit("-", 1)[1]) for tap in instance.pool_taps()]
    instance.banger("vm", "stop", name)
    instance.banger("vm", "start", name)
    assert max(int(tap.rsplit("-", 1)[1]) for tap in instance.pool_taps()) <= max(numbers) + 4


def test_a_spoofing_guest_is_not_heard(instance, pair):
    """Frames from inside a guest, watched where they would leave the bridge for the host."""
    one, two = pair
    mac = bytes.fromhex("0600" + "".join(f"{int(part):02x}" for part in one["address"].split("."))).hex()
    host = "0601ac100001"
    def udp(source_mac, source_ip):
        head = "45000021000000004011" + "0000" + "".join(f"{int(p):02x}" for p in source_ip.split(".")) + "ac100001"
        words = [int(head[i:i + 4], 16) for i in range(0, 40, 4)]
        total = sum(words)
        total = (total & 0xffff) + (total >> 16)
        head = head[:20] + f"{~total & 0xffff:04x}" + head[24:]
        return host + source_mac + "0800" + head + "10681069000d0000" + b"spoof".hex()
    cases = {"own": (mac, one["address"]), "peer's ip": (mac, two["address"]), "free ip": (mac, "172.16.0.200"),
             "gateway's ip": (mac, "172.16.0.1"), "other mac": ("0600ac1000c8", one["address"]),
             "peer's mac and ip": ("0600" + "".join(f"{int(p):02x}" for p in two["address"].split(".")), two["address"])}
    heard = {}
    for what, (source_mac, source_ip) in cases.items():
        watch = instance.argv("true")[:4] + ["/usr/bin/python3", "-c",
            "import socket\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3)); s.bind(('br-fc',0))\nprint('up',flush=True)\n"
            "while True:\n if b'spoof' in s.recv(2000): print('heard',flush=True)"]
        ear = subprocess.Popen(watch, stdout=subprocess.PIPE, text=True)
        assert ear.stdout.readline() == "up\n"
        instance.banger("vm", "exec", one["name"], "--", "python3", "-c", SEND, udp(source_mac, source_ip))
        time.sleep(0.5)  # what the bridge lets through has long come
        ear.kill()
        heard[what] = "heard" in ear.communicate(timeout=10)[0]
    assert heard == {what: what == "own" for what in cases}


def test_peers_reach_each_other_and_no_other_machine(instance, pair, shared_vm):
    one, two = pair
    alone = instance.show(shared_vm)
    assert one["peers"] and two["peers"] and not alone["peers"]
    assert pings(instance, one, two["address"]) and pings(instance, two, one["address"])
    assert not pings(instance, one, alone["address"])
    assert not pings(instance, alone, one["address"])


def test_the_bridge_comes_back_with_its_machines(instance, pair):
    one, two = pair
    assert inside(instance, "ip", "link", "del", "br-fc").returncode == 0
    deadline = time.monotonic() + 10
    while port_of(instance, one["tap"]).get("master") != "br-fc" or port_of(instance, two["tap"]).get("master") != "br-fc":
        assert time.monotonic() < deadline, "the taps are in no bridge"
        time.sleep(0.05)
    assert pings(instance, one, "172.16.0.1") and pings(instance, one, two["address"])


def test_an_address_comes_back_only_with_its_machine(instance):
    instance.banger("vm", "create", "--no-start", "--name", "holder")
    held = instance.show("holder")["address"]
    instance.banger("vm", "create", "--no-start", "--name", "next")
    assert instance.show("next")["address"] != held
    instance.banger("vm", "delete", "holder")
    instance.banger("vm", "create", "--no-start", "--name", "heir")
    assert instance.show("heir")["address"] == held
    instance.banger("vm", "delete", "next", "heir")


def test_a_disk_is_held_to_its_bandwidth_which_changes_while_it_runs(instance, vm, shared_vm):
    """40 MiB past every cache at 16 MiB a second, with a second's worth at once: 1.5 s; measured by the guest's own clock."""
    limited = vm("--disk-bandwidth", "16M", "--disk-iops", "2000")
    shown = instance.show(limited)
    assert shown["disk_bandwidth"] == 16 << 20 and shown["disk_iops"] == 2000 and shown["net_bandwidth"] == 0
    write = "import os,mmap,time; f=os.open('/root/x',os.O_WRONLY|os.O_CREAT|os.O_DIRECT); m=mmap.mmap(-1,1<<20); b=time.monotonic();" \
            "[os.write(f,m) for _ in range(40)]; print(time.monotonic()-b)"

    def seconds(name):
        return float(instance.banger("vm", "exec", name, "--", "python3", "-c", write).stdout)

    held, free = seconds(limited), seconds(shared_vm)
    assert 1.25 < held < 30 and free < held
    instance.banger("vm", "set", limited, "--disk-bandwidth", "off", "--disk-iops", "off")
    lifted = seconds(limited)
    assert lifted < held, (lifted, held)
    instance.banger("vm", "pause", limited)  # a VM that stands still is changed too
    instance.banger("vm", "set", limited, "--disk-bandwidth", "16M")
    instance.banger("vm", "resume", limited)
    shown = instance.show(limited)
    assert shown["disk_bandwidth"] == 16 << 20 and shown["disk_iops"] == 0 and shown["pending"] == []
    assert 1.25 < seconds(limited) < 30


# Both ends of test_the_network_is_held_to_its_bandwidth: each sends and receives as much as goes.
PUMP = "import socket,sys,threading\ndef pump(s):\n threading.Thread(target=lambda:[None for _ in iter(lambda:s.recv(1<<16),b'')],daemon=True).start()\n" \
       " while True: s.sendall(bytes(1<<16))\n"
GUEST = PUMP + "l=socket.create_server(('',4711)); print('up',flush=True); pump(l.accept()[0])"
HOST = PUMP + "pump(socket.create_connection((sys.argv[1],4711)))"


def test_the_network_is_held_to_its_bandwidth(instance, vm):
    """1 MiB a second each way at the same time, counted where the tap is, behind the second's worth that may come at once."""
    limited = instance.show(vm("--net-bandwidth", "1M"))
    assert limited["net_bandwidth"] == 1 << 20

    def counted():
        stats = port_of(instance, limited["tap"], "-s")["stats64"]
        return stats["rx"]["bytes"], stats["tx"]["bytes"], time.monotonic()

    guest = instance.popen("vm", "exec", limited["name"], "--", "python3", "-c", GUEST, stdout=subprocess.PIPE, text=True)
    host = None
    try:
        assert guest.stdout.readline() == "up\n"
        host = subprocess.Popen(["ip", "netns", "exec", instance.netns, "/usr/bin/python3", "-c", HOST, limited["address"]])
        deadline = time.monotonic() + 30
        while min(counted()[:2]) < 1.3 * (1 << 20):
            assert time.monotonic() < deadline, counted()
            time.sleep(0.05)
        for _ in range(5):  # TCP, and a guest on a busy host, may be slower for a while; faster never
            before = counted()
            time.sleep(5)  # a stall saves up a second's worth at most: a fifth of what is counted
            after = counted()
            rates = [(after[i] - before[i]) / (after[2] - before[2]) / (1 << 20) for i in (0, 1)]
            assert max(rates) < 1.25, (before, after)
            if min(rates) > 0.75:
                break
        for limit, is_reached in (("off", lambda rate: rate > 2), ("1M", lambda rate: rate < 1.3)):  # while it runs
            instance.banger("vm", "set", limited["name"], "--net-bandwidth", limit)
            deadline = time.monotonic() + 60
            rate = -1
            while not is_reached(rate) or rate < 0:
                assert time.monotonic() < deadline, (limit, rate)
                before = counted()
                time.sleep(2)
                after = counted()
                rate = max((after[i] - before[i]) / (after[2] - before[2]) / (1 << 20) for i in (0, 1))
    finally:
        for process in filter(None, (host, guest)):
            process.kill()
            process.wait()
    assert min(rates) > 0.75, rates
