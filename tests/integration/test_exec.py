"""What a command in a guest can be given: variables, a folder, a user, a time; and what becomes of it when its client goes."""
import signal
import subprocess
import time


def run(instance, vm, *words, check=True, **options):
    return instance.banger("vm", "exec", *words[:-1], vm, "--", "sh", "-c", words[-1], check=check, **options)


def test_variables_reach_the_command_and_win_over_profiles(instance, shared_vm):
    (instance.home / "env").write_text("# two\nFROM_FILE=1\nBOTH=file\n")
    run(instance, shared_vm, "echo 'export BOTH=profile PATH=$PATH:/p' >> /root/.profile")
    done = run(instance, shared_vm, "--env-file", instance.home / "env", "-e", "BOTH=a b=c", "--env", "HERE", "-e", "UNSET_HERE",
               'echo "$FROM_FILE|$BOTH|$HERE|${UNSET_HERE-unset}|$PATH"', env={"HERE": "own"})
    assert done.stdout.startswith("1|a b=c|own|unset|/") and done.stdout.endswith(":/p\n")
    run(instance, shared_vm, "sed -i '/profile PATH/d' /root/.profile")


def test_folder_and_user(instance, shared_vm):
    done = run(instance, shared_vm, "-w", "/var/tmp", "-u", "nobody", "pwd; id -un; echo $HOME $USER; touch /root/x; touch own && rm own")
    assert done.stdout.split() == ["/var/tmp", "nobody", "/nonexistent", "nobody"]
    assert "/root/x" in done.stderr and "Permission denied" in done.stderr and "own" not in done.stderr
    assert run(instance, shared_vm, "-u", "1234:tty", "id -u; id -gn; pwd").stdout.split() == ["1234", "tty", "/"]


def test_what_is_not_there_is_named(instance, shared_vm):
    for words, says in ((("--user", "nobody-knows"), "no user 'nobody-knows'"), (("--user", "root:nogr"), "no group 'nogr'"),
                        (("--workdir", "/no/such"), "enter the folder '/no/such'"),
                        (("--user", "nobody", "--workdir", "/root/.ssh"), "enter the folder '/root/.ssh' as user nobody"),
                        (("--env", "=x"), "'=x' is not a variable"), (("--timeout", "soon"), "'soon' is not a time")):
        done = run(instance, shared_vm, *words, "true", check=False)
        assert done.returncode == 1 and says in done.stderr, done.stderr


def test_a_timeout_ends_all_of_a_command(instance, shared_vm):
    begun = time.monotonic()
    done = run(instance, shared_vm, "--timeout", "1s",
               "trap '' TERM; setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1.25; done' & while :; do sleep 1.25; done", check=False)
    assert done.returncode == 124 and "--timeout 1s" in done.stderr
    assert 2.5 < time.monotonic() - begun < 15
    assert run(instance, shared_vm, "pgrep -f 'sleep 1[.]25' || echo none").stdout == "none\n"
    assert run(instance, shared_vm, "--timeout", "60", "exit 9", check=False).returncode == 9


def test_a_timeout_holds_for_a_new_machine_too(instance):
    done = instance.banger("vm", "run", "--rm", "--timeout", "5", "-e", "X=1", "--", "sh", "-c", "echo $X; sleep 100", check=False)
    assert done.returncode == 124 and done.stdout == "1\n"
    assert instance.leftovers() == []
    refused = instance.banger("vm", "run", "--user", "x", check=False)
    assert refused.returncode == 1 and "are for a command" in refused.stderr


def test_a_command_whose_client_is_killed_gets_sighup(instance, shared_vm):
    process = instance.popen("vm", "exec", shared_vm, "--", "sh", "-c",
                             "trap 'echo hup > /srv/hup; exit' HUP; echo up; while :; do sleep 0.1; done", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert run(instance, shared_vm, "for i in $(seq 200); do [ -s /srv/hup ] && break; sleep 0.1; done; cat /srv/hup").stdout == "hup\n"


def test_a_detached_command_outlives_everything_here(instance, shared_vm):
    vm = shared_vm
    ident = instance.banger("vm", "exec", "-d", "-w", "/var", "-e", "X=1", vm, "--", "sh", "-c",
                            "echo $X $PWD; echo err >&2; while [ ! -e /srv/go ]; do sleep 0.1; done; echo end; exit 5").stdout.strip()
    attached = instance.popen("vm", "session", "attach", vm, ident, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert attached.stdout.readline() == b"1 /var\n"
    instance.end_daemon(signal.SIGKILL)
    attached.send_signal(signal.SIGKILL)
    attached.wait(10)
    shown = {s["id"]: s for s in instance.json("vm", "session", "list", vm)}
    assert shown[ident]["state"] == "running" and "sh -c echo" in shown[ident]["command"]
    letting_go = instance.popen("vm", "session", "attach", vm, ident, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert letting_go.stdout.readline() == b"1 /var\n"
    letting_go.send_signal(signal.SIGINT)
    assert b"the command goes on" in letting_go.communicate(timeout=20)[1] and letting_go.returncode == 130
    waiting = instance.popen("vm", "session", "wait", vm, ident, stdout=subprocess.PIPE)
    run(instance, vm, "touch /srv/go")
    assert waiting.wait(30) == 5 and waiting.stdout.read() == b""
    for _ in range(2):  # kept after its end
        done = instance.banger("vm", "session", "attach", vm, ident, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (5, "1 /var\nend\n", "err\n")
    assert "exited 5" in instance.banger("vm", "session", "list", vm).stdout


def test_detached_output_is_bounded_and_its_loss_told(instance, shared_vm):
    ident = instance.banger("vm", "exec", "-d", shared_vm, "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last").stdout.strip()
    assert instance.banger("vm", "session", "wait", shared_vm, ident, check=False).returncode == 0
    done = instance.banger("vm", "session", "attach", shared_vm, ident)
    assert done.stdout.endswith("x\nlast\n") and 900000 < len(done.stdout) <= 1 << 20 and "were dropped" in done.stderr


def test_detached_commands_are_signalled_and_timed_and_named(instance, shared_vm):
    vm = shared_vm
    ident = instance.banger("vm", "exec", "-d", vm, "--", "sleep", "100").stdout.strip()
    instance.banger("vm", "session", "kill", "--signal", "INT", vm, ident)
    assert instance.banger("vm", "session", "wait", vm, ident, check=False).returncode == 130
    ident = instance.banger("vm", "exec", "-d", "--timeout", "500ms", vm, "--", "sleep", "100").stdout.strip()
    assert instance.banger("vm", "session", "wait", vm, ident, check=False).returncode == 124
    for words, says in ((("exec", "-d", "-u", "none", vm, "--", "true"), "no user 'none'"), (("session", "attach", vm, "12345678"), "no session '12345678'"),
                        (("session", "wait", vm, "../../etc"), "no session"), (("session", "kill", "--signal", "STOP", vm, ident), "is none of")):
        done = instance.banger("vm", *words, check=False)
        assert done.returncode == 1 and says in done.stderr, done.stderr
    assert instance.banger("vm", "exec", "-d", vm, "--", "no-such-command").returncode == 0


def test_64_sessions_at_once(instance, shared_vm):
    """Each waits for its own word, so that all of them are there together."""
    processes = [instance.popen("vm", "exec", shared_vm, "--", "sh", "-c", "echo up; read x; echo $x", stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(64)]
    try:
        for process in processes:
            assert process.stdout.readline() == b"up\n", process.stderr.read()
        for i, process in enumerate(processes):
            out, _ = process.communicate(b"word %d\n" % i, timeout=60)
            assert out == b"word %d\n" % i and process.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_much_output_comes_whole(instance, shared_vm):
    """48 MiB in CI; bench_files.py does it with 1 GiB."""
    done = run(instance, shared_vm, "head -c 50331648 /dev/urandom > /srv/big; sha256sum < /srv/big; cat /srv/big; rm /srv/big", text=False)
    head, _, body = done.stdout.partition(b"\n")
    import hashlib
    assert len(body) == 50331648 and hashlib.sha256(body).hexdigest() == head.split()[0].decode()
