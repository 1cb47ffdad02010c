/*
 * Files with holes, in GNU tar's form 1.0 ("PAX Format, Version 1.0" of its manual): the content begins with a map, decimal
 * numbers a line each (how many pieces, then offset and size of each), padded to a block; the pieces' bytes follow.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/text.h"
#include "tar/tar_header.h"

#define TAR_PIECES_READ_MAX \
        (1U << 20)            /* of others' archives: 16 MiB, whatever a stream claims; more is E2BIG */
#define TAR_PIECES_MAX 65536U /* a file in more pieces is packed as if it had no holes */

struct tar_piece {
        uint64_t offset, n;
};

struct tar_map {
        struct tar_piece *pieces; /* owned */
        size_t n;
        uint64_t n_data; /* of all pieces */
};

/* Where fd, a file of `size` bytes, holds data (lseek(2), SEEK_DATA). False: no holes worth a map. */
bool tar_map_find(int fd, uint64_t size, struct tar_map *ret_map);
/* The map's text, padded. */
void tar_map_write(const struct tar_map *map, struct text *out);
/* Reads it from the head of an entry's content; *ret_n_read bytes of that are gone. -EBADMSG for what does not fit the entry. */
int tar_map_read(const struct tar_source *source, const struct tar_entry *entry, struct tar_map *ret_map,
                 uint64_t *ret_n_read);
void tar_map_done(struct tar_map *map);

static inline void tar_map_done_at_scope_end(struct tar_map *map)
{
        tar_map_done(map);
}
