"""An installation of banger for tests: own folders, own network namespace, an own unprivileged owner, the real programs.

Everything it makes is below one temporary folder and in one namespace; close() takes both away again.
"""
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

OWNER = os.environ.get("BANGER_TEST_OWNER", "banger-test")  # two suites side by side need two owners
PROGRAMS = ("banger", "bangerd", "bangerd-import", "bangerd-root", "banger-qemu", "banger-vsock-agent")


def sh(*argv, check=True, **options):
    return subprocess.run(argv, check=check, capture_output=True, text=True, **options)


def owner_account():
    """The account that owns the VMs of tests, made when missing, with subordinate ids for image builds."""
    try:
        return pwd.getpwnam(OWNER)
    except KeyError:
        sh("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", OWNER)
        account = pwd.getpwnam(OWNER)
        first = 700000 + account.pw_uid * 65536
        sh("usermod", "--add-subuids", f"{first}-{first + 65535}", "--add-subgids", f"{first}-{first + 65535}", OWNER)
        return account


class Instance:
    def __init__(self, programs, cache=None):
        account = owner_account()
        self.uid, self.gid = account.pw_uid, account.pw_gid
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="bgr-", dir="/var/tmp"))
        self.root.chmod(0o755)
        self.bin = self.root / "bin"
        self.home = self.root / "home"
        self.run_folder = self.root / "r"
        self.state = self.home / ".local/state/banger"
        self.runtime = self.run_folder / "banger"
        self.helper_socket = pathlib.Path(f"/run/banger-root-{self.uid}/bangerd-root.sock")
        self.bin.mkdir()
        for name in PROGRAMS:
            shutil.copy2(programs / name, self.bin / name)
        for folder in (self.home, self.run_folder):
            folder.mkdir(mode=0o700)
            os.chown(folder, self.uid, self.gid)
        self.checked = set()  # file systems
        if cache:
            self._seed(cache)
        self.netns = f"bgr-{os.getpid()}"
        sh("ip", "netns", "add", self.netns)
        sh("ip", "-n", self.netns, "link", "set", "lo", "up")
        self.helper_log = open(self.root / "helper.log", "wb")
        self.helper = None
        self.start_helper()

    def _seed(self, cache):
        """Images and kernels are immutable: hard links to those of an earlier run serve."""
        for kind in ("images", "kernels"):
            self.as_owner_mkdir(self.state / kind)
            for folder in (cache / kind).glob("*"):
                sh("cp", "-al", str(folder), str(self.state / kind / folder.name))

    def as_owner_mkdir(self, path):
        sh("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "sh", "-c", 'umask 077; mkdir -p "$1"', "sh", str(path))

    def keep(self, cache):
        """Hard links of what was pulled, for the next run; the cache is below the build folder, perhaps elsewhere."""
        for kind in ("images", "kernels"):
            (cache / kind).mkdir(parents=True, exist_ok=True)
            for folder in (self.state / kind).glob("[!.]*"):
                if not (cache / kind / folder.name).exists():
                    done = sh("cp", "-al", str(folder), str(cache / kind / folder.name), check=False)
                    if done.returncode != 0:  # another file system
                        sh("cp", "-a", "--sparse=always", str(folder), str(cache / kind / folder.name))

    # ---- programs ----

    def environment(self, extra=None):
        env = {
            "HOME": str(self.home),
            "PATH": f"{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_RUNTIME_DIR": str(self.run_folder),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                env[name] = os.environ[name]
        env.update(extra or {})
        return env

    def argv(self, *words):
        return ["ip", "netns", "exec", self.netns, "setpriv", f"--reuid={self.uid}", f"--regid={self.gid}",
                "--clear-groups", "--", *[str(w) for w in words]]

    def pull(self, noun, name):
        """Pulls in the host's own network, since the namespace reaches nothing."""
        self.end_daemon()
        argv = [word for word in self.argv(self.bin / "banger", noun, "pull", name)]
        done = subprocess.run(argv[argv.index("setpriv"):], env=self.environment(), cwd=self.home, capture_output=True, text=True,
                              timeout=1200)
        self.end_daemon()
        assert done.returncode == 0, done.stderr

    def banger(self, *words, check=True, timeout=180, env=None, input=None, cwd=None, text=True):
        done = subprocess.run(self.argv(self.bin / "banger", *words), capture_output=True, timeout=timeout,
                              env=self.environment(env), input=input, cwd=cwd or self.home, text=text)
        if check and done.returncode != 0:
            raise AssertionError(f"banger {' '.join(map(str, words))}: status {done.returncode}\n{done.stderr}")
        if done.returncode == 0 and words[0] in ("image", "vm"):
            self.check_images()
        return done

    def check_images(self):
        """Every ext4 that was made is as e2fsck wants it; those that were looked at and have not changed are not looked at again."""
        for path in (self.state / "images").glob("[!.]*/*.ext4"):
            try:
                known = path.stat()
                known = (known.st_ino, known.st_mtime_ns, known.st_size)
            except FileNotFoundError:
                continue  # deleted or replaced beside this
            if known in self.checked:
                continue
            done = sh("e2fsck", "-fn", str(path), check=False)
            assert done.returncode == 0 or not path.exists(), done.stdout + done.stderr
            self.checked.add(known)

    def show(self, name):
        return json.loads(self.banger("vm", "show", name).stdout)

    def popen(self, *words, env=None, **options):
        return subprocess.Popen(self.argv(self.bin / "banger", *words), env=self.environment(env), cwd=self.home,
                                **options)

    def json(self, *words):
        return json.loads(self.banger(*words, "--json").stdout)

    def rpc(self, method, **params):
        """What a client other than the command line may ask of bangerd: the result, or an error's ValueError."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(self.runtime / "bangerd.sock"))
            data = json.dumps({"version": 1, "method": method, "params": params}).encode()
            sock.sendall(struct.pack("<I", len(data)) + data)
            with sock.makefile("rb") as answers:
                head = answers.read(4)
                if len(head) < 4:
                    raise ValueError(f"bangerd hung up on {method}")
                answer = json.loads(answers.read(struct.unpack("<I", head)[0]))
        if not answer.get("ok"):
            raise ValueError(f"{method}: {answer}")
        return answer["result"]

    # ---- services ----

    def start_helper(self):
        self.helper = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, str(self.bin / "bangerd-root"), "--owner-uid", str(self.uid),
             "--owner-gid", str(self.gid), "--state-dir", str(self.state), "--runtime-dir", str(self.runtime),
             "--socket", str(self.helper_socket)], stdout=self.helper_log, stderr=self.helper_log)
        deadline = time.monotonic() + 10
        while not self.helper_socket.exists():
            assert self.helper.poll() is None, f"bangerd-root ended; see {self.root}/helper.log"
            assert time.monotonic() < deadline, "bangerd-root does not listen"
            time.sleep(0.01)

    def stop_helper(self):
        if self.helper:
            self.helper.terminate()
            self.helper.wait(10)
            self.helper = None

    def daemon_pid(self):
        """The pid of the owner's daemon, or None."""
        for proc in pathlib.Path("/proc").iterdir():
            if not proc.name.isdigit():
                continue
            try:
                words = (proc / "cmdline").read_bytes().split(b"\0")
                if os.readlink(proc / "exe") == str(self.bin / "bangerd") and b"--job" not in words:
                    return int(proc.name)
            except OSError:
                continue
        return None

    def end_daemon(self, sig=signal.SIGTERM):
        pid = self.daemon_pid()
        if pid is None:
            return
        os.kill(pid, sig)
        deadline = time.monotonic() + 20
        while pathlib.Path(f"/proc/{pid}/exe").exists():
            assert time.monotonic() < deadline, "bangerd does not end"
            time.sleep(0.01)

    # ---- what is on the host ----

    def processes(self):
        """{pid: command line} of everything the owner runs but the daemon, the dead not counted."""
        found, daemon = {}, self.daemon_pid()
        for proc in pathlib.Path("/proc").iterdir():
            if not proc.name.isdigit():
                continue
            try:
                if os.stat(proc).st_uid != self.uid:
                    continue
                line = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if line and int(proc.name) != daemon:
                found[int(proc.name)] = line
        return found

    def job_processes(self):
        """{pid: name} of the daemon's job processes; one that waits for its request is called bangerd-spare."""
        found = {}
        for pid, line in self.processes().items():
            if " --job " in line:
                try:
                    found[pid] = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
                except OSError:
                    continue
        return found

    def jobs(self):
        """The pids of those that do something."""
        return [pid for pid, name in self.job_processes().items() if name != "bangerd-spare"]

    def spares(self):
        return [pid for pid, name in self.job_processes().items() if name == "bangerd-spare"]

    def links(self):
        return sorted(link["ifname"] for link in json.loads(sh("ip", "-n", self.netns, "-j", "link").stdout)
                      if link["ifname"] not in ("lo",))

    def nft(self):
        done = sh("ip", "netns", "exec", self.netns, "nft", "list", "ruleset", check=False)
        return done.stdout

    def pool_taps(self):
        """Taps that wait in the daemon's pool: those that no VM has, when they are as many as the daemon knows of. It knows of all when
        it has run for a few seconds: its predecessor's requests may have been under way when it looked first."""
        deadline = time.monotonic() + 30
        while True:
            pool = self.json("daemon", "status")["tap_pool"]
            taken = [vm["tap"] for vm in self.json("vm", "list")]
            waiting = [name for name in self.links() if name.startswith("tap-pool-") and name not in taken]
            if not pool["warming"] and len(waiting) <= pool["ready"]:
                return waiting
            if time.monotonic() > deadline:
                assert not pool["warming"], "the pool does not come to rest"
                return []
            time.sleep(0.05)

    def leftovers(self):
        """What VMs that do not exist (any more) have left on the host; empty when nothing is left. The folder of a VM is
        given back after its delete has been answered."""
        deadline = time.monotonic() + 5
        while (found := self._leftovers()) and all(thing.startswith("folder") for thing in found) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _leftovers(self):
        marks = []
        for vm in self.json("vm", "list"):
            marks += [vm["id"], vm["tap"], vm["address"]]
            if vm.get("vmm_pid"):
                children = pathlib.Path(f"/proc/{vm['vmm_pid']}/task/{vm['vmm_pid']}/children")
                marks += [f"process {pid} " for pid in children.read_text().split()] if children.exists() else []
        pooled = self.pool_taps()
        found = [f"link {name}" for name in self.links() if name.startswith("tap-") and name not in pooled]
        found += [f"process {pid} {line}" for pid, line in self.processes().items() if "--job" not in line]
        for folder in (self.runtime / "vms", self.state / "vms"):
            if folder.is_dir():
                found += [f"folder {entry}" for entry in folder.iterdir()]
        # "tap-fc-*" and "tap-pool-*" are the rule for all taps; one tap's name ends in digits
        found += [f"rule {line.strip()}" for line in self.nft().splitlines()
                  if re.search(r"tap-fc-[0-9a-f]{8}|tap-pool-\d|banger:\d", line)]
        return [thing for thing in found if not any(mark in thing for mark in marks)]

    def close(self):
        self.banger("vm", "list", check=False)
        listed = self.banger("vm", "list", "--json", check=False)
        if listed.returncode == 0:
            for vm in json.loads(listed.stdout or "[]"):
                self.banger("vm", "delete", vm["id"], check=False)
        self.end_daemon()
        self.stop_helper()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        sh("ip", "netns", "del", self.netns, check=False)
        self.helper_log.close()
        shutil.rmtree(self.root, ignore_errors=True)
