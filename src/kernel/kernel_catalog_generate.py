#!/usr/bin/env python3
"""Turns catalog/kernels.json into the table that kernel_catalog() returns: generate.py IN OUT."""
import json
import re
import sys

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy 5.6.1

source, target = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    entries = json.load(file)
lines = []
for entry in sorted(entries, key=lambda e: e["name"]):
    bundle = entry.get("bundle", {"url": "", "sha256": "", "size": 0})
    package = entry.get("apt_package", "")
    if not NAME.fullmatch(entry["name"]) or not (PACKAGE.fullmatch(package) or bundle["url"]):
        sys.exit(f"{source}: bad entry {entry}")
    words = [entry["name"], entry["doc"], package, entry["distro"], entry["arch"], bundle["url"], bundle["sha256"]]
    fields = [json.dumps(word, ensure_ascii=True) for word in words] + [str(bundle["size"])]
    lines.append("        { " + ", ".join(fields) + " },\n")
with open(target, "w", encoding="utf-8") as file:
    file.write(
        "/* Generated from catalog/kernels.json. */\n"
        '#include "kernel/kernel_store.h"\n\n'
        "const struct kernel_catalog_entry kernel_catalog_entries[] = {\n" + "".join(lines) + "};\n\n"
        f"const unsigned kernel_n_catalog_entries = {len(lines)};\n"
    )
