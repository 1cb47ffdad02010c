/*
 * manifest.json of a kernel's folder, and the names in that folder:
 *   name distro arch kernel_version sha256 source imported_at   (spec 12.1)
 *   pvh      whether QEMU can start it directly
 *   modules  names in loading order, as they lie in modules/
 *   agent    size, mtime_ns, inode and sha256 of the agent in the initramfs
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/err.h"
#include "kernel/kernel_store.h"

#define KERNEL_MANIFEST  "manifest.json"
#define KERNEL_VMLINUX   "vmlinux"
#define KERNEL_INITRAMFS "initramfs.cpio"
#define KERNEL_MODULES   "modules"

#define KERNEL_SHA256_TEXT_MAX 65

/* The caller owns *ret_manifest. ENOENT: no such kernel. */
int kernel_manifest_read(const char *kernels_folder, const char *name, json_t **ret_manifest,
                         struct err *err);
int kernel_manifest_write(const char *kernel_folder, const json_t *manifest, struct err *err);

void kernel_sha256(const void *data, size_t n, char out[KERNEL_SHA256_TEXT_MAX]);

/* The value of "agent" for the file at path, sha256 included; the caller owns it. */
int kernel_agent_describe(const char *path, json_t **ret_agent, struct err *err);

/* Whether "agent" describes the file of this stat: size, inode and time. */
bool kernel_agent_is_same(const json_t *agent, const struct stat *st);

/* What pull adds to an import: where the file came from. NULL: "file:<from>". */
int kernel_import_from(const struct kernel_import *import, const char *source, struct kernel *ret_kernel,
                       struct err *err);

static inline void json_decref_at_scope_end(json_t **json)
{
        json_decref(*json);
}
#define scoped_json_value __attribute__((__cleanup__(json_decref_at_scope_end)))
