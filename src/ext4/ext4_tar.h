/* Reads a tar archive into a builder. Internal to ext4/ and to what reads layers. */
#pragma once

#include "ext4/ext4_builder.h"

struct ext4_tar_source {
        /* More bytes, which last until the next call: how many, 0 at the end, -errno. */
        ssize_t (*more)(void *userdata, const void **ret_data);
        /* Before an entry is added, NULL: never asked. 1: it was taken care of, 0: add it; or -code. */
        int (*take)(void *userdata, struct ext4_builder *builder, const struct ext4_entry *entry,
                    struct err *err);
        /* After an entry, and now and then within one. NULL: nobody asks. -code stops. */
        int (*progress)(void *userdata, struct err *err);
        void *userdata;
        bool is_plain;          /* a tar and nothing else; false: gzip, xz and zstd are recognised */
        const char *only_below; /* NULL: everything; else only what is below it, as the root */
};

/* *ret_n_entries counts while it reads. Errors as in ext4_from_tar(); they name the entry. */
int ext4_tar_read(const struct ext4_tar_source *source, struct ext4_builder *builder, uint64_t *ret_n_entries,
                  struct err *err);
