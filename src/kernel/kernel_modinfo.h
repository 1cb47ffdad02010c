/* The .modinfo section of a kernel module: what it needs before it. A foreign file; every offset is checked. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct kernel_modinfo {
        char *depends; /* owned, never NULL: module names, comma-separated */
        char *softdep; /* owned, never NULL: all "pre: a b post: c" entries, space-separated */
};

/* EBADMSG unless data is an ELF64 relocatable with a .modinfo section. */
int kernel_modinfo_parse(const uint8_t *data, size_t n, struct kernel_modinfo *ret_info, struct err *err);
void kernel_modinfo_done(struct kernel_modinfo *info);
#define scoped_kernel_modinfo __attribute__((__cleanup__(kernel_modinfo_done)))
