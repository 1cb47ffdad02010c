/* What libarchive does for kernels: undo a compression in memory, take the kernel out of a Debian package. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"
#include "kernel/kernel_store.h"

/*
 * The most bytes a package, and all that comes out of it, may have (S-259). A variable so that tests reach the
 * limit; nothing else changes it.
 */
extern uint64_t kernel_fetched_bytes_max;

/* gzip, xz, lzma, zstd, lz4, bzip2, or none of these: then the bytes themselves. EFBIG beyond max, EBADMSG when damaged. */
int kernel_archive_decompress(const void *data, size_t n, size_t max, struct text *ret_bytes,
                              struct err *err);

/*
 * Writes the regular files of a .deb below boot/ and lib/modules/ into folder, which must be empty and ours alone; links,
 * devices and everything else are left out. EBADMSG on a path that leads out of the package.
 */
int kernel_archive_unpack_deb(const char *path, const char *folder, const struct kernel_progress *progress,
                              struct err *err);

/* Calls the listener, if any. ECANCELED when it says no. */
int kernel_report(const struct kernel_progress *progress, const char *stage, uint64_t done, uint64_t total,
                  struct err *err);
