#include "ext4/ext4_map.h"

#include <errno.h>
#include <string.h>

#include "base/scoped.h"
#include "base/text.h"

#define RUN_BLOCKS_MAX  32768U /* EXT_INIT_MAX_LEN, linux fs/ext4/ext4_extents.h */
#define RUNS_MAX        (1U << 20)
#define INLINE_RUNS_MAX 4U /* (60 - 12) / 12: what fits into i_block */

void ext4_map_reset(struct ext4_map *map)
{
        map->n_runs = 0;
        map->n_blocks = 0;
        map->offset = 0;
        map->block = NULL;
}

void ext4_map_done(struct ext4_map *map)
{
        free(map->runs);
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

/* The rest of the block at hand is zeros. */
void ext4_map_end(struct ext4_map *map)
{
        size_t within = map->offset % EXT4_BLOCK_SIZE;

        if (map->block)
                memset(map->block + within, 0, EXT4_BLOCK_SIZE - within);
        map->block = NULL;
}

/* The block that holds map->offset, zeros before it. */
static int begin_block(struct ext4_map *map, struct ext4_fs *fs, struct err *err)
{
        struct ext4_extent_run run = { .logical = (uint32_t) (map->offset / EXT4_BLOCK_SIZE), .n = 1 };
        int r = ext4_fs_stream_block(fs, &map->block, &run.physical, err);

        if (r < 0) {
                map->block = NULL;
                return r;
        }
        memset(map->block, 0, map->offset % EXT4_BLOCK_SIZE);
        return add_run(map, run, err);
}

/* Moves to offset: within the block at hand with zeros, else by a hole. */
static void skip_to(struct ext4_map *map, uint64_t offset)
{
        size_t within = map->offset % EXT4_BLOCK_SIZE;

        if (map->block && offset - map->offset < EXT4_BLOCK_SIZE - within)
                memset(map->block + within, 0, offset - map->offset);
        else
                ext4_map_end(map);
        map->offset = offset;
}

static bool is_zero(const char *block)
{
        uint64_t first;

        memcpy(&first, block, sizeof(first));
        return first == 0 && memcmp(block, block + sizeof(first), EXT4_BLOCK_SIZE - sizeof(first)) == 0;
}

int ext4_map_write(struct ext4_map *map, struct ext4_fs *fs, uint64_t offset, const void *data, size_t n,
                   struct err *err)
{
        const char *from = data;

        if (offset < map->offset)
                return err_set(err, EBADMSG, "ext4.write", "the archive's data goes backwards");
        if (offset + n < offset || (offset + n) / EXT4_BLOCK_SIZE >= UINT32_MAX)
                return err_set(err, EFBIG, "ext4.write", "a file larger than ext4 allows (16 TiB)");
        if (n > 0 && offset > map->offset)
                skip_to(map, offset);
        while (n > 0) {
                size_t within = map->offset % EXT4_BLOCK_SIZE, room = EXT4_BLOCK_SIZE - within;
                size_t part = n < room ? n : room;

                if (part < EXT4_BLOCK_SIZE || !is_zero(from)) {
                        int r = map->block ? 0 : begin_block(map, fs, err);

                        if (r < 0)
                                return r;
                        memcpy(map->block + within, from, part);
                        if (part == room)
                                map->block = NULL;
                }
                map->offset += part;
                from += part;
                n -= part;
        }
        return 0;
}

int ext4_map_block(struct ext4_map *map, struct ext4_fs *fs, char **ret_block, struct err *err)
{
        int r = begin_block(map, fs, err);

        if (r < 0)
                return r;
        *ret_block = map->block;
        memset(map->block, 0, EXT4_BLOCK_SIZE);
        map->offset += EXT4_BLOCK_SIZE;
        map->block = NULL;
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
