/*
 * bundle/: archives that a catalog points to (.tar.zst). One is staged compressed below a cap and hashed on the way in; only
 * when size and SHA-256 are right is anything of it looked at. It owns the staged file, which has no name and goes with its
 * descriptor, whatever happens to the process. What is in the files it unpacks it never looks at.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct bundle_progress {
        /* total 0: unknown. A return < 0 cancels. NULL: nobody asks. */
        int (*report)(void *userdata, const char *stage, uint64_t done, uint64_t total);
        void *userdata;
};

struct bundle_source {
        const char *url;    /* https, http or file */
        const char *sha256; /* of the archive, lower-case hex */
        uint64_t size; /* bytes the catalog names, for the progress and the check for space; 0: unknown */
        uint64_t max;  /* the most bytes that are staged */
};

/*
 * A descriptor of the verified archive, at its beginning, in *ret_fd; the caller owns it. It lies on the file system of folder.
 * EFBIG names the cap: by what the server announces, else after max + 1 bytes. EBADMSG: another hash. ENOSPC says how much is
 * missing, before anything is fetched. EIO: the server's refusal, or no connection. ECANCELED.
 */
int bundle_fetch(const struct bundle_source *source, const char *folder,
                 const struct bundle_progress *progress, int *ret_fd, struct err *err);

/* What may be in a bundle. */
struct bundle_entry {
        const char *name; /* a file, or with a slash at its end a folder and whatever files are below it */
        bool is_required;
};

/*
 * Unpacks into folder, which must be empty and ours alone; holes stay holes. entries ends with a NULL name. Nothing else may be
 * in it: EBADMSG for an unexpected, missing, second, linked or special entry and for a path that leads out of it. EFBIG beyond
 * max bytes of content. What has been unpacked by then is left to the caller, whose folder it is.
 */
int bundle_unpack(int fd, const char *folder, const struct bundle_entry *entries, uint64_t max,
                  const struct bundle_progress *progress, struct err *err);
