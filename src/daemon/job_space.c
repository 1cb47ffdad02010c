/* The jobs that look through whole trees: what everything takes on the disk, and emptying a cache. */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/scoped.h"
#include "base/text.h"
#include "daemon/job.h"
#include "image/image_prune.h"
#include "storage/storage_usage.h"

static const struct rpc_field usage_params[] = {
        RPC_FIELD(struct job_usage_params, images_folder, "where images are", .required = true),
        RPC_FIELD(struct job_usage_params, kernels_folder, "where kernels are", .required = true),
        RPC_FIELD(struct job_usage_params, vms_folder, "where vms are", .required = true),
        RPC_FIELD(struct job_usage_params, cache_folder, "where downloads are", .required = true),
        RPC_END,
};
const struct rpc_method job_usage = {
        .name = "job.usage",
        .doc = "Add up what everything takes on the disk.",
        .params_size = sizeof(struct job_usage_params),
        .params = usage_params,
};

static const struct rpc_field cache_prune_params[] = {
        RPC_FIELD(struct job_cache_prune_params, oci_folder, "the cache", .required = true),
        RPC_FIELD(struct job_cache_prune_params, dry_run, "count only"),
        RPC_END,
};
const struct rpc_method job_cache_prune = {
        .name = "job.cache.prune",
        .doc = "Empty the cache of blobs.",
        .params_size = sizeof(struct job_cache_prune_params),
        .params = cache_prune_params,
};

int job_cache_prune_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_cache_prune_params *p = params;
        struct image_pruned pruned = { 0 };
        int r = image_cache_prune(p->oci_folder, p->dry_run, &pruned, err);

        (void) call;
        if (r < 0)
                return r;
        *ret_result =
                json_pack("{s:I, s:I, s:b, s:s}", "bytes_freed", (json_int_t) pruned.bytes, "blobs_freed",
                          (json_int_t) pruned.blobs, "dry_run", (int) p->dry_run, "cache_dir", p->oci_folder);
        return 0;
}

static int add_item(json_t *items, const char *folder, const char *name, struct err *err)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        struct storage_usage usage = { 0 };
        int r = storage_usage_add(path, &usage, err);

        if (r < 0)
                return r;
        (void) json_array_append_new(items, json_pack("{s:s%, s:I, s:I, s:I}", "name", name, strlen(name),
                                                      "apparent_bytes", (json_int_t) usage.apparent,
                                                      "real_bytes", (json_int_t) usage.real,
                                                      "shareable_bytes", (json_int_t) usage.shareable));
        return 0;
}

/* One item for each name in the folder, hidden ones (half-made things) too. */
static int add_category(json_t *categories, const char *type, const char *folder, struct err *err)
{
        struct dirent **names = NULL;
        int n = scandir(folder, &names, NULL, alphasort), r = 0;
        json_t *items = json_array();

        if (n < 0 && errno != ENOENT)
                r = err_errno(err, "usage", "list '%s'", folder);
        for (int i = 0; i < n; i++) {
                if (r == 0 && strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0)
                        r = add_item(items, folder, names[i]->d_name, err);
                free(names[i]);
        }
        free(names);
        (void) json_array_append_new(categories, json_pack("{s:s, s:o}", "type", type, "items", items));
        return r;
}

int job_usage_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_usage_params *p = params;
        json_t *categories = json_array();
        int r = add_category(categories, "images", p->images_folder, err);

        (void) call;
        if (r == 0)
                r = add_category(categories, "kernels", p->kernels_folder, err);
        if (r == 0)
                r = add_category(categories, "vms", p->vms_folder, err);
        if (r == 0)
                r = add_category(categories, "caches", p->cache_folder, err);
        *ret_result = json_pack("{s:o}", "categories", categories);
        return r;
}
