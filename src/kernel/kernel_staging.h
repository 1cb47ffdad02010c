/*
 * A folder ".staging-XXXXXX" beside what is being made, locked by its maker for as long as that lives, or what it has
 * started that writes there. Staging folders that nobody has locked are left over from a kill, and the next maker removes
 * them: no process ids, which are reused.
 */
#pragma once

#include "base/err.h"

struct kernel_staging {
        char *parent; /* owned */
        char *path;   /* owned; NULL: none */
        int fd;       /* owned, holds the lock */
};

#define KERNEL_STAGING_NONE ((struct kernel_staging){ .fd = -EBADF })

/* Removes the leftovers now, not with the next maker. The number of those that are locked, and stay. */
unsigned kernel_staging_sweep(const char *parent);
/* Makes parent (0700) when missing. */
int kernel_staging_begin(const char *parent, struct kernel_staging *ret_staging, struct err *err);
/* Removes the folder with all that was not moved out of it. */
void kernel_staging_end(struct kernel_staging *staging);
/* scoped(kernel_staging_end) does not fit a struct by value; this does. */
#define scoped_kernel_staging __attribute__((__cleanup__(kernel_staging_end)))

/*
 * Makes <staging>/<from> appear as <parent>/<name>, whole, in one rename. EEXIST when the name is taken and may not be
 * replaced; a replaced folder ends in the staging folder and goes with it.
 */
int kernel_staging_publish(const struct kernel_staging *staging, const char *from, const char *name,
                           int may_replace, struct err *err);
