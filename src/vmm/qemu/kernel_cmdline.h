/* The kernel's command line: what the client asked for and what a VMM adds. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Firecracker's limit on x86, everything included. */
#define KERNEL_CMDLINE_MAX 2048

struct kernel_cmdline {
        const char *boot_args; /* NULL: Firecracker's default */
        bool has_root, root_read_only;
        const char *root_partuuid; /* NULL: the first disk */
        uint64_t tsc_khz;          /* 0: KVM, the guest finds out by itself */
};

/* The whole line, owned by the caller. EINVAL beyond the limit. Words after " -- " (for init) stay last. */
int kernel_cmdline_build(const struct kernel_cmdline *wish, char **ret_line, struct err *err);
