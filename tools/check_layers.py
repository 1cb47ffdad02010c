#!/usr/bin/env python3
"""Fails when a file includes from a folder its own folder may not use. LAYERS is the architecture; ARCHITECTURE.md quotes it."""
import pathlib
import re
import sys

LAYERS = {
    "base": set(),
    "tar": {"base"},
    "rpc": {"base"},
    "api": {"rpc", "base"},
    "privileged/contract": {"rpc", "base"},
    "privileged/client": {"privileged/contract", "rpc", "base"},
    "privileged/helper": {"privileged/contract", "rpc", "base"},
    "guest/contract": {"rpc", "base"},
    "guest/client": {"guest/contract", "tar", "rpc", "base"},
    "guest/agent": {"guest/contract", "tar", "rpc", "base"},
    "vmm/contract": {"base"},
    "vmm/client": {"vmm/contract", "base"},
    "vmm/qemu": {"vmm/contract", "base"},
    "store": {"base"},
    "bundle": {"base"},
    "ext4": {"base"},
    "storage": {"ext4", "privileged/client", "base"},
    "kernel": {"bundle", "store", "base"},
    "image/oci": {"ext4", "base"},
    "image": {"bundle", "image/oci", "ext4", "storage", "store", "base"},
    "network": {"privileged/client", "store", "base"},
    "workspace": {"guest/client", "base"},
    "vm": {"kernel", "storage", "network", "image", "guest/client", "vmm/client", "store", "base"},
    "doctor": {"vmm/client", "kernel", "image", "network", "storage", "privileged/client", "store", "api", "rpc",
               "base"},
    "daemon": {"vm", "kernel", "image", "network", "storage", "store", "guest/client", "vmm/client", "privileged/client",
               "doctor", "api", "rpc", "base"},
    "cli": {"api", "rpc", "base", "guest/client", "workspace", "tar"},
}


def folder_of(path):
    parts = path.parts
    for depth in (2, 1):
        name = "/".join(parts[:depth])
        if name in LAYERS:
            return name
    return None


def violations(src):
    for file in sorted(src.rglob("*.[ch]")):
        home = folder_of(file.relative_to(src))
        if home is None:
            yield f"{file}: folder is not in LAYERS"
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            include = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not include:
                continue
            target = folder_of(pathlib.Path(include.group(1)))
            if target is None:
                yield f"{file}:{number}: include by path from src/: \"{include.group(1)}\""
            elif target != home and target not in LAYERS[home]:
                yield f"{file}:{number}: {home} may not use {target}"


if __name__ == "__main__":
    found = list(violations(pathlib.Path(sys.argv[1])))
    print("\n".join(found))
    sys.exit(bool(found))
