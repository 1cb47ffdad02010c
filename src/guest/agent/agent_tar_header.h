/* Reading tar: POSIX ustar and pax (pax(1)), GNU long names. Only what it says; nothing is created here. */
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"
#include "base/scoped.h"

#define TAR_BLOCK    512U
#define TAR_PATH_MAX 4096U
#define TAR_PAX_MAX  (1U << 20)

enum tar_type {
        TAR_FILE,
        TAR_HARD_LINK,
        TAR_SYMLINK,
        TAR_FOLDER,
        TAR_FIFO
};

struct tar_entry {
        enum tar_type type;
        char path[TAR_PATH_MAX], link[TAR_PATH_MAX];
        mode_t mode; /* permission bits only */
        uint64_t size;
        struct timespec mtime;
};

/* Where the bytes come from: exactly n of them. 0, -ENODATA at a clean end, -errno. */
struct tar_source {
        int (*read)(void *context, void *buffer, size_t n);
        void *context;
};

/*
 * The next entry; its content, entry->size bytes and the padding up to a block, is still in the source. 1, 0 at the end
 * of the archive, -code: EBADMSG for what is not a tar, ENOTSUP for kinds this does not create (devices, sparse files).
 */
int tar_next(const struct tar_source *source, struct tar_entry *ret_entry, struct err *err);

/* Padding behind a content of n bytes. */
static inline size_t tar_padding(uint64_t n)
{
        return (size_t) ((TAR_BLOCK - n % TAR_BLOCK) % TAR_BLOCK);
}

/* Of one header block: the checksum field is taken as blanks. */
unsigned tar_checksum(const uint8_t block[TAR_BLOCK]);
