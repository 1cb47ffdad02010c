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
    if not NAME.fullmatch(entry["name"]) or not PACKAGE.fullmatch(entry["apt_package"]):
        sys.exit(f"{source}: bad entry {entry}")
    fields = (json.dumps(entry[key], ensure_ascii=True) for key in ("name", "doc", "apt_package"))
    lines.append("        { " + ", ".join(fields) + " },\n")
with open(target, "w", encoding="utf-8") as file:
    file.write(
        "/* Generated from catalog/kernels.json. */\n"
        '#include "kernel/kernel_store.h"\n\n'
        "static const struct kernel_catalog_entry entries[] = {\n" + "".join(lines) + "};\n\n"
        "const struct kernel_catalog_entry *kernel_catalog(unsigned *ret_n)\n"
        "{\n        *ret_n = sizeof(entries) / sizeof(entries[0]);\n        return entries;\n}\n"
    )
