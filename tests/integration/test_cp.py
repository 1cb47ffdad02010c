"""vm cp: where things go, what is kept, and what a guest that means harm can do (nothing)."""
import io
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import tarfile
import threading
import time

import pytest


@pytest.fixture
def here(instance):
    """A folder of the owner's for one test."""
    folder = instance.home / f"cp-{os.urandom(3).hex()}"
    instance.as_owner_mkdir(folder)
    folder.chmod(0o755)
    return folder


def guest(instance, vm, script, **options):
    return instance.banger("vm", "exec", vm, "--", "sh", "-c", script, **options)


def cp(instance, *words, check=True, **options):
    return instance.banger("vm", "cp", *words, check=check, **options)


def own(instance, *paths):
    for path in paths:
        os.chown(path, instance.uid, instance.gid, follow_symlinks=False)


def test_a_tree_goes_there_and_back_as_it_was(instance, shared_vm, here):
    tree = here / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_bytes(b"content\n")
    (tree / "exec").write_bytes(b"#!/bin/sh\n")
    (tree / "exec").chmod(0o751)
    (tree / "link").symlink_to("sub/file")
    (tree / "dangling").symlink_to("/no/where")
    os.link(tree / "sub/file", tree / "hard")
    with open(tree / "sparse", "wb") as f:
        f.seek(64 << 20)
        f.write(b"end")
        f.truncate((64 << 20) + 4096)
    os.setxattr(tree / "sub/file", "user.note", b"a\0b")
    (tree / ("n" * 200)).write_bytes(b"long")
    os.utime(tree / "exec", ns=(10**18 + 1, 10**18 + 123456789))
    for path in [tree, *tree.rglob("*")]:
        own(instance, path)
    cp(instance, tree, f"{shared_vm}:/srv/there")
    seen = guest(instance, shared_vm, "cd /srv/there; stat -c '%U %a %n' exec; readlink link dangling; stat -c %h hard; du -k sparse | cut -f1; "
                 "stat -c %s sparse; stat -c %.9Y exec").stdout.split()
    assert seen[:3] == ["root", "751", "exec"] and seen[3:6] == ["sub/file", "/no/where", "2"]
    assert int(seen[6]) < 100 and int(seen[7]) == (64 << 20) + 4096 and seen[8] == "1000000000.123456789"
    cp(instance, f"{shared_vm}:/srv/there/.", here / "back")
    back = here / "back"
    assert (back / "sub/file").read_bytes() == b"content\n" and os.getxattr(back / "sub/file", "user.note") == b"a\0b"
    assert stat.S_IMODE((back / "exec").stat().st_mode) == 0o751 and (back / "exec").stat().st_mtime_ns == 10**18 + 123456789
    assert (back / "sparse").stat().st_blocks * 512 < 100 << 10 and (back / "sparse").read_bytes()[-4096:-4093] == b"end"
    assert os.readlink(back / "dangling") == "/no/where" and (back / "hard").stat().st_ino == (back / "sub/file").stat().st_ino
    assert (back / "exec").stat().st_uid == instance.uid and (back / ("n" * 200)).read_bytes() == b"long"


def test_where_things_go(instance, shared_vm, here):
    (here / "file").write_text("one\n")
    (here / "dir").mkdir()
    (here / "dir/in").write_text("in")
    own(instance, here / "file", here / "dir", here / "dir/in")
    vm = shared_vm
    guest(instance, vm, "rm -rf /srv/w; mkdir -p /srv/w/there; echo old > /srv/w/old; ln -s old /srv/w/link")
    cp(instance, here / "file", f"{vm}:/srv/w/new")
    cp(instance, here / "file", f"{vm}:/srv/w/there")
    cp(instance, here / "file", f"{vm}:/srv/w/link")  # through the link that was named
    cp(instance, here / "dir", f"{vm}:/srv/w/made")
    cp(instance, here / "dir", f"{vm}:/srv/w/there/")
    cp(instance, f"{here}/dir/.", f"{vm}:/srv/w/there")
    cp(instance, here / "file", here / "dir", f"{vm}:/srv/w/made")
    cp(instance, here / "file", f"{vm}:at-home")
    found = guest(instance, vm, "cd /srv/w; find . | sort; cat old; readlink link; cat /root/at-home; rm /root/at-home").stdout.split()
    assert found == [".", "./link", "./made", "./made/dir", "./made/dir/in", "./made/file", "./made/in", "./new", "./old", "./there", "./there/dir",
                     "./there/dir/in", "./there/file", "./there/in", "one", "old", "one"]
    for words, says in (((here / "file", f"{vm}:/srv/none/x"), "/srv/none"), ((here / "file", f"{vm}:/srv/none/"), "no folder '/srv/none/'"),
                        ((here / "dir", f"{vm}:/srv/w/old"), "is a file; a folder is not copied over it"),
                        ((here / "file", here / "dir", f"{vm}:/srv/w/old"), "is not a folder"), ((here / "none", f"{vm}:/srv"), "none"),
                        ((here / "file", here / "dir"), "neither"), ((f"{vm}:/a", f"{vm}:/b"), "goes through this host"),
                        ((f"{vm}:/no/such*", here), "nothing matches '/no/such*'"), ((f"{vm}:/no/such", here), "/no/such"),
                        (("-", here / "file", f"{vm}:/srv"), "whole stream"), (("no-such-vm:/x", here), "no-such-vm")):
        done = cp(instance, *words, check=False)
        assert done.returncode == 1 and says in done.stderr, (words, done.stderr)


def test_patterns_and_streams(instance, shared_vm, here):
    guest(instance, shared_vm, "mkdir -p /srv/p/sub; cd /srv/p; touch a.log b.log .c.log 'x[1]' sub/d.log; echo 1 > a.log")
    cp(instance, f"{shared_vm}:/srv/p/*.log", f"{shared_vm}:/srv/p/*/*.log", f"{shared_vm}:/srv/p/x[1]", here)
    assert sorted(os.listdir(here)) == ["a.log", "b.log", "d.log", "x[1]"]
    stream = cp(instance, f"{shared_vm}:/srv/p/sub", "-", text=False).stdout
    assert tarfile.open(fileobj=io.BytesIO(stream)).getnames() == ["sub", "sub/d.log"]
    guest(instance, shared_vm, "mkdir /srv/q")
    cp(instance, "-", f"{shared_vm}:/srv/q", input=stream, text=False)
    assert guest(instance, shared_vm, "ls /srv/q/sub; rm -r /srv/p /srv/q").stdout == "d.log\n"


def test_a_full_disk_and_a_limit_are_told_and_leave_no_half_file(instance, shared_vm, here):
    (here / "big").write_bytes(b"x" * (8 << 20))
    own(instance, here / "big")
    guest(instance, shared_vm, "mkdir -p /mnt/s; mount -t tmpfs -o size=4m s /mnt/s; echo old > /mnt/s/big")
    done = cp(instance, here / "big", f"{shared_vm}:/mnt/s", check=False)
    assert done.returncode == 1 and "No space left on device" in done.stderr
    assert guest(instance, shared_vm, "cat /mnt/s/big; ls -A /mnt/s; umount /mnt/s").stdout == "old\nbig\n"
    guest(instance, shared_vm, "head -c 3000000 /dev/zero > /srv/three; echo small > /srv/a-small")
    done = cp(instance, "--max-size", "2M", f"{shared_vm}:/srv/a-small", f"{shared_vm}:/srv/three", here, check=False)
    assert done.returncode == 1 and "--max-size" in done.stderr and "after 1 files" in done.stderr
    assert sorted(os.listdir(here)) == ["a-small", "big"]


def test_an_interrupted_copy_leaves_only_whole_files(instance, shared_vm, here):
    guest(instance, shared_vm, "mkdir -p /srv/i; head -c 300000000 /dev/zero > /srv/i/large")
    for sig in (signal.SIGINT, signal.SIGKILL):
        process = instance.popen("vm", "cp", f"{shared_vm}:/srv/i", here, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not (here / "i").is_dir() or not os.listdir(here / "i"):
            assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.send_signal(sig)
        process.communicate(timeout=30)
        assert process.returncode == -sig
        left = os.listdir(here / "i")
        assert left == [] if sig == signal.SIGINT else [name for name in left if not name.endswith(".part")] == []
    guest(instance, shared_vm, "rm -r /srv/i")


# ---- a guest that means harm ----


class EvilGuest:
    """Answers the CLI over its own UNIX socket as bangerd and VMM would, then sends an archive of the test's making."""

    def __init__(self, instance, archive):
        self.path = instance.runtime / "bangerd.sock"
        self.archive = archive
        instance.end_daemon(signal.SIGKILL)
        self.path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        os.chown(self.path, instance.uid, instance.gid)
        self.listener.listen(4)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        sock, _ = self.listener.accept()
        length = struct.unpack("<I", sock.recv(4))[0]
        sock.recv(length)
        ours, theirs = socket.socketpair()
        body = json.dumps({"ok": True, "result": {"name": "evil"}, "op_id": "op-1"}).encode()
        socket.send_fds(sock, [struct.pack("<I", len(body)) + body], [theirs.fileno()])
        theirs.close()
        while not ours.recv(1) == b"\n":
            pass
        ours.sendall(b"OK 1\n")
        head = ours.recv(8)
        ours.recv(struct.unpack("<I", head[4:])[0])
        try:
            for at in range(0, len(self.archive), 60000):
                part = self.archive[at:at + 60000]
                ours.sendall(struct.pack("<BBBBI", 7, 0, 0, 0, len(part)) + part)
            ours.sendall(struct.pack("<BBBBI", 7, 0, 0, 0, 0) + struct.pack("<BBBBI", 5, 0, 0, 0, 2) + b"{}")
        except OSError:
            pass
        while True:
            try:
                if not ours.recv(4096):
                    return
            except OSError:
                return

    def close(self):
        self.listener.close()
        self.path.unlink(missing_ok=True)


def member(name, kind=tarfile.REGTYPE, content=b"", link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(content), link, mode
    return info, content


def archive(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("members", [
    [member("x/../../escaped", content=b"!")],
    [member("../escaped", content=b"!")],
    [member("x", tarfile.SYMTYPE, link=".."), member("x/escaped", content=b"!")],
    [member("x", tarfile.DIRTYPE), member("x/up", tarfile.SYMTYPE, link="../.."), member("x/up/escaped", content=b"!")],
    [member("x", tarfile.DIRTYPE), member("x/hard", tarfile.LNKTYPE, link="../secret")],
    [member("x", tarfile.DIRTYPE), member("y", content=b"another name than was asked for")],
    [member("x", tarfile.CHRTYPE)],
    [member("/etc/x", content=b"!"), member("/etc/y", content=b"!")],
], ids=str)
def test_nothing_a_guest_sends_leaves_the_destination(instance, here, members):
    instance.as_owner_mkdir(here / "to")
    (here / "secret").write_text("secret")
    evil = EvilGuest(instance, archive(*members))
    try:
        cp(instance, "evil:/x", here / "to/copy", check=False)
    finally:
        evil.close()
    assert sorted(os.listdir(here)) == ["secret", "to"] and (here / "secret").stat().st_nlink == 1
    assert set(os.listdir(here / "to")) <= {"copy"}


@pytest.mark.parametrize("asked, sent", [("/srv/notes", ".bashrc"), ("/srv/*", ".bashrc"), ("/srv/notes", "notes.txt")])
def test_a_folder_that_is_there_gets_only_what_was_asked_for(instance, here, asked, sent):
    evil = EvilGuest(instance, archive(member(sent, content=b"\x1b]0;owned\x07!")))
    try:
        done = cp(instance, f"evil:{asked}", here, check=False)
    finally:
        evil.close()
    assert done.returncode == 1 and "which was not asked for" in done.stderr and os.listdir(here) == []


def test_what_a_guest_names_does_not_reach_the_terminal_raw(instance, here):
    evil = EvilGuest(instance, archive(member("x\x1b]0;owned\x07", tarfile.CHRTYPE)))
    try:
        done = cp(instance, "evil:/x", here, check=False)
    finally:
        evil.close()
    assert done.returncode == 1 and "owned" in done.stderr and "\x1b" not in done.stderr and "\x07" not in done.stderr


def test_set_user_id_and_pipes_do_not_arrive(instance, here):
    evil = EvilGuest(instance, archive(member("x", tarfile.DIRTYPE, mode=0o7777), member("x/s", content=b"#!", mode=0o6755),
                                       member("x/pipe", tarfile.FIFOTYPE)))
    try:
        done = cp(instance, "evil:/x", here / "copy")
    finally:
        evil.close()
    assert "1 sockets, pipes or devices were left out" in done.stderr
    assert os.listdir(here / "copy") == ["s"] and stat.S_IMODE((here / "copy/s").stat().st_mode) == 0o755
    assert stat.S_IMODE((here / "copy").stat().st_mode) == 0o777
