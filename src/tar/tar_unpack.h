/*
 * Unpacking below a folder, and never outside: names are walked a component at a time without following symbolic links,
 * ".." is refused. Existing folders are kept, existing files replaced; a file is there under its name only when it is
 * whole, and what was there before stays until then.
 */
#pragma once

#include "base/err.h"
#include "tar/tar_header.h"

struct tar_counts {
        uint64_t n_entries, n_bytes; /* bytes of content in the stream */
        uint64_t n_skipped;          /* of kinds that are not made */
};

struct tar_unpack {
        const char *destination; /* tar_place.h decides; NULL: below root_fd, with the names of the stream */
        int root_fd;             /* borrowed */
        bool must_be_folder;     /* the destination */
        const char *const
                *asked; /* NULL-terminated paths and patterns; other names are EBADMSG; NULL: all are taken */
        /*
         * From a stranger onto a host: no pipes (they are skipped), no set-user-ID, set-group-ID and sticky bits, and temporary
         * names for all files, so that not even SIGKILL leaves a half one under its name.
         */
        bool guarded;
        bool drop_set_id;                /* no set-user-ID and set-group-ID bits */
        uint64_t bytes_max, entries_max; /* EFBIG beyond; 0: no limit */
        void (*moved)(void *context, const struct tar_counts *counts); /* NULL: not told */
        void *context;
        struct tar_counts counts; /* result, also of a failure */
};

/* New things belong to root when we are root. What failed is named; the rest of the stream is not read then. */
int tar_unpack(const struct tar_source *source, struct tar_unpack *unpack, struct err *err);
