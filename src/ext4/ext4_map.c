#include "ext4/ext4_map.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"

#define RUN_BLOCKS_MAX  32768U /* EXT_INIT_MAX_LEN, linux fs/ext4/ext4_extents.h */
#define RUNS_MAX        (1U << 20)
#define INLINE_RUNS_MAX 4U /* (60 - 12) / 12: what fits into i_block */

void ext4_map_reset(struct ext4_map *map)
{
        map->n_runs = 0;
        map->n_blocks = 0;
        map->start = 0;
        map->used = 0;
}

void ext4_map_done(struct ext4_map *map)
{
        free(map->runs);
        free(map->buffer);
        *map = (struct ext4_map){ 0 };
}

static int add_run(struct ext4_map *map, struct ext4_extent_run run, struct err *err)
{
        struct ext4_extent_run *last = map->n_runs > 0 ? &map->runs[map->n_runs - 1] : NULL;

        map->n_blocks += run.n;
        if (last && last->logical + last->n == run.logical && last->physical + last->n == run.physical &&
            last->n + run.n <= RUN_BLOCKS_MAX) {
                last->n += run.n;
                return 0;
        }
        if (map->n_runs == map->capacity) {
                if (map->capacity >= RUNS_MAX)
                        return err_set(err, EFBIG, "ext4.write", "a file in more than %u pieces", RUNS_MAX);
                map->capacity = map->capacity > 0 ? map->capacity * 2 : 64;
                map->runs = xrealloc(map->runs, map->capacity * sizeof(*map->runs));
        }
        map->runs[map->n_runs++] = run;
        return 0;
}

static int write_at(const struct ext4_fs *fs, const char *data, size_t n, uint64_t offset, struct err *err)
{
        while (n > 0) {
                ssize_t put = pwrite(fs->fd, data, n, (off_t) offset);

                if (put < 0 && errno == EINTR)
                        continue;
                if (put < 0)
                        return err_errno(err, "ext4.write", "write '%s'", fs->path);
                data += put;
                offset += (uint64_t) put;
                n -= (size_t) put;
        }
        return 0;
}

int ext4_map_flush(struct ext4_map *map, struct ext4_fs *fs, struct err *err)
{
        size_t padded = (map->used + EXT4_BLOCK_SIZE - 1) / EXT4_BLOCK_SIZE * EXT4_BLOCK_SIZE, done = 0;

        if (padded > map->used)
                memset(map->buffer + map->used, 0, padded - map->used);
        while (done < padded) {
                struct ext4_extent_run run = { .logical =
                                                       (uint32_t) ((map->start + done) / EXT4_BLOCK_SIZE) };
                size_t bytes;
                int r = ext4_fs_take_blocks(fs, (uint32_t) ((padded - done) / EXT4_BLOCK_SIZE), &run.physical,
                                            &run.n, err);

                if (r < 0)
                        return r;
                bytes = (size_t) run.n * EXT4_BLOCK_SIZE;
                r = write_at(fs, map->buffer + done, bytes, run.physical * EXT4_BLOCK_SIZE, err);
                if (r == 0)
                        r = add_run(map, run, err);
                if (r < 0)
                        return r;
                done += bytes;
        }
        map->start += padded;
        map->used = 0;
        return 0;
}

/* Moves to offset: within the block at hand with zeros, else by a hole. */
static int skip_to(struct ext4_map *map, struct ext4_fs *fs, uint64_t offset, struct err *err)
{
        uint64_t end = map->start + map->used, block = offset / EXT4_BLOCK_SIZE * EXT4_BLOCK_SIZE;
        int r;

        if (map->used > 0 && block < end) { /* same block: it fits, the buffer is a whole number of blocks */
                memset(map->buffer + map->used, 0, offset - end);
                map->used += offset - end;
                return 0;
        }
        r = ext4_map_flush(map, fs, err);
        if (r < 0)
                return r;
        map->start = block;
        map->used = offset - block;
        memset(map->buffer, 0, map->used);
        return 0;
}

int ext4_map_write(struct ext4_map *map, struct ext4_fs *fs, uint64_t offset, const void *data, size_t n,
                   struct err *err)
{
        const char *from = data;

        if (!map->buffer)
                map->buffer = xmalloc(EXT4_MAP_BUFFER);
        if (offset < map->start + map->used)
                return err_set(err, EBADMSG, "ext4.write", "the archive's data goes backwards");
        if (offset + n < offset || (offset + n) / EXT4_BLOCK_SIZE >= UINT32_MAX)
                return err_set(err, EFBIG, "ext4.write", "a file larger than ext4 allows (16 TiB)");
        if (n > 0 && offset > map->start + map->used) {
                int r = skip_to(map, fs, offset, err);

                if (r < 0)
                        return r;
        }
        while (n > 0) {
                size_t room = EXT4_MAP_BUFFER - map->used, part = n < room ? n : room;

                memcpy(map->buffer + map->used, from, part);
                map->used += part;
                from += part;
                n -= part;
                if (map->used == EXT4_MAP_BUFFER) {
                        int r = ext4_map_flush(map, fs, err);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int ext4_map_reserve(struct ext4_map *map, struct ext4_fs *fs, uint32_t logical, uint32_t n, struct err *err)
{
        while (n > 0) {
                struct ext4_extent_run run = { .logical = logical };
                int r = ext4_fs_take_blocks(fs, n, &run.physical, &run.n, err);

                if (r == 0)
                        r = add_run(map, run, err);
                if (r < 0)
                        return r;
                logical += run.n;
                n -= run.n;
        }
        return 0;
}

blk64_t ext4_map_find(const struct ext4_map *map, uint32_t logical)
{
        for (size_t i = map->n_runs; i-- > 0;)
                if (logical >= map->runs[i].logical)
                        return map->runs[i].physical + (logical - map->runs[i].logical);
        return 0;
}

/* The extent tree's root in i_block, with as many extents as fit (linux Documentation/filesystems/ext4/ifork.rst). */
static void store_inline(const struct ext4_map *map, struct ext2_inode_large *inode)
{
        size_t n = map->n_runs <= INLINE_RUNS_MAX ? map->n_runs : 0;
        struct ext3_extent_header header = { .eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC),
                                             .eh_entries = ext2fs_cpu_to_le16((uint16_t) n),
                                             .eh_max = ext2fs_cpu_to_le16(INLINE_RUNS_MAX) };
        char *out = (char *) inode->i_block;

        memset(out, 0, sizeof(inode->i_block));
        memcpy(out, &header, sizeof(header));
        for (size_t i = 0; i < n; i++) {
                const struct ext4_extent_run *run = &map->runs[i];
                struct ext3_extent extent = { .ee_block = ext2fs_cpu_to_le32(run->logical),
                                              .ee_len = ext2fs_cpu_to_le16((uint16_t) run->n),
                                              .ee_start_hi =
                                                      ext2fs_cpu_to_le16((uint16_t) (run->physical >> 32)),
                                              .ee_start = ext2fs_cpu_to_le32((uint32_t) run->physical) };

                memcpy(out + sizeof(header) + i * sizeof(extent), &extent, sizeof(extent));
        }
}

/* More extents than the inode holds: libext2fs grows the tree. */
static errcode_t store_tree(const struct ext4_map *map, struct ext4_fs *fs, ext2_ino_t number,
                            struct ext2_inode_large *inode)
{
        ext2_extent_handle_t handle;
        errcode_t code = ext2fs_extent_open2(fs->ext2, number, (struct ext2_inode *) inode, &handle);

        if (code)
                return code;
        for (size_t i = 0; i < map->n_runs && !code; i++) {
                struct ext2fs_extent extent = { .e_pblk = map->runs[i].physical,
                                                .e_lblk = map->runs[i].logical,
                                                .e_len = map->runs[i].n };

                code = ext2fs_extent_insert(handle, i > 0 ? EXT2_EXTENT_INSERT_AFTER : 0, &extent);
        }
        ext2fs_extent_free(handle);
        return code;
}

int ext4_map_store(const struct ext4_map *map, struct ext4_fs *fs, ext2_ino_t number,
                   struct ext2_inode_large *inode, struct err *err)
{
        errcode_t code;

        inode->i_flags |= EXT4_EXTENTS_FL;
        store_inline(map, inode);
        code = ext2fs_iblk_add_blocks(fs->ext2, (struct ext2_inode *) inode, map->n_blocks);
        if (!code)
                code = ext2fs_write_inode_full(fs->ext2, number, (struct ext2_inode *) inode, sizeof(*inode));
        if (!code && map->n_runs > INLINE_RUNS_MAX)
                code = store_tree(map, fs, number, inode);
        return code ? ext4_fs_error(err, code, "write inode %u of '%s'", number, fs->path) : 0;
}
