/* The files in a tar by their names, each with its place in it, so that they can be read without being unpacked. Internal to image/oci. */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/scoped.h"
#include "image/oci/oci_cache.h"

#define OCI_ARCHIVE_ENTRIES_MAX 65536U

struct oci_archive_entry {
        char *name; /* owned; without "./" */
        char *target; /* owned; of a symbolic link (`docker save` has had such for layers that are there twice), or NULL */
        uint64_t offset, size;
};

struct oci_archive {
        int fd;                            /* owned; a file, uncompressed */
        struct oci_archive_entry *entries; /* owned */
        unsigned n_entries;
};

/*
 * Reads the headers of the tar in fd (consumed, also on failure). What is compressed (gzip, bzip2, xz, zstd), or no file, is copied
 * into a file without a name beside the cache first. Both is done by a confined process. EBADMSG: no tar, sparse entries; E2BIG;
 * EPERM: the process did what its confinement forbids, or was killed.
 */
int oci_archive_open(int owned_fd, const char *what, const struct oci_cache *cache,
                     struct oci_archive *ret_archive, struct err *err);
void oci_archive_done(struct oci_archive *archive);
/* NULL: no such file. Symbolic links are followed, within the archive. */
const struct oci_archive_entry *oci_archive_find(const struct oci_archive *archive, const char *name);
