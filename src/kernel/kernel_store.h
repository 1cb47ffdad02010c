/*
 * kernel/: kernels are immutable, named, stored once, each a folder <kernels>/<name>/ with manifest.json,
 * vmlinux (ELF with a PVH note where the kernel has one), and initramfs.cpio made by us: the agent as /init plus the
 * modules the guest needs, in loading order. It runs as the owner and needs no root.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* All owned; kernel_free accepts NULL members. */
struct kernel {
        char *name;
        char *version;        /* "6.1.0-40-cloud-amd64" */
        char *distro;         /* "debian" or "" */
        char *source;         /* "apt:linux-image-cloud-amd64", "file:..." */
        char *sha256;         /* of vmlinux, lower-case hex */
        char *vmlinux_path;   /* absolute */
        char *initramfs_path; /* absolute */
        char *imported_at;    /* RFC 3339 */
        uint64_t bytes;       /* of the folder's files */
        unsigned n_modules;
};

void kernel_done(struct kernel *kernel);

/* a-z A-Z 0-9 . - _, at most 64, no leading dot. */
bool kernel_name_is_valid(const char *name);

struct kernel_progress {
        /* stage: "download", "unpack", "modules", "publish"; total 0: unknown. A return < 0 cancels. NULL: nobody asks. */
        int (*report)(void *userdata, const char *stage, uint64_t done, uint64_t total);
        void *userdata;
};

struct kernel_import {
        const char *name;
        const char *kernels_folder; /* made when missing */
        /* one of: a .deb, a folder of an unpacked package (boot/ and lib/modules/), a vmlinux or bzImage file */
        const char *from;
        const char *
                modules_folder; /* lib/modules/<version> when `from` is a plain kernel file; NULL: built-in drivers */
        const char *distro;     /* NULL: unknown */
        const char *agent_path; /* the static agent that becomes /init */
        bool replace;           /* false: EEXIST "already pulled" when the name exists (S-068) */
        struct kernel_progress progress;
};

/* Stages beside the destination, renames at the end: a failure or kill leaves no kernel tree (S-260). */
int kernel_import(const struct kernel_import *import, struct kernel *ret_kernel, struct err *err);

/*
 * A catalog entry: "debian-6.1" = package linux-image-cloud-amd64 by apt, which verifies it, or a bundle, a .tar.zst of
 * manifest.json, vmlinux and, when drivers are not built in, modules/ (a lib/modules/<version>).
 */
struct kernel_catalog_entry {
        const char *name;
        const char *doc;
        const char *apt_package; /* "": it is a bundle */
        const char *distro, *arch;
        const char *url, *sha256; /* of the bundle; "": none */
        uint64_t size;            /* of the bundle, bytes; 0: unknown */
};
/* What was built in, and what kernel_catalog_add() has added. The first of a name counts. */
const struct kernel_catalog_entry *kernel_catalog(unsigned *ret_n);
/* NULL: no such name. */
const struct kernel_catalog_entry *kernel_catalog_find(const char *name);
/* Adds the entries of a catalog of the user's, all of them bundles, before those built in. A missing file is an empty
 * one. EBADMSG names the entry. A second call's entries take the place of the first's. */
int kernel_catalog_add(const char *path, struct err *err);
extern const struct kernel_catalog_entry kernel_catalog_entries[];
extern const unsigned kernel_n_catalog_entries;

/* Downloads and imports. ENOENT when the name is not in the catalog (names the known ones). */
int kernel_pull(const struct kernel_import *import /* .from unused */, const char *cache_folder,
                struct kernel *ret_kernel, struct err *err);

/* The same from a bundle: staged below kernel_fetched_bytes_max, hashed, and only then unpacked (S-259). */
int kernel_pull_bundle(const struct kernel_import *import /* .from unused */,
                       const struct kernel_catalog_entry *bundle, struct kernel *ret_kernel, struct err *err);

int kernel_read(const char *kernels_folder, const char *name, struct kernel *ret_kernel,
                struct err *err); /* ENOENT */
/* Sorted by name; each to be released with kernel_done, the array with free. */
int kernel_list(const char *kernels_folder, struct kernel **ret_kernels, unsigned *ret_n, struct err *err);
/* Removes what imports and pulls that were killed have left. The number of those that still run. */
unsigned kernel_sweep(const char *kernels_folder, const char *cache_folder);
int kernel_delete(const char *kernels_folder, const char *name, struct err *err);

/*
 * The initramfs is made for one agent; when the agent's bytes differ from those in it (after an update of banger),
 * it is made anew beside the old one and renamed. Cheap when nothing changed (size, mtime, inode are remembered in the manifest).
 */
int kernel_refresh_agent(const char *kernels_folder, const char *name, const char *agent_path,
                         struct err *err);
/* False when kernel_refresh_agent() has something to do. Cheap: compares what the manifest remembers. */
bool kernel_agent_is_current(const char *kernels_folder, const char *name, const char *agent_path);
