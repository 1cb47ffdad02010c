/*
 * kernel.*: kernels. A kernel is described by an object: name, version, distro, source, sha256, vmlinux_path,
 * initramfs_path, imported_at, bytes, n_modules; in the catalog: name, doc, bundle_bytes, pulled.
 */
#pragma once

#include "rpc/rpc_table.h"

struct kernel_pull_params {
        const char *kernel; /* catalog name */
        bool force;
};

struct kernel_import_params {
        const char *kernel; /* local name */
        const char *from;
        const char *modules;
        const char *distro;
        bool force;
};

struct kernel_ref_params {
        const char *kernel;
};

extern const struct rpc_method api_kernel_pull;    /* streams; the kernel's object */
extern const struct rpc_method api_kernel_import;  /* streams; the kernel's object */
extern const struct rpc_method api_kernel_list;    /* {"kernels":[...]} */
extern const struct rpc_method api_kernel_catalog; /* {"kernels":[...]} */
extern const struct rpc_method api_kernel_show;
extern const struct rpc_method api_kernel_delete;
