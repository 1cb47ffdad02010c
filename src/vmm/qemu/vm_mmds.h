/*
 * The MMDS data store, as far as the API sees it: put, patched, read back. The guest's side (169.254.169.254) is not
 * served; QEMU's network device has no place for it.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

struct vm_mmds {
        json_t *data; /* owned; NULL until the first PUT */
        size_t limit; /* bytes of the compact text */
};

void vm_mmds_done(struct vm_mmds *mmds);
/* EFBIG beyond the limit (HTTP 413). */
int vm_mmds_put(struct vm_mmds *mmds, json_t *data, struct err *err);
/* RFC 7396 merge patch; needs an earlier PUT. */
int vm_mmds_patch(struct vm_mmds *mmds, json_t *patch, struct err *err);
