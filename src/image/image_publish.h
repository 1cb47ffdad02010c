/* The last steps of every way to an image: its manifest, and one rename that makes it visible. Internal to image/. */
#pragma once

#include <jansson.h>

#include "image/image_store.h"

/* What the manifest remembers of an image. */
struct image_facts {
        const char *name;
        const char *source;
        const char *kernel;
        const char *distro;      /* NULL: unknown */
        const char *digest;      /* NULL: none */
        const json_t *config;    /* NULL: none */
        const char *rootfs_path; /* of a file elsewhere that stays its owner's; NULL: the one in the folder */
        uint64_t rootfs_size;
};

int image_write_manifest(const char *folder, const struct image_facts *facts, struct err *err);

/*
 * The staged folder takes the name below images_folder, synced before it can be seen. EEXIST when an image of this name is there
 * and may not be replaced; one that is replaced ends where the staged folder was and goes with it.
 */
int image_publish(const char *staged, const char *images_folder, const char *name, bool may_replace,
                  struct err *err);

/* EINVAL unless path is a regular file with an ext4 file system; its size in bytes. */
int image_check_ext4(const char *path, uint64_t *ret_size, struct err *err);

/* Calls the listener, if any. ECANCELED when it says no. */
int image_report(const struct image_progress *progress, const char *stage, uint64_t done, uint64_t total,
                 struct err *err);
