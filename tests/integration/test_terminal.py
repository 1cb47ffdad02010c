"""What a person sees: banger in a terminal, driven through tmux, which is a terminal of its own to the program."""
import os
import shlex
import shutil
import signal
import subprocess
import time

import pytest

from conftest import needs
from instance import sh


class Terminal:
    """One tmux server with one window; its socket and the server go with close()."""

    def __init__(self, instance, columns=100, rows=30, env=None):
        self.instance = instance
        self.socket = str(instance.root / f"tmux-{os.urandom(3).hex()}")
        self.env = instance.environment({"PS1": "host> ", **(env or {})})
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), "env", "-i",
                  *[f"{name}={value}" for name, value in self.env.items()], "bash", "--norc", "--noprofile")
        self.tmux("set", "-g", "history-limit", "5000")
        self.wait_for("host> ")

    def tmux(self, *words):
        return sh("tmux", "-S", self.socket, *words).stdout

    def banger(self, *words):
        """Types the command; "status N" follows its end."""
        self.type(shlex.join(self.instance.argv(self.instance.bin / "banger", *words)) + "; echo status $?")

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def key(self, name):
        self.tmux("send-keys", name)

    def screen(self, colours=False):
        return self.tmux("capture-pane", "-p", "-J", "-S", "-", *(["-e"] if colours else []))

    def wait_for(self, wanted, seconds=40):
        """Polls the screen until the text is there; returns all that was seen on the way."""
        seen, deadline = [], time.monotonic() + seconds
        while True:
            now = self.screen()
            if not seen or seen[-1] != now:
                seen.append(now)
            if wanted(now) if callable(wanted) else wanted in now:
                return seen
            assert time.monotonic() < deadline, f"{wanted!r} did not come; the screen:\n{now}"
            time.sleep(0.03)

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def terminal(instance):
    needs(shutil.which("tmux"), "no tmux")
    made = []

    def make(**options):
        made.append(Terminal(instance, **options))
        return made[-1]

    yield make
    for it in made:
        it.close()


def test_a_run_without_a_command_is_a_shell_that_follows_the_window(instance, terminal):
    it = terminal()
    it.banger("vm", "run", "--name", "term-shell")
    seen = it.wait_for("root@term-shell")
    # while it was made: one live line, whose time goes on between the daemon's events
    live = {line for screen in seen for line in screen.splitlines() if line.startswith("agent ")}
    assert len(live) >= 3, live
    assert "spec: " in seen[-1] and "ready in " in seen[-1]
    it.type("stty size")
    it.wait_for("30 100")
    it.tmux("resize-window", "-x", "91", "-y", "27")
    time.sleep(0.5)
    it.type("stty size")
    it.wait_for("27 91")
    it.type("exit")
    it.wait_for("status 0")
    screen = it.screen().replace("\n", "")
    assert "vm 'term-shell' is still running" in screen and "banger vm delete term-shell" in screen
    # the terminal is the caller's again
    it.type("stty -a | tr ' ;' '\\n' | grep -x -e -echo -e -icanon | wc -l")
    it.wait_for("\n0\n")
    instance.banger("vm", "delete", "term-shell")


def test_a_shell_with_rm_leaves_nothing_and_its_status_is_no_verdict(instance, terminal):
    it = terminal()
    it.banger("vm", "run", "--rm", "--name", "term-rm")
    it.wait_for("root@term-rm")
    it.type("exit 3")
    it.wait_for("status 0")
    assert "still running" not in it.screen()
    assert instance.leftovers() == []


def test_ctrl_c_while_it_is_made_undoes_it(instance, terminal):
    it = terminal()
    it.banger("vm", "run", "--name", "term-int", "--", "true")
    it.wait_for("agent ")
    it.key("C-c")
    time.sleep(0.5)
    it.type("echo status $?")  # a command that dies by SIGINT ends the line it is part of
    it.wait_for("status 130", seconds=10)
    deadline = time.monotonic() + 10
    while instance.json("vm", "list") != [] or instance.leftovers() != []:
        assert time.monotonic() < deadline, (instance.json("vm", "list"), instance.leftovers())
        time.sleep(0.1)


def test_colours_are_off_with_no_color_and_on_without(instance, terminal):
    it = terminal()
    it.banger("vm", "show", "no-such-vm")
    it.wait_for("status 1")
    assert "\033[31mbanger:" in it.screen(colours=True)
    it = terminal(env={"NO_COLOR": "1"})
    it.banger("vm", "show", "no-such-vm")
    it.wait_for("status 1")
    assert "banger:" in it.screen() and "\033[3" not in it.screen(colours=True)


def test_piped_progress_is_plain_lines(instance):
    done = instance.banger("vm", "run", "--rm", "--", "true")
    assert "\033" not in done.stderr and "\r" not in done.stderr
    assert any(line.startswith("agent ") for line in done.stderr.splitlines())


# ---- signals, in every phase of a run with --rm ----

@pytest.mark.parametrize("after, sig", [("spec:", signal.SIGTERM), ("vmm ", signal.SIGINT), ("vmm ", signal.SIGTERM),
                                        ("vmm ", signal.SIGHUP), ("agent ", signal.SIGTERM)])
def test_a_signal_in_any_phase_leaves_nothing(instance, after, sig):
    process = instance.popen("vm", "run", "--rm", "--", "sleep", "100", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith(after):
            break
    process.send_signal(sig)
    assert process.wait(20) in (-sig, 128 + sig)
    process.stderr.close()
    deadline = time.monotonic() + 10
    while instance.leftovers() != [] or instance.json("vm", "list") != []:
        assert time.monotonic() < deadline, instance.leftovers()
        time.sleep(0.1)


def test_several_names_at_once_are_done_together_and_in_order(instance):
    for name in ("many-b", "many-a"):
        instance.banger("vm", "create", "--name", name, "--no-start")
    done = instance.banger("vm", "delete", "many-b", "no-such", "many-a", "many-b", check=False)
    assert done.returncode == 1
    assert done.stdout == "many-b\nmany-a\n"
    assert "no vm named 'no-such'" in done.stderr
    assert instance.json("vm", "list") == []
