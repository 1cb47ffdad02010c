/* The content of one file: bytes come in order, become blocks at once, and leave extents behind. Internal to ext4/. */
#pragma once

#include "ext4/ext4_fs.h"

struct ext4_extent_run {
        uint32_t logical;
        uint32_t n;
        blk64_t physical;
};

struct ext4_map {
        struct ext4_extent_run *runs; /* owned */
        size_t n_runs, capacity;
        uint64_t n_blocks;
        uint64_t offset; /* in the file, of what comes next */
        char *block;     /* borrowed, of the stream: offset lies within it; NULL between two blocks */
};

/* Empty again, memory kept for the next file. */
void ext4_map_reset(struct ext4_map *map);
void ext4_map_done(struct ext4_map *map);

/* offset never goes back; what is skipped, and blocks of zeros, become holes. EBADMSG, EFBIG, ENOSPC. */
int ext4_map_write(struct ext4_map *map, struct ext4_fs *fs, uint64_t offset, const void *data, size_t n,
                   struct err *err);
/* The file ends. */
void ext4_map_end(struct ext4_map *map);
/* The next whole block, zero, to be filled before anything else is written. */
int ext4_map_block(struct ext4_map *map, struct ext4_fs *fs, char **ret_block, struct err *err);
/* Writes an inode that has no extents yet with these; adds to its block count. */
int ext4_map_store(const struct ext4_map *map, struct ext4_fs *fs, ext2_ino_t number,
                   struct ext2_inode_large *inode, struct err *err);
