/*
 * Folders for half-made things: named by chance, locked while their maker lives, and whatever it has started that writes
 * there. Whoever makes the next one removes those whose maker died. Internal to image/.
 */
#pragma once

#include "base/err.h"
#include "base/scoped.h"

struct image_staging {
        char *path; /* owned */
        int fd;     /* owned; open and locked */
};
#define IMAGE_STAGING_NONE ((struct image_staging){ .fd = FD_NONE })

/* Removes the leftovers now, not with the next maker. The number of those that are locked, and stay. */
unsigned image_staging_sweep(const char *parent, const char *prefix);
/* <parent>/<prefix>XXXXXX with the mode; parent is made when missing. */
int image_staging_begin(const char *parent, const char *prefix, unsigned mode,
                        struct image_staging *ret_staging, struct err *err);
/* Removes it with all that is left in it. */
void image_staging_end(struct image_staging *staging);
static inline void image_staging_end_at_scope_end(struct image_staging *staging)
{
        image_staging_end(staging);
}
