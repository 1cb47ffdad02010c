/*
 * An ext4 file system under construction: geometry, inode numbers, blocks, data. Internal to ext4/.
 *
 * How it works: the file system is fresh and nobody else writes it, so both allocators are cursors that move
 * forward through libext2fs's bitmaps. File data goes with pwrite(2) past libext2fs's block cache; that is sound
 * because a block is never given back before ext4_fs_close(): whoever replaces something puts the old inode on the
 * list of the dead, which are buried at the end. One whose size is to follow its content starts as large as it may
 * become, sparse, and loses its unused groups at the end: the groups before them lie the same either way.
 */
#pragma once

#include <ext2fs/ext2fs.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ext4/ext4_image.h"

#define EXT4_BLOCK_SIZE 4096U
/* Of file data; written at once, so that the host's file system can use large pages and extents. */
#define EXT4_STREAM_BLOCKS 512U

struct ext4_fs {
        ext2_filsys ext2;     /* owned */
        int fd;               /* owned; the image, for data */
        char *path;           /* owned */
        uint64_t time;        /* of creation, and of what has no time of its own; s since 1970 */
        bool follows_content; /* the size does */
        ext2_ino_t next_inode;
        blk64_t next_block;
        uint64_t n_blocks; /* that files and folders took */
        ext2_ino_t *dead;  /* owned */
        size_t n_dead, dead_capacity;
        /* Data on its way: a run of blocks that is marked as used, of which the first stream_used have been handed out. */
        char *stream; /* owned, EXT4_STREAM_BLOCKS; NULL until there is data */
        blk64_t stream_block;
        uint32_t stream_n, stream_used;
};

/* Says what libext2fs reports, with the matching errno (ENOSPC, ENOMEM, EIO ...). Returns -code. */
int ext4_fs_error(struct err *err, errcode_t code, const char *format, ...)
        __attribute__((format(printf, 3, 4), cold));

/* Makes path (O_EXCL, 0600) with an empty file system whose root has no block yet. On failure nothing is left. */
int ext4_fs_create(const char *path, const struct ext4_options *options, struct ext4_fs *ret_fs,
                   struct err *err);
/* Buries the dead, writes superblocks, descriptors and bitmaps. The structure is done afterwards, also on failure. */
int ext4_fs_close(struct ext4_fs *fs, uint64_t *ret_size, struct err *err);
/* Gives up: closes and removes the image. Harmless after ext4_fs_close() succeeded. */
void ext4_fs_abort(struct ext4_fs *fs);

/* The next free inode, marked as used. ENOSPC. */
int ext4_fs_take_inode(struct ext4_fs *fs, bool is_folder, ext2_ino_t *ret_inode, struct err *err);
/* One name of it is gone: with the last one it and its blocks are given back when the image is closed. */
int ext4_fs_drop_link(struct ext4_fs *fs, ext2_ino_t number, bool is_folder, struct err *err);
/* A run of 1 to max free blocks, marked as used. ENOSPC. */
int ext4_fs_take_blocks(struct ext4_fs *fs, uint32_t max, blk64_t *ret_block, uint32_t *ret_n,
                        struct err *err);
/*
 * The next block of data: *ret_to is to be filled before the next call, *ret_block is where it will be. Blocks that follow
 * each other here do so in the image too, as far as it lets them. ENOSPC.
 */
int ext4_fs_stream_block(struct ext4_fs *fs, char **ret_to, blk64_t *ret_block, struct err *err);
/* Writes what was streamed, and gives back what was set aside for more. */
int ext4_fs_stream_end(struct ext4_fs *fs, struct err *err);
