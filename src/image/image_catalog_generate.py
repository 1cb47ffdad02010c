#!/usr/bin/env python3
"""catalog/images.json and the scripts beside it become C tables: arguments JSON OUTPUT."""
import json
import pathlib
import sys


def c_string(text):
    lines = text.splitlines(keepends=True) or [""]
    escape = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    return "\n        ".join('"' + "".join(escape.get(c, c) for c in line) + '"' for line in lines)


def c_list(words):
    return "(const char *const[]){ " + "".join(c_string(word) + ", " for word in words) + "NULL }"


def recipe(image, folder):
    script = "masked_units='%s'\n%s" % (" ".join(image["masked_units"]), (folder / image["customize"]).read_text())
    fields = {
        "suite": c_string(image["suite"]),
        "customize": c_string(script),
        "packages": c_list(image["packages"]),
        "n_packages": str(len(image["packages"])),
        "excluded_paths": c_list(image["excluded_paths"]),
        "included_paths": c_list(image["included_paths"]),
    }
    return "{\n" + "".join(f"        .{name} = {value},\n" for name, value in fields.items()) + "}"


def entry(image):
    bundle = image.get("bundle", {"url": "", "sha256": "", "size": 0})
    words = [image[key] for key in ("name", "doc", "kernel", "distro", "arch")] + [bundle["url"], bundle["sha256"]]
    return "{ %s, %d }" % (", ".join(c_string(word) for word in words), bundle["size"])


def main(source, output):
    source = pathlib.Path(source)
    images = json.loads(source.read_text())
    entries = ",\n".join(entry(image) for image in images)
    recipes = ",\n".join(recipe(image, source.parent) for image in images)
    pathlib.Path(output).write_text(
        '#include <stddef.h>\n\n#include "image/image_recipe.h"\n\n'
        f"const struct image_catalog_entry image_catalog_entries[] = {{\n{entries}\n}};\n"
        f"const struct image_recipe image_recipes[] = {{\n{recipes}\n}};\n"
        f"const unsigned image_n_recipes = {len(images)};\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
