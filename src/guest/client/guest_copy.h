/* Copying trees between this host and a guest. What a guest sends is a stranger's archive: see tar_unpack.h, "guarded". */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct guest_progress {
        uint64_t n_entries, n_bytes, n_skipped;
};

struct guest_copy {
        const char *const *paths; /* NULL-terminated: of this host, or patterns of the guest's */
        const char *destination;  /* of the other side */
        bool into;                /* it must be a folder that is there */
        bool follow;              /* symbolic links among the paths */
        bool (*leaves_out)(void *leaves_out_context, const char *below, bool is_folder); /* tar_pack.h */
        void *leaves_out_context;
        uint64_t bytes_max, entries_max; /* from a guest: EFBIG beyond; 0: no limit */
        void (*moved)(void *context, const struct guest_progress *progress); /* often; NULL: not told */
        void *context;
        struct guest_progress done; /* result, also of a failure */
};

/* Both take a fresh descriptor of guest_connect, use it up and leave it to the caller to close. */
int guest_copy_in(int fd, struct guest_copy *copy, struct err *err);
int guest_copy_out(int fd, struct guest_copy *copy, struct err *err);
/* The guest's tar stream as it is, into a descriptor. */
int guest_copy_out_stream(int fd, const struct guest_copy *copy, int tar_fd, struct err *err);
/* A tar stream of a descriptor, unpacked below a folder of the guest that is there. */
int guest_copy_in_stream(int fd, const char *folder, int tar_fd, struct err *err);
