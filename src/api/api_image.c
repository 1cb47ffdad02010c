#include "api/api_image.h"

#include "base/size.h"

static const struct rpc_field pull_params[] = {
        RPC_FIELD(struct image_pull_params, image, "name in the catalog", .required = true,
                  .sense = RPC_IMAGE_NAME),
        RPC_FIELD(struct image_pull_params, name, "local name (default: the catalog's)",
                  .sense = RPC_IMAGE_NAME),
        RPC_FIELD(struct image_pull_params, size, "size of the root file system, as 4GiB", .sense = RPC_BYTES,
                  .min = 1 * GIB, .max = UINT64_C(16) << 40),
        RPC_END,
};

static const struct rpc_field ref_params[] = {
        RPC_FIELD(struct image_ref_params, image, "local image", .required = true, .sense = RPC_IMAGE_NAME),
        RPC_END,
};

static const struct rpc_field no_params[] = { RPC_END };

const struct rpc_method api_image_pull = {
        .name = "image.pull",
        .doc = "Get an image from the catalog.",
        .params_size = sizeof(struct image_pull_params),
        .params = pull_params,
        .streams = true,
};
const struct rpc_method api_image_list = {
        .name = "image.list",
        .doc = "List the local images.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_image_catalog = {
        .name = "image.catalog",
        .doc = "List the images that can be pulled by name.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_image_show = {
        .name = "image.show",
        .doc = "Show one image.",
        .params_size = sizeof(struct image_ref_params),
        .params = ref_params,
        .is_quiet = true,
};
const struct rpc_method api_image_delete = {
        .name = "image.delete",
        .doc = "Delete an image that no virtual machine uses.",
        .params_size = sizeof(struct image_ref_params),
        .params = ref_params,
};
