#!/usr/bin/python3
"""The kill harness. One operation of banger runs; one process of banger is killed just before its Nth system call; then
the dead are started again as an init would, and the host must be as if nothing had happened.

    torture.py                            bounded: about a minute, as `make check` runs it
    torture.py --kills 2000               the long run
    torture.py --seed 7 --kills 100       again what seed 7 did
    torture.py --only exec:vmm            only the VMM, only while a command runs in its guest
    torture.py --replay stop:job:412      one kill, again

Operations run on a VM called "target". Beside it lives "witness", which nothing is done to: it must live on, the same process
and the same boot, with its file, whatever is killed. After every kill what is on the host (torture_host.py) must equal
what was there when "target" was in the same state and nothing had been killed yet; a file that the guest had synced must
be there at the next start; and what the command line told its user must be true.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/integration"))

from instance import Instance  # noqa: E402
from torture_host import Host, difference  # noqa: E402

SETTLE_S = 60
COMMAND_S = 120
NOTICE_S = 2  # from a VMM's end until the daemon says so
CALLS_MAX = 6000  # of one role in one operation that are told apart

ABSENT, STOPPED, RUNNING = "absent", "stopped", "running"
CREATE = ["vm", "create", "--vcpu", "1", "--memory", "256MiB", "--disk-size", "64MiB", "--name"]


class Failure(Exception):
    pass


class Operation:
    """name; the state the target must be in; the words; which roles may die; the states it may end in."""

    def __init__(self, name, needs, words, roles, done, undone, weight=1):
        self.name, self.needs, self.words, self.roles = name, needs, words, roles
        self.done, self.undone, self.weight = done, undone, weight


# done: the state of the target when the command succeeded; undone: when it failed.
OPERATIONS = [
    Operation("create-stopped", ABSENT, [*CREATE, "target", "--nat", "--no-start"], ["daemon", "job"],
              {STOPPED}, {ABSENT, STOPPED}, 2),
    Operation("create", ABSENT, [*CREATE, "target", "--nat"], ["daemon", "job", "helper", "vmm"],
              {RUNNING}, {ABSENT, STOPPED, RUNNING}, 4),
    Operation("start", STOPPED, ["vm", "start", "target"], ["daemon", "job", "helper", "vmm"],
              {RUNNING}, {STOPPED, RUNNING}, 4),
    Operation("delete-stopped", STOPPED, ["vm", "delete", "target"], ["daemon", "job"], {ABSENT}, {ABSENT, STOPPED}, 2),
    Operation("stop", RUNNING, ["vm", "stop", "target"], ["daemon", "job", "helper", "vmm"],
              {STOPPED}, {STOPPED, RUNNING}, 2),
    Operation("restart", RUNNING, ["vm", "restart", "target"], ["daemon", "job", "helper", "vmm"],
              {RUNNING}, {STOPPED, RUNNING}, 2),
    Operation("delete", RUNNING, ["vm", "delete", "target"], ["daemon", "job", "helper", "vmm"],
              {ABSENT}, {ABSENT, STOPPED, RUNNING}, 2),
    Operation("exec", RUNNING, ["vm", "exec", "target", "--", "sh", "-c", "cat /root/marker; exit 7"], ["daemon", "vmm"],
              {RUNNING, STOPPED}, {STOPPED, RUNNING}),
    Operation("import", STOPPED, ["kernel", "import", "spare", "--from", "KERNEL"], ["daemon", "job"],
              {STOPPED}, {STOPPED}, 2),
]
BY_NAME = {operation.name: operation for operation in OPERATIONS}


def syscall_names():
    """{number: name} of this host, for people."""
    text = subprocess.run(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], capture_output=True,
                          text=True, check=False).stdout
    return {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


class Tracer:
    """A running torture-tracer (torture_tracer.c)."""

    def __init__(self, program, role, n, daemon, helper, others):
        self.process = subprocess.Popen([program, role, str(n), str(daemon), str(helper), *map(str, others)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n", "torture-tracer did not start"

    def end(self):
        """("killed", rest) or ("counted", n)."""
        self.process.send_signal(signal.SIGTERM)
        try:
            said = self.process.communicate(timeout=20)[0].split(None, 1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure("torture-tracer does not let go") from None
        assert said, "torture-tracer said nothing"
        return said[0], said[1].strip()


class Torture:
    def __init__(self, options, instance, log):
        self.it, self.log, self.options = instance, log, options
        self.host = Host(instance)
        self.random = random.Random(options.seed)
        self.syscalls = syscall_names()
        self.counts, self.done = {}, {}  # (operation, role): calls there are; those killed at
        self.baseline, self.witness, self.marked = {}, None, None
        self.n_kills = self.n_missed = 0

    # ---- asking ----

    def rpc(self, method):
        try:
            return self.it.rpc(method)
        except ValueError as error:
            raise Failure(str(error)) from None

    def vms(self):
        return {vm["name"]: vm for vm in self.rpc("vm.list")["vms"]}

    def target_state(self):
        vm = self.vms().get("target")
        if vm is None:
            return ABSENT
        return RUNNING if vm["state"] == "running" else STOPPED

    def run(self, *words, expect=0):
        try:
            done = self.it.banger(*words, check=False, timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"banger {' '.join(words)}: no end after {COMMAND_S} s\n{self.console_tails()}") from None
        if expect is not None and done.returncode != expect:
            raise Failure(f"banger {' '.join(words)}: status {done.returncode}: {done.stderr.strip()}")
        return done

    def console_tails(self):
        """What the guests said last, for people."""
        tails = []
        for log in (self.it.state / "vms").glob("*/*.log"):
            tails += [f"    {log.name}: {line}" for line in log.read_text(errors="replace").splitlines()[-5:]]
        return "\n".join(tails)

    # ---- coming to rest ----

    def revive(self):
        """What systemd does: the helper runs; bangerd comes back with the next request."""
        if self.it.helper.poll() is not None:
            self.it.start_helper()
        if self.it.daemon_pid() is None:
            self.run("daemon", "start")

    def settle(self):
        deadline = time.monotonic() + SETTLE_S
        while True:
            self.revive()
            try:
                busy = [o for o in self.rpc("daemon.operations.list")["operations"] if not o["done"]]
            except (OSError, ValueError, Failure):
                busy = ["no answer"]
            jobs = self.it.jobs()
            if not busy and not jobs:
                return
            if time.monotonic() > deadline:
                raise Failure(f"does not come to rest: {busy} {jobs}")
            time.sleep(0.02)

    # ---- the target ----

    def mark(self):
        """A file that is synced: from here on nothing may lose it."""
        self.run("vm", "exec", "target", "--", "sh", "-c", "echo kept > /root/marker; sync")
        self.marked = self.vms()["target"]["id"]

    def check_marker(self):
        if self.vms()["target"]["id"] != self.marked:  # one that an operation under test made
            self.mark()
        done = self.run("vm", "exec", "target", "--", "cat", "/root/marker")
        if done.stdout != "kept\n":
            raise Failure(f"the target's file is lost: {done.stdout!r} {done.stderr.strip()}")

    def bring_to(self, wanted):
        state = self.target_state()
        if state == wanted:
            if wanted == RUNNING:
                self.check_marker()
            return
        if wanted == ABSENT:
            self.run("vm", "delete", "target")
        elif state == ABSENT:
            self.run(*CREATE, "target", "--nat")
            self.check_marker()
            if wanted == STOPPED:
                self.run("vm", "stop", "target")
        elif wanted == STOPPED:
            self.run("vm", "stop", "target")
        else:
            self.run("vm", "start", "target")
            self.check_marker()

    def take_baseline(self):
        """The three states as they are when nothing was ever killed."""
        self.run(*CREATE, "witness")
        self.run("vm", "exec", "witness", "--", "sh", "-c", "echo seen > /root/marker; sync")
        self.witness = self.vms()["witness"]
        for state in (STOPPED, RUNNING, ABSENT):
            self.bring_to(state)
            self.settle()
            self.baseline[state] = self.host.snapshot()

    # ---- what must hold ----

    def check_witness(self):
        now = self.vms().get("witness")
        if now is None or now["state"] != "running":
            raise Failure(f"the witness is lost: {now}")
        for field in ("boot_id", "vmm_pid"):
            if now[field] != self.witness[field]:
                raise Failure(f"the witness has another {field}: {now[field]} instead of {self.witness[field]}")
        if self.run("vm", "exec", "witness", "--", "cat", "/root/marker").stdout != "seen\n":
            raise Failure("the witness's file is lost")

    def check_word(self, operation, status, said):
        """What the command told its user is true; a failure is told."""
        state = self.target_state()
        if status < 0:
            raise Failure(f"banger itself died of signal {-status}")
        good = 7 if operation.name == "exec" else 0
        allowed = operation.done if status == good else operation.undone
        if state not in allowed:
            raise Failure(f"status {status}, but the target is {state}: {said.strip()}")
        if status not in (good,) and "banger:" not in said:
            raise Failure(f"status {status} without a word: {said!r}")
        return state

    def check_host(self, state):
        """Again a little later when it differs: an exit takes the kernel a moment, filling the pool of taps a few requests."""
        for pause in (0, 0.2, 0.5, 1.0, 3.0):
            time.sleep(pause)
            found = difference(self.baseline[state], self.host.snapshot())
            if not found:
                return
        raise Failure("the host differs:\n    " + "\n    ".join(found))

    def check_kernels(self):
        spare = [k for k in self.rpc("kernel.list")["kernels"] if k["name"] == "spare"]
        if spare:
            self.run("kernel", "show", "spare")
            self.run("kernel", "delete", "spare")

    # ---- one kill ----

    def words_of(self, operation):
        return [str(self.options.kernel) if word == "KERNEL" else word for word in operation.words]

    def vmms(self, role):
        """The target's processes, as the tracer is told of them, when they are what dies."""
        vm = self.vms().get("target")
        if role != "vmm" or vm is None:
            return []
        return [f"vmm:{pid}" for pid, line in self.it.processes().items() if vm["id"] in line and " --job " not in line]

    def attempt(self, operation, role, n):
        """Runs it with a kill at the Nth call (0: none). What the tracer said."""
        self.bring_to(operation.needs)
        self.settle()
        vmms = self.vmms(role)
        tracer = Tracer(self.options.tracer, role, n, self.it.daemon_pid(), self.it.helper.pid, self.it.spares() + vmms)
        command = self.it.popen(*self.words_of(operation), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            said = command.communicate(timeout=COMMAND_S)[1]
        except subprocess.TimeoutExpired:
            command.kill()
            tracer.end()
            raise Failure("the command hangs") from None
        self.settle_traced(tracer)
        outcome = tracer.end()
        self.settle()
        if any(vm["state"] == "error" for vm in self.vms().values()):
            self.it.end_daemon()  # it was told that something could not be undone; the next one undoes it
            self.settle()
        self.check_kernels()
        if outcome[0] == "killed" and vmms and operation.name != "restart":
            self.wait_for_vmms_end()
        state = self.check_word(operation, command.returncode, said)
        self.check_witness()
        self.check_host(state)
        return outcome

    def wait_for_vmms_end(self):
        """The kill may come when the command is done: QEMU's end, banger-qemu's and the daemon's word follow each other."""
        deadline = time.monotonic() + NOTICE_S
        while self.target_state() == RUNNING:
            if time.monotonic() > deadline:
                raise Failure("the target is said to run, and its VMM was killed")
            time.sleep(0.02)

    def settle_traced(self, tracer):
        """What the operation left to do belongs to it: the tracer stays until it is done, or has killed."""
        deadline = time.monotonic() + 5
        while tracer.process.poll() is None and time.monotonic() < deadline:
            if not self.it.jobs():
                return
            time.sleep(0.01)

    def describe(self, outcome, rest):
        if outcome != "killed":
            return "not reached"
        role, pid, number, program = (rest.split(None, 3) + [""])[:4]
        return f"{role} ({os.path.basename(program)}) at {self.syscalls.get(int(number), number)}"

    def kill(self, operation, role, n):
        started = time.monotonic()
        try:
            outcome, rest = self.attempt(operation, role, n)
        except Failure as failure:
            raise Failure(f"{operation.name}:{role}:{n}: {failure}") from None
        if outcome == "killed":
            self.n_kills += 1
        else:
            self.n_missed += 1
            # fewer calls than the count: they vary a little with the time of day
        print(f"{operation.name}:{role}:{n} {self.describe(outcome, rest)}, {time.monotonic() - started:.1f} s", file=self.log, flush=True)

    def count(self, operation, role):
        outcome, rest = self.attempt(operation, role, 0)
        assert outcome == "counted"
        self.counts[operation.name, role] = int(rest)
        self.done[operation.name, role] = set()
        print(f"{operation.name}:{role} makes {rest} system calls", file=self.log, flush=True)

    def choose(self):
        """By weight, of the operations that the target's state allows as it is, so that no boot is made just for another one."""
        state = self.target_state()
        fitting = [o for o in self.operations if o.needs == state] or self.operations
        operation = self.random.choices(fitting, [o.weight for o in fitting])[0]
        return operation, self.random.choice([role for role in operation.roles if self.is_wanted(operation.name, role)])

    def is_wanted(self, name, role):
        return not self.options.only or name in self.options.only or f"{name}:{role}" in self.options.only

    def run_all(self):
        self.operations = [o for o in OPERATIONS if any(self.is_wanted(o.name, role) for role in o.roles)]
        self.take_baseline()
        if self.options.replay:
            name, role, n = self.options.replay.split(":")
            self.kill(BY_NAME[name], role, int(n))
            return
        deadline = time.monotonic() + self.options.seconds if self.options.seconds else None
        while self.n_kills < self.options.kills and (deadline is None or time.monotonic() < deadline):
            try:
                self.step()
            except Failure as failure:
                if not self.options.keep_going:
                    raise
                print(f"FAILURE {failure}", file=self.log, flush=True)
                self.failures.append(str(failure))
                self.start_over()

    def step(self):
        """One kill, at a call that was not tried yet."""
        operation, role = self.choose()
        key = (operation.name, role)
        try:
            if key not in self.counts:
                self.count(operation, role)
        except Failure as failure:
            raise Failure(f"{operation.name}:{role}, nothing killed: {failure}") from None
        left = [n for n in range(1, min(self.counts[key], CALLS_MAX) + 1) if n not in self.done[key]]
        if left:
            n = self.random.choice(left)
            self.done[key].add(n)
            self.kill(operation, role, n)

    failures = []

    def start_over(self):
        """After a failure that was noted: everything of ours away, and the witness again."""
        for vm in self.vms().values():
            self.run("vm", "delete", vm["id"], expect=None)
        for pid in self.it.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for name in self.it.links():
            if name.startswith("tap-"):
                subprocess.run(["ip", "-n", self.it.netns, "link", "del", name], check=False)
        for folder in (self.it.state / "kernels").glob(".staging-*"):
            shutil.rmtree(folder)
        self.settle()
        self.take_baseline()

    def report(self, failed):
        print(f"{self.n_kills} kills (and {self.n_missed} that were not reached), seed {self.options.seed}")
        for (name, role), total in sorted(self.counts.items()):
            print(f"  {name:15} {role:7} {len(self.done[name, role]):5} of {total} system calls")
        if self.failures or failed:
            print(f"{len(self.failures) or 1} failures")
        else:
            print("nothing leaked, nothing lost" if self.n_kills else "nothing was killed, so nothing is shown")


def options_of(argv):
    parser = argparse.ArgumentParser(description="Kills banger's processes at their system calls and looks for what that leaves.")
    parser.add_argument("--kills", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=0, help="no further kill after this long")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", action="append", help="this OPERATION or OPERATION:ROLE alone (may be repeated)")
    parser.add_argument("--replay", help="OPERATION:ROLE:N")
    parser.add_argument("--keep-going", action="store_true", help="note failures and go on")
    parser.add_argument("--keep", action="store_true", help="leave everything as it is after a failure")
    parser.add_argument("--log", default="-", help="where each kill is told (default: standard output)")
    parser.add_argument("--programs", type=pathlib.Path, default=pathlib.Path(os.environ.get("BANGER_BIN", TOP / "build-check/bin")))
    parser.add_argument("--tracer", default=None)
    parser.add_argument("--cache", type=pathlib.Path, default=None)
    options = parser.parse_args(argv)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 31)
    if not options.seconds and options.kills == 10**9 and not options.replay:
        options.seconds = 45
    options.tracer = options.tracer or str(options.programs.parent / "tests/torture/torture-tracer")
    options.cache = options.cache or pathlib.Path(os.environ.get("BANGER_TEST_CACHE", options.programs.parent / "test-cache"))
    return options


def main(argv):
    options = options_of(argv)
    log = sys.stdout if options.log == "-" else open(options.log, "a")
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")  # LeakSanitizer cannot work in a traced process
    instance = Instance(options.programs, options.cache)
    options.kernel = next((instance.state / "kernels").glob("*/vmlinux"), None)
    if not options.kernel:
        instance.close()
        sys.exit(f"torture: no kernel in {options.cache}; the integration tests pull one into it, or --cache names another folder")
    print(f"torture: seed {options.seed}", flush=True)
    torture = Torture(options, instance, log)
    failed = False
    try:
        torture.run_all()
    except Failure as failure:
        failed = True
        print(f"FAILURE (seed {options.seed}): {failure}", flush=True)
        if options.keep:
            print(f"left as it is: {instance.root}, network namespace {instance.netns}")
            os._exit(1)
    finally:
        if not (failed and options.keep):
            torture.report(failed)
            instance.close()
    return 1 if failed or torture.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
