/*
 * ext4/: writes ext4 file systems into ordinary files with libext2fs, in one pass, without root, mounts or a
 * tree on the host. It owns nothing after it returns; it never mounts and never touches an image
 * that a guest has written.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct ext4_options {
        /* Bytes of the file system. 0: what its content takes x 1.5, at least 1 GiB, in whole groups of 128 MiB. Not
         * for an empty one. */
        uint64_t size;
        const char *label;     /* at most 16 bytes; NULL: none */
        uint8_t uuid[16];      /* all zero: random */
        uint8_t hash_seed[16]; /* all zero: random */
        uint64_t time;         /* of creation, seconds since 1970; 0: now */
        /* Called now and then with what was read so far; a return < 0 stops with ECANCELED. NULL: nobody asks. */
        int (*progress)(void *userdata, uint64_t bytes_read, uint64_t n_entries);
        void *userdata;
        /* NULL: everything; "root/": only what is below it, as the new root (work-seed) */
        const char *only_below;
};

struct ext4_report {
        uint64_t bytes_read;    /* of the tar */
        uint64_t content_bytes; /* of regular files */
        uint64_t n_entries;
        uint64_t size; /* of the file system, bytes */
};

/*
 * Reads a tar (ustar, pax, GNU; uncompressed, gzip, xz or zstd, recognised) from tar_fd, a pipe or a file, and writes
 * image_path, which must not exist and is removed again on failure. Owners, modes, nanosecond times, xattrs, hard
 * links, symbolic links, device nodes, fifos are kept; ancestors missing in the tar are made; the last entry of a name
 * wins. Memory is bounded: about a million names. An archive that ends between two entries without its end mark is accepted.
 * Errors: EBADMSG (truncated or lying archive, an entry through a symbolic link, a name with ..), E2BIG (too many
 * names, attributes that ext4 cannot hold), ENOSPC, ECANCELED, EEXIST. Nothing is synced to disk.
 */
int ext4_from_tar(int tar_fd, const char *image_path, const struct ext4_options *options,
                  struct ext4_report *ret_report, struct err *err);

/* An empty file system whose root belongs to 0:0 with mode 0755. */
int ext4_make_empty(const char *image_path, const struct ext4_options *options, struct err *err);

/* A new image of options->size with the tree of source_path, an image that banger wrote itself and no guest touched.
 * only_below is a path inside it. ENOENT when that does not exist. */
int ext4_copy_tree(const char *source_path, const char *image_path, const struct ext4_options *options,
                   struct err *err);
