/* The content of one file: bytes come in order, become blocks at once, and leave extents behind. Internal to ext4/. */
#pragma once

#include "ext4/ext4_fs.h"

#define EXT4_MAP_BUFFER (1U << 20)

struct ext4_extent_run {
        uint32_t logical;
        uint32_t n;
        blk64_t physical;
};

struct ext4_map {
        struct ext4_extent_run *runs; /* owned */
        size_t n_runs, capacity;
        uint64_t n_blocks;
        char *buffer;   /* owned, EXT4_MAP_BUFFER bytes; holds what belongs at `start` */
        uint64_t start; /* a multiple of the block size */
        size_t used;
};

/* Empty again, memory kept for the next file. */
void ext4_map_reset(struct ext4_map *map);
void ext4_map_done(struct ext4_map *map);

/* offset never goes back; what is skipped becomes a hole. EBADMSG, EFBIG, ENOSPC. */
int ext4_map_write(struct ext4_map *map, struct ext4_fs *fs, uint64_t offset, const void *data, size_t n,
                   struct err *err);
int ext4_map_flush(struct ext4_map *map, struct ext4_fs *fs, struct err *err);
/* n blocks at logical, not written: for folders, whose blocks pass through libext2fs for their checksums. */
int ext4_map_reserve(struct ext4_map *map, struct ext4_fs *fs, uint32_t logical, uint32_t n, struct err *err);
/* The physical block behind a logical one of an ext4_map_reserve(). */
blk64_t ext4_map_find(const struct ext4_map *map, uint32_t logical);
/* Writes an inode that has no extents yet with these; adds to its block count. */
int ext4_map_store(const struct ext4_map *map, struct ext4_fs *fs, ext2_ino_t number,
                   struct ext2_inode_large *inode, struct err *err);
