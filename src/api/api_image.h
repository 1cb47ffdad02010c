/*
 * image.*: images. An image is described by an object: name, source, kernel, size_bytes, real_bytes, created_at,
 * rootfs_path, work_seed_path; in the catalog: name, doc, kernel, pulled.
 */
#pragma once

#include "rpc/rpc_table.h"

struct image_pull_params {
        const char *image; /* catalog name */
        const char *name;
        uint64_t size;
};

struct image_ref_params {
        const char *image;
};

extern const struct rpc_method api_image_pull;    /* streams; the image's object */
extern const struct rpc_method api_image_list;    /* {"images":[...]} */
extern const struct rpc_method api_image_catalog; /* {"images":[...]} */
extern const struct rpc_method api_image_show;
extern const struct rpc_method api_image_delete;
