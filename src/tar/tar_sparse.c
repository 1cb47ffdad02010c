#include "tar/tar_sparse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOLE_MIN 4096U /* less is not worth a map */

static void add_piece(struct tar_map *map, size_t *capacity, uint64_t offset, uint64_t n)
{
        if (map->n == *capacity) {
                *capacity = *capacity * 2 + 64;
                map->pieces = xrealloc(map->pieces, *capacity * sizeof(*map->pieces));
        }
        map->pieces[map->n++] = (struct tar_piece){ offset, n };
        map->n_data += n;
}

bool tar_map_find(int fd, uint64_t size, struct tar_map *ret_map)
{
        scoped(tar_map_done) struct tar_map map = { 0 };
        size_t capacity = 0;
        uint64_t at = 0;

        while (at < size) {
                off_t data = lseek(fd, (off_t) at, SEEK_DATA), hole;

                if (data < 0 && errno == ENXIO) /* a hole up to the end */
                        break;
                hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
                if (hole <= data || map.n == TAR_PIECES_MAX)
                        return false;
                if ((uint64_t) hole > size)
                        hole = (off_t) size;
                add_piece(&map, &capacity, (uint64_t) data, (uint64_t) (hole - data));
                at = (uint64_t) hole;
        }
        if (size - map.n_data < HOLE_MIN)
                return false;
        *ret_map = map;
        map = (struct tar_map){ 0 };
        return true;
}

void tar_map_write(const struct tar_map *map, struct text *out)
{
        static const char zeros[TAR_BLOCK];

        text_appendf(out, "%zu\n", map->n);
        for (size_t i = 0; i < map->n; i++)
                text_appendf(out, "%llu\n%llu\n", (unsigned long long) map->pieces[i].offset,
                             (unsigned long long) map->pieces[i].n);
        text_append_bytes(out, zeros, tar_padding(out->n));
}

/* The map a block at a time: numbers may lie across blocks. */
struct lines {
        const struct tar_source *source;
        char block[TAR_BLOCK];
        size_t at;
        uint64_t n_read, n_max;
};

static int next_number(struct lines *lines, uint64_t *ret_value)
{
        char digits[24];
        size_t n = 0;

        for (;;) {
                char c;

                if (lines->at == TAR_BLOCK || lines->n_read == 0) {
                        int r;

                        if (lines->n_read + TAR_BLOCK > lines->n_max)
                                return -EBADMSG;
                        r = lines->source->read(lines->source->context, lines->block, TAR_BLOCK);
                        if (r < 0)
                                return r == -ENODATA ? -EBADMSG : r;
                        lines->n_read += TAR_BLOCK;
                        lines->at = 0;
                }
                c = lines->block[lines->at++];
                if (c == '\n')
                        break;
                if (n + 1 == sizeof(digits))
                        return -EBADMSG;
                digits[n++] = c;
        }
        digits[n] = '\0';
        return text_parse_u64(digits, INT64_MAX, ret_value) < 0 ? -EBADMSG : 0;
}

/* Ascending, not overlapping, inside of the file. */
static int next_piece(struct lines *lines, const struct tar_entry *entry, struct tar_map *map,
                      size_t *capacity, uint64_t *end)
{
        uint64_t offset, n;
        int r = next_number(lines, &offset);

        if (r == 0)
                r = next_number(lines, &n);
        if (r < 0)
                return r;
        if (offset < *end || n > entry->real_size || offset > entry->real_size - n)
                return -EBADMSG;
        *end = offset + n;
        add_piece(map, capacity, offset, n);
        return 0;
}

int tar_map_read(const struct tar_source *source, const struct tar_entry *entry, struct tar_map *ret_map,
                 uint64_t *ret_n_read)
{
        scoped(tar_map_done) struct tar_map map = { 0 };
        struct lines lines = { .source = source, .n_max = entry->size };
        uint64_t n_pieces, end = 0;
        size_t capacity = 0;
        int r = next_number(&lines, &n_pieces);

        if (r == 0 && n_pieces > TAR_PIECES_READ_MAX)
                return -E2BIG;
        for (uint64_t i = 0; r == 0 && i < n_pieces; i++)
                r = next_piece(&lines, entry, &map, &capacity, &end);
        if (r < 0)
                return r;
        if (map.n_data != entry->size - lines.n_read)
                return -EBADMSG;
        *ret_n_read = lines.n_read;
        *ret_map = map;
        map = (struct tar_map){ 0 };
        return 0;
}

void tar_map_done(struct tar_map *map)
{
        free(map->pieces);
        *map = (struct tar_map){ 0 };
}
