/*
 * image/: images are immutable, named, stored once, each a folder <images>/<name>/ with rootfs.ext4, work-seed.ext4 and
 * manifest.json. It runs as the owner and needs no root.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* All owned. */
struct image {
        char *name;
        char *source;         /* "recipe:debian-bookworm" */
        char *kernel;         /* name of the kernel it goes with */
        char *rootfs_path;    /* absolute */
        char *work_seed_path; /* absolute, or "" */
        char *created_at;     /* RFC 3339 */
        uint64_t rootfs_size; /* bytes of the file system */
        uint64_t real_bytes;  /* allocated on disk, all files */
};

void image_done(struct image *image);
bool image_name_is_valid(const char *name); /* as kernel names */

struct image_progress {
        /* stage: "packages", "write", "seed", "publish"; total 0: unknown. A return < 0 cancels. */
        int (*report)(void *userdata, const char *stage, uint64_t done, uint64_t total);
        void *userdata;
};

struct image_pull {
        const char *name;          /* local name */
        const char *recipe;        /* catalog name: "debian-bookworm" */
        const char *images_folder; /* made when missing */
        const char *cache_folder;
        uint64_t size; /* of the root file system, bytes; 0: 8 GiB */
        bool replace;  /* false: EEXIST when the name exists */
        struct image_progress progress;
};

struct image_catalog_entry {
        const char *name;
        const char *doc;
        const char *kernel; /* kernel it wants: "debian-6.1" */
};
const struct image_catalog_entry *image_catalog(unsigned *ret_n);

/* ENOENT: not in the catalog (names the known ones). Staged, then renamed: nothing half-made is ever visible. */
int image_pull(const struct image_pull *pull, struct image *ret_image, struct err *err);
int image_read(const char *images_folder, const char *name, struct image *ret_image,
               struct err *err); /* ENOENT */
int image_list(const char *images_folder, struct image **ret_images, unsigned *ret_n, struct err *err);
int image_delete(const char *images_folder, const char *name, struct err *err);
