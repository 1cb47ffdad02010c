#include "api/api_image.h"

#include "base/size.h"

static const struct rpc_field pull_params[] = {
        RPC_FIELD(struct image_pull_params, image,
                  "name in the catalog, or of an image of a registry, or a place on this machine",
                  .required = true, .sense = RPC_IMAGE_REF),
        RPC_FIELD(struct image_pull_params, name, "local name (default: the catalog's, or repository-tag)",
                  .sense = RPC_IMAGE_NAME),
        RPC_FIELD(struct image_pull_params, kernel_ref,
                  "kernel it boots (default: that of the default image)", .sense = RPC_KERNEL_NAME),
        RPC_FIELD(struct image_pull_params, input, "what is read for the image '-'", .sense = RPC_HOST_PATH),
        RPC_FIELD(struct image_pull_params, source,
                  "what the image is said to come from, and is the same image by (default: its reference)"),
        RPC_FIELD(struct image_pull_params, size,
                  "size of the root file system, as 4GiB (default: by its content)", .sense = RPC_BYTES,
                  .min = 1 * GIB, .max = UINT64_C(16) << 40),
        RPC_END,
};

static const struct rpc_field ref_params[] = {
        RPC_FIELD(struct image_ref_params, image, "local image", .required = true, .sense = RPC_IMAGE_NAME),
        RPC_END,
};

static const struct rpc_field register_params[] = {
        RPC_FIELD(struct image_register_params, name, "name of the image", .required = true,
                  .sense = RPC_IMAGE_NAME),
        RPC_FIELD(struct image_register_params, rootfs, "file with the ext4 root file system; it stays there",
                  .required = true, .sense = RPC_HOST_PATH),
        RPC_FIELD(struct image_register_params, work_seed,
                  "ext4 file with what /root begins with (default: nothing); it is copied",
                  .sense = RPC_HOST_PATH),
        RPC_FIELD(struct image_register_params, kernel_ref,
                  "kernel it boots (default: that of the default image)", .sense = RPC_KERNEL_NAME),
        RPC_FIELD(struct image_register_params, kernel,
                  "vmlinux or bzImage file to boot, imported under the image's name", .sense = RPC_HOST_PATH),
        RPC_FIELD(struct image_register_params, modules,
                  "lib/modules/<version> of --kernel (default: drivers are built in)",
                  .sense = RPC_HOST_PATH),
        RPC_END,
};

static const struct rpc_field cache_prune_params[] = {
        RPC_FIELD(struct image_cache_prune_params, dry_run, "count only, and remove nothing"),
        RPC_END,
};

static const struct rpc_field no_params[] = { RPC_END };

const struct rpc_method api_image_pull = {
        .name = "image.pull",
        .doc = "Get an image: of the catalog, of a registry, or from a folder or archive.",
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
const struct rpc_method api_image_rows = {
        .name = "image.rows",
        .doc = "List the local images, and those that can be pulled, as the rows of a table.",
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
const struct rpc_method api_image_register = {
        .name = "image.register",
        .doc = "Make an image of a root file system that lies on this host, without copying it.",
        .params_size = sizeof(struct image_register_params),
        .params = register_params,
        .streams = true,
};
const struct rpc_method api_image_promote = {
        .name = "image.promote",
        .doc = "Copy a registered image into banger's own storage.",
        .params_size = sizeof(struct image_ref_params),
        .params = ref_params,
        .streams = true,
};
const struct rpc_method api_image_delete = {
        .name = "image.delete",
        .doc = "Delete an image that no virtual machine uses.",
        .params_size = sizeof(struct image_ref_params),
        .params = ref_params,
};
const struct rpc_method api_image_cache_prune = {
        .name = "image.cache.prune",
        .doc = "Remove the downloaded layers of images; the images stay.",
        .params_size = sizeof(struct image_cache_prune_params),
        .params = cache_prune_params,
};
