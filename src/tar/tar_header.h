/*
 * tar/: trees as tar streams, both ways: POSIX ustar and pax (pax(1)), GNU long names and sparse files, extended attributes as
 * star and GNU tar write them. It owns no connection; bytes come from a source and go to a sink. A stream is a
 * stranger's: what it says is bounded here, and what is unpacked stays beneath one folder (tar_unpack.h).
 *
 * This file: reading headers. Only what they say; nothing is created.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"
#include "base/scoped.h"
#include "base/text.h"

#define TAR_BLOCK      512U
#define TAR_PATH_MAX   4096U
#define TAR_PAX_MAX    (1U << 20)
#define TAR_XATTRS_MAX 65536U /* bytes of the names and values of one entry; ext4 holds less */

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
        mode_t mode;   /* permission bits only */
        uint64_t size; /* bytes of content in the stream */
        struct timespec mtime;
        bool sparse;        /* the content begins with a map, tar_sparse.h */
        uint64_t real_size; /* of the file, when it is sparse */
        struct text xattrs; /* owned: name, NUL, u32 length, value, for each; only "user." ones */
};

/* Where the bytes come from: exactly n of them. 0, -ENODATA at a clean end, -errno. */
struct tar_source {
        int (*read)(void *context, void *buffer, size_t n);
        void *context;
};

void tar_entry_done(struct tar_entry *entry);

/*
 * The next entry (zeroed before the first call); its content, entry->size bytes and the padding up to a block, is still in the source. 1, 0 at the end
 * of the archive, -code: EBADMSG for what is not a tar, ENOTSUP for kinds this does not create (devices, old sparse forms).
 */
int tar_next(const struct tar_source *source, struct tar_entry *ret_entry, struct err *err);

/* Padding behind a content of n bytes. */
static inline size_t tar_padding(uint64_t n)
{
        return (size_t) ((TAR_BLOCK - n % TAR_BLOCK) % TAR_BLOCK);
}

/* Of one header block: the checksum field is taken as blanks. */
unsigned tar_checksum(const uint8_t block[TAR_BLOCK]);
