/*
 * Entries become an image, one at a time. One archive: in any order, the last of a name wins. The layers of an OCI image:
 * from the top one down, so that whatever a name is in the end is written once, and what upper layers replaced or
 * removed is not written at all; ext4_layers.c says how. Internal to ext4/ and to what reads layers for it.
 */
#pragma once

#include <sys/types.h>
#include <time.h>

#include "ext4/ext4_image.h"

#define EXT4_XATTRS_MAX      256U        /* of one entry */
#define EXT4_XATTR_VALUE_MAX (64U << 10) /* xattr(7) */
#define EXT4_LAYERS_MAX      1000U

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

/* n_layers: 1 for a plain archive, at most EXT4_LAYERS_MAX. The topmost is begun already. */
int ext4_builder_new(const char *image_path, const struct ext4_options *options, unsigned n_layers,
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

/* Whiteouts: layers below the one at hand add nothing at path, or nothing to the folder at path. */
int ext4_builder_hide(struct ext4_builder *builder, const char *path, struct err *err);
int ext4_builder_hide_children(struct ext4_builder *builder, const char *path, struct err *err);
/* The layer at hand is complete, and the next one below it begins; after the last one nothing does. */
int ext4_builder_end_layer(struct ext4_builder *builder, struct err *err);
/*
 * After the last layer: a layer (0: the lowest) that has to be read once more, because a hard link in it leads to a name
 * that an upper layer replaced; EXT4_LAYERS_MAX when there is none. Its entries, and no whiteouts, are then added
 * again, and ext4_builder_end_layer() follows; until there is none any more.
 */
int ext4_builder_read_again(struct ext4_builder *builder, unsigned *ret_layer, struct err *err);

struct ext4_builder_report {
        uint64_t size;          /* of the file system, bytes */
        uint64_t content_bytes; /* of regular files */
        uint64_t n_names;
};

/* Writes the folders and finishes the image. A hard link to what never came is EBADMSG. */
int ext4_builder_finish(struct ext4_builder *builder, struct ext4_builder_report *ret_report,
                        struct err *err);
/* Without ext4_builder_finish() before it the image is removed. NULL is fine. */
void ext4_builder_free(struct ext4_builder *builder);
