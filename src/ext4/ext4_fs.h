/*
 * An ext4 file system under construction: geometry, inode numbers, blocks, data. Internal to ext4/.
 *
 * How it works: the file system is fresh and nobody else writes it, so both allocators are cursors that move
 * forward through libext2fs's bitmaps. File data goes with pwrite(2) past libext2fs's block cache; that is sound
 * because a block is never given back before ext4_fs_close(): whoever replaces something puts the old inode on the
 * list of the dead, which are buried at the end.
 */
#pragma once

#include <ext2fs/ext2fs.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ext4/ext4_image.h"

#define EXT4_BLOCK_SIZE 4096U

struct ext4_fs {
        ext2_filsys ext2; /* owned */
        int fd;           /* owned; the image, for data */
        char *path;       /* owned */
        uint64_t time;    /* of creation, and of what has no time of its own; s since 1970 */
        ext2_ino_t next_inode;
        blk64_t next_block;
        ext2_ino_t *dead; /* owned */
        size_t n_dead, dead_capacity;
};

/* Says what libext2fs reports, with the matching errno (ENOSPC, ENOMEM, EIO ...). Returns -code. */
int ext4_fs_error(struct err *err, errcode_t code, const char *format, ...)
        __attribute__((format(printf, 3, 4), cold));

/* Makes path (O_EXCL, 0600) with an empty file system whose root has no block yet. On failure nothing is left. */
int ext4_fs_create(const char *path, const struct ext4_options *options, struct ext4_fs *ret_fs,
                   struct err *err);
/* Buries the dead, writes superblocks, descriptors and bitmaps. The structure is done afterwards, also on failure. */
int ext4_fs_close(struct ext4_fs *fs, struct err *err);
/* Gives up: closes and removes the image. Harmless after ext4_fs_close() succeeded. */
void ext4_fs_abort(struct ext4_fs *fs);

/* The next free inode, marked as used. ENOSPC. */
int ext4_fs_take_inode(struct ext4_fs *fs, bool is_folder, ext2_ino_t *ret_inode, struct err *err);
/* One name of it is gone: with the last one it and its blocks are given back when the image is closed. */
int ext4_fs_drop_link(struct ext4_fs *fs, ext2_ino_t number, bool is_folder, struct err *err);
/* A run of 1 to max free blocks, marked as used. ENOSPC. */
int ext4_fs_take_blocks(struct ext4_fs *fs, uint32_t max, blk64_t *ret_block, uint32_t *ret_n,
                        struct err *err);
