/*
 * image.*: images. An image is described by an object: name, source, kernel, distro, managed, size_bytes, real_bytes,
 * created_at, rootfs_path, work_seed_path, and in lists used_by, the names of its VMs; in the catalog: name, doc, kernel,
 * bundle_bytes (0: made here, or unknown), pulled.
 */
#pragma once

#include "rpc/rpc_table.h"

struct image_pull_params {
        const char *image; /* catalog name or reference */
        const char *name;
        const char *kernel_ref;
        const char
                *input; /* of the reference "-": a file, or the descriptor of a living process below /proc */
        const char *source; /* what the image is said to come from */
        uint64_t size;
};

struct image_register_params {
        const char *name;
        const char *rootfs, *work_seed;
        const char *kernel_ref;       /* a kernel that is here or in the catalog, or else */
        const char *kernel, *modules; /* files, which become a kernel of the image's name */
};

struct image_cache_prune_params {
        bool dry_run;
};

struct image_ref_params {
        const char *image;
};

extern const struct rpc_method api_image_pull; /* streams; the image's object */
extern const struct rpc_method api_image_list; /* {"images":[...]} */
/*
 * {"rows": text}: name, state, kernel, bytes, bytes on the disk and time of each local image, then of each that could be pulled.
 * Cells and rows have ends that JSON need not escape: with a thousand images that is most of what the table costs.
 */
extern const struct rpc_method api_image_rows;
#define API_IMAGE_CELL_END '|'
#define API_IMAGE_ROW_END  ';'
#define API_IMAGE_ENDS     "|;"

extern const struct rpc_method api_image_catalog; /* {"images":[...]} */
extern const struct rpc_method api_image_show;
extern const struct rpc_method api_image_register; /* streams; the image's object */
extern const struct rpc_method api_image_promote;  /* streams; the image's object */
extern const struct rpc_method api_image_delete;
extern const struct rpc_method
        api_image_cache_prune; /* {"bytes_freed","blobs_freed","dry_run","cache_dir"} */
