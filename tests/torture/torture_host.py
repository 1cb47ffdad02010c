"""What is on the host, in words that two moments can be compared by: two equal states give equal lists.

Names that differ from one VM to the next (ids, addresses, pids) are replaced by the VM's role, so that a VM made
again looks as its predecessor did.
"""
import json
import os
import pathlib
import re
import sqlite3
import stat

from instance import sh

ROW = "name, image, kernel, vcpu, memory_mib, disk_bytes, nat, workspace_json"
# A log is there or not yet; the database keeps files of its own; locks stay.
IGNORED = re.compile(r"/(console|vmm)\.log$|/banger\.db(-wal|-shm)?$|/bangerd\.lock$|/ssh/known_hosts$")


class Host:
    def __init__(self, instance):
        self.it = instance

    def rows(self):
        """What the store holds of VMs, read as any reader may."""
        db = sqlite3.connect(f"file:{self.it.state}/banger.db?mode=ro", uri=True, timeout=10)
        try:
            return db.execute(f"SELECT id, address, tap, {ROW} FROM vms ORDER BY name").fetchall()
        finally:
            db.close()

    def _names(self):
        """[(what to look for, what to say instead)] of the VMs that there are."""
        names = []
        for vm_id, address, tap, name, *_ in self.rows():
            names += [(vm_id, f"<id of {name}>"), (tap or "tap-fc-" + vm_id[:8], f"<tap of {name}>")]
            if address:
                numbers = [int(part) for part in address.split(".")]
                mac = "06:00:" + ":".join(f"{n:02x}" for n in numbers)
                names += [(address, f"<address of {name}>"), (mac, f"<mac of {name}>")]
        return names

    def links(self):
        links = json.loads(sh("ip", "-n", self.it.netns, "-d", "-j", "link").stdout)
        found = []
        for link in links:
            port = (link.get("linkinfo") or {}).get("info_slave_data") or {}
            found.append(f"link {link['ifname']} master {link.get('master')} isolated {port.get('isolated')}")
        addresses = json.loads(sh("ip", "-n", self.it.netns, "-4", "-j", "addr").stdout)
        for link in addresses:
            found += [f"address {a['local']}/{a['prefixlen']} of {link['ifname']}" for a in link["addr_info"]]
        return found

    def rules(self):
        # handles and counters are the kernel's business
        text = re.sub(r"counter packets \d+ bytes \d+", "counter", self.it.nft())
        return [f"rule {line.strip()}" for line in text.splitlines() if line.strip()]

    def loops(self):
        return [f"loop {line}" for line in sh("losetup", "-n", "-O", "BACK-FILE").stdout.splitlines() if str(self.it.root) in line]

    def mounts(self):
        lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        return [f"mount {line.split()[4]}" for line in lines if str(self.it.root) in line]

    def processes(self):
        found = []
        ids = [row[0] for row in self.rows()]
        spares = self.it.spares()
        for pid, line in self.it.processes().items():
            if pid in spares:
                continue  # there is one when nothing is done
            whose = [vm_id for vm_id in ids if vm_id in line]
            found.append(f"process {line.split()[0]} of {whose[0]}" if whose else f"process {line[:200]}")
        helper = self.it.helper.pid if self.it.helper and self.it.helper.poll() is None else 0
        children = pathlib.Path(f"/proc/{helper}/task/{helper}/children")
        if children.exists():
            found += ["process of the helper" for _ in children.read_text().split()]
        return found

    def sockets(self):
        daemon = self.it.daemon_pid()
        if daemon is None:
            return []
        found = []
        for line in pathlib.Path(f"/proc/{daemon}/net/unix").read_text().splitlines()[1:]:
            words = line.split()
            if len(words) > 7 and int(words[3], 16) & 0x10000:  # it listens (SO_ACCEPTCON)
                found.append(f"socket {words[7]}")
        return found

    def files(self):
        found = []
        for top in (self.it.home, self.it.run_folder, self.it.helper_socket.parent):
            for folder, folders, names in os.walk(top):
                for name in folders + names:
                    path = os.path.join(folder, name)
                    if IGNORED.search(path):
                        continue
                    try:
                        st = os.lstat(path)
                    except FileNotFoundError:
                        continue
                    is_disk = path.endswith((".ext4", "vmlinux")) or "initramfs" in path
                    found.append(f"{stat.filemode(st.st_mode)} {st.st_uid} {st.st_size if is_disk else ''} {path}")
        return found

    def snapshot(self):
        """{kind: sorted lines}."""
        kinds = {
            "links": self.links(), "rules": self.rules(), "loops": self.loops(), "mounts": self.mounts(),
            "processes": self.processes(), "sockets": self.sockets(), "files": self.files(),
            "rows": ["row " + repr(row[3:]) for row in self.rows()],
        }
        names = self._names()
        for kind, lines in kinds.items():
            said = []
            for line in lines:
                for what, instead in names:
                    line = re.sub(rf"(?<![\w.]){re.escape(what)}(?![\w])", instead, line)
                line = re.sub(r"tap-pool-\d+", "<spare tap>", line)  # which of them is whose does not matter
                said.append(line.replace(str(self.it.root), "<root>"))
            kinds[kind] = sorted(said)
        return kinds


def difference(before, after):
    """Lines "- kind: what is gone" and "+ kind: what is there in addition"; empty when both are the same."""
    found = []
    for kind in before:
        old, new = list(before[kind]), list(after[kind])
        for line in before[kind]:
            if line in new:
                new.remove(line)
                old.remove(line)
        found += [f"- {kind}: {line}" for line in old] + [f"+ {kind}: {line}" for line in new]
    return found
