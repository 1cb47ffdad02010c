/* Entries become an image: one at a time, in any order, the last of a name wins. Internal to ext4/. */
#pragma once

#include <sys/types.h>
#include <time.h>

#include "ext4/ext4_image.h"

#define EXT4_XATTRS_MAX      256U        /* of one entry */
#define EXT4_XATTR_VALUE_MAX (64U << 10) /* xattr(7) */

struct ext4_xattr {
        const char *name;  /* with its prefix: "security.capability" */
        const void *value; /* as getxattr(2) gives it, POSIX ACLs included */
        size_t n;
};

/* All borrowed. */
struct ext4_entry {
        const char *path; /* any bytes; cleaned, below the image's root */
        mode_t mode;      /* with the type */
        uint32_t uid, gid;
        uint32_t major, minor;
        struct timespec atime, mtime, ctime;
        uint64_t size;       /* of a regular file */
        const char *target;  /* of a symbolic link */
        const char *link_to; /* path of what this is a hard link to; NULL: it is none */
        const struct ext4_xattr *xattrs;
        size_t n_xattrs;
};

struct ext4_builder;

int ext4_builder_new(const char *image_path, const struct ext4_options *options,
                     struct ext4_builder **ret_builder, struct err *err);
/*
 * Adds the entry. A regular file stays open for ext4_builder_data() until ext4_builder_end_data(), which must follow;
 * *ret_wants_data says so.
 */
int ext4_builder_add(struct ext4_builder *builder, const struct ext4_entry *entry, bool *ret_wants_data,
                     struct err *err);
int ext4_builder_data(struct ext4_builder *builder, uint64_t offset, const void *data, size_t n,
                      struct err *err);
int ext4_builder_end_data(struct ext4_builder *builder, struct err *err);
/* Resolves pending hard links, writes the folders and finishes the image. */
int ext4_builder_finish(struct ext4_builder *builder, struct err *err);
/* Without ext4_builder_finish() before it the image is removed. NULL is fine. */
void ext4_builder_free(struct ext4_builder *builder);
