/*
 * What is in the tar of a stranger, as a process tells it that can do nothing but read it and, when it is compressed, write
 * its plain copy (oci_confine.h). Internal to image/oci.
 */
#pragma once

#include <stdint.h>

#include "image/oci/oci_archive.h"
#include "image/oci/oci_child.h"

#define OCI_ARCHIVE_TEXT_MAX (16U << 20) /* bytes of all names */

struct oci_archive_record {
        uint64_t offset, size;
        uint32_t name, target; /* where in text they begin; target 0: no link */
};

/* Whoever wrote it may have been taken over: every number in it may be wrong. */
struct oci_archive_listing {
        struct oci_failure failure;
        uint32_t n_records, n_text;
        struct oci_archive_record records[OCI_ARCHIVE_ENTRIES_MAX];
        char text[OCI_ARCHIVE_TEXT_MAX];
};

/*
 * Blocks until all of it was read. copy (borrowed): where the plain tar goes, from fd's filters; FD_NONE: fd is one. The
 * listing is the caller's, whose only it is by then.
 */
int oci_archive_read(int fd, int copy, const char *what, struct oci_archive_listing **ret_listing,
                     struct err *err);
void oci_archive_listing_free(struct oci_archive_listing *listing);
static inline void oci_archive_listing_free_at_scope_end(struct oci_archive_listing **listing)
{
        oci_archive_listing_free(*listing);
}
