/*
 * image/: images are immutable, named, stored once, each a folder <images>/<name>/ with rootfs.ext4, work-seed.ext4 and
 * manifest.json. A registered image is a folder too, but its root file system stays where its owner has it, named by the
 * manifest. It runs as the owner and needs no root.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* All owned. */
struct image {
        char *name;
        char *source; /* "docker.io/library/debian:bookworm", "oci:/path", "recipe:debian-bookworm", "bundle:<url>", "file:<path>" */
        char *kernel; /* name of the kernel it goes with */
        char *rootfs_path;    /* absolute */
        char *work_seed_path; /* absolute, or "" */
        char *created_at;     /* RFC 3339 */
        char *distro;         /* "debian" or "" */
        char *digest;         /* of what its reference meant when it was pulled: "sha256:..." or "" */
        char *config; /* how its programs are run: a JSON object (oci_config.h), "" for images of our own */
        bool is_managed;      /* false: the root file system is a file of somebody else's */
        uint64_t rootfs_size; /* bytes of the file system */
        uint64_t real_bytes;  /* allocated on disk, all files, a registered one's too */
};

void image_done(struct image *image);
bool image_name_is_valid(const char *name); /* as kernel names */

struct image_progress {
        /* stage: "packages", "write", "seed", "publish"; total 0: unknown. A return < 0 cancels. */
        int (*report)(void *userdata, const char *stage, uint64_t done, uint64_t total);
        /* The same of one of several things within the stage. NULL: nobody wants to know. */
        int (*report_part)(void *userdata, const char *stage, const char *part, uint64_t done,
                           uint64_t total);
        void *userdata;
};

/* An archive of a catalog: rootfs.ext4 and manifest.json, as .tar.zst. */
struct image_bundle {
        const char *url, *sha256; /* of the archive */
        const char *kernel, *distro;
        uint64_t size; /* of the archive, bytes; 0: unknown */
};

/* The most bytes a bundle may have, packed (S-241). A variable so that tests reach the limit; nothing else changes it. */
extern uint64_t image_bundle_bytes_max;

struct image_pull {
        const char *name;   /* local name */
        const char *recipe; /* catalog name: "debian-bookworm" */
        const char
                *reference; /* or an image of a registry or a place on this machine; NULL: of the catalog */
        const char *source; /* of a reference: what it is said to come from */
        const char *kernel; /* of a reference: the kernel it goes with */
        const char *registries;              /* of a reference: the [registry] tables as JSON; NULL: none */
        const char *const *credential_files; /* of a reference: oci_credentials_find() */
        int stdin_fd;                        /* of the reference "-"; FD_NONE */
        const char *images_folder;           /* made when missing */
        const char *cache_folder;
        uint64_t size; /* of the root file system, bytes; 0: 8 GiB. Not of a bundle's, which has its own */
        const struct image_bundle *bundle; /* NULL: made here, by the recipe */
        bool replace;                      /* false: EEXIST when the name exists */
        struct image_progress progress;
};

struct image_catalog_entry {
        const char *name;
        const char *doc;
        const char *kernel; /* kernel it wants: "debian-6.1" */
        const char *distro; /* "debian" */
        const char *arch;   /* "x86_64" */
        /* of its bundle; "": none is published, and it is made here */
        const char *url, *sha256;
        uint64_t size;
};
/* What was built in, and what image_catalog_add() has added. The first of a name counts. */
const struct image_catalog_entry *image_catalog(unsigned *ret_n);
/* NULL: no such name. */
const struct image_catalog_entry *image_catalog_find(const char *name);
/*
 * Adds the entries of a catalog of the user's, which point to bundles; they come before those built in. A missing file is an
 * empty one. EBADMSG names the entry. A second call's entries take the place of the first's.
 */
int image_catalog_add(const char *path, struct err *err);

/*
 * ENOENT: not in the catalog (names the known ones). Staged, then renamed: nothing half-made is ever visible. A reference that is
 * here already is only asked about, and left as it is when it still means the same.
 */
int image_pull(const struct image_pull *pull, struct image *ret_image, struct err *err);
int image_read(const char *images_folder, const char *name, struct image *ret_image,
               struct err *err); /* ENOENT */
int image_list(const char *images_folder, struct image **ret_images, unsigned *ret_n, struct err *err);
/* Removes what pulls that were killed have left. The number of those that still run. */
unsigned image_sweep(const char *images_folder, const char *cache_folder);
/* Files that were only registered stay. */
int image_delete(const char *images_folder, const char *name, struct err *err);

/*
 * A file of the user's becomes an image without being copied. It must be an ext4 file system; work_seed, when given, is
 * copied, since grown copies are kept beside it. EINVAL: not ext4; EEXIST.
 */
struct image_register {
        const char *name;
        const char *images_folder;
        const char *rootfs;    /* absolute */
        const char *work_seed; /* absolute; NULL: /root begins empty */
        const char *kernel;
};
int image_register(const struct image_register *registration, struct image *ret_image, struct err *err);
/* Copies the root file system of a registered image into its folder; from then on it needs the original no more. EALREADY. */
int image_promote(const char *images_folder, const char *name, const struct image_progress *progress,
                  struct image *ret_image, struct err *err);

/* All images, read once and then only those that changed, when something may have changed. */
struct image_index;
struct image_index *image_index_new(const char *images_folder);
void image_index_free(struct image_index *index);
/* Sorted by name; borrowed until the next call. */
int image_index_list(struct image_index *index, const struct image **ret_images, unsigned *ret_n,
                     struct err *err);
/* Something may have changed that the folder of all images does not show. */
void image_index_touch(struct image_index *index);
/* The same as long as image_index_list() gives the same. */
uint64_t image_index_generation(const struct image_index *index);
