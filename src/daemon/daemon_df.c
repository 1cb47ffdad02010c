/* daemon.df and image.cache.prune: a job walks the trees, and the registry tells what of it is in use. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_image.h"
#include "base/json.h"
#include "base/scoped.h"
#include "daemon/daemon_stores.h"

static void add_user(json_t *item, const char *name)
{
        json_t *users = json_object_get(item, "used_by");

        (void) json_array_append_new(users, json_string(name));
}

/* The item of an image or kernel gets its VMs, the folder of a VM its name and, while it runs, itself as user. */
static void tell_users(const char *type, json_t *item, const struct store_vm *vms, unsigned n_vms)
{
        const char *name = json_text(item, "name");

        (void) json_object_set_new(item, "used_by", json_array());
        for (unsigned i = 0; i < n_vms; i++) {
                const struct store_vm *vm = &vms[i];

                if ((strcmp(type, "images") == 0 && strcmp(vm->image, name) == 0) ||
                    (strcmp(type, "kernels") == 0 && strcmp(vm->kernel, name) == 0))
                        add_user(item, vm->name);
                if (strcmp(type, "vms") == 0 && strcmp(vm->id, name) == 0) {
                        if (vm->state == VM_RUNNING)
                                add_user(item, vm->name);
                        (void) json_object_set_new(item, "name", json_string(vm->name));
                        return;
                }
        }
}

/* What can be had back without losing a VM: images and kernels that none uses, and every cache. */
static bool is_reclaimable(const char *type, const json_t *item)
{
        return strcmp(type, "caches") == 0 ||
               (strcmp(type, "vms") != 0 && json_array_size(json_object_get(item, "used_by")) == 0);
}

static void sum_up(json_t *category, const struct store_vm *vms, unsigned n_vms)
{
        static const char *const numbers[] = { "apparent_bytes", "real_bytes", "shareable_bytes" };
        const char *type = json_text(category, "type");
        json_int_t sums[3] = { 0 }, reclaimable = 0, n_used = 0;
        json_t *item = NULL;
        size_t i;

        json_array_foreach (json_object_get(category, "items"), i, item) {
                tell_users(type, item, vms, n_vms);
                for (size_t j = 0; j < 3; j++)
                        sums[j] += (json_int_t) json_u64(item, numbers[j], 0);
                if (json_array_size(json_object_get(item, "used_by")) > 0)
                        n_used++;
                if (is_reclaimable(type, item))
                        reclaimable += (json_int_t) json_u64(item, "real_bytes", 0);
        }
        for (size_t j = 0; j < 3; j++)
                (void) json_object_set_new(category, numbers[j], json_integer(sums[j]));
        (void) json_object_set_new(category, "n_used", json_integer(n_used));
        (void) json_object_set_new(category, "reclaimable_bytes", json_integer(reclaimable));
}

static void counted(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct store_vm *vms = NULL;
        struct err err = { 0 };
        json_t *category = NULL;
        unsigned n_vms = 0;
        size_t i;

        if (!end->result)
                (void) daemon_operation_fail(operation, end->err);
        else if (store_vm_list(operation->daemon->store, &vms, &n_vms, &err) < 0)
                (void) daemon_operation_fail(operation, &err);
        else
                operation->answer = json_deep_copy(end->result);
        json_array_foreach (json_object_get(operation->answer, "categories"), i, category)
                sum_up(category, vms, n_vms);
        for (i = 0; i < n_vms; i++)
                store_vm_done(&vms[i]);
        free(vms);
        daemon_operation_end(operation);
}

DAEMON_HANDLER(daemon_df)
{
        struct daemon *daemon = daemon_of(call);

        (void) params;
        (void) ret_result;
        (void) err;
        daemon_operation_shared_job(daemon_operation_new(daemon, call, "daemon.df"), "df", "job.usage",
                                    json_pack("{s:s, s:s, s:s, s:s}", "images_folder", daemon->images_folder,
                                              "kernels_folder", daemon->kernels_folder, "vms_folder",
                                              daemon->vms_folder, "cache_folder", daemon->layout.cache),
                                    counted);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_image_cache_prune)
{
        const struct image_cache_prune_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped_free char *folder = layout_join(daemon->layout.cache, "oci", NULL);

        (void) ret_result;
        (void) err;
        daemon_operation_job(daemon_operation_new(daemon, call, "image.cache.prune"), "cache:oci",
                             "job.cache.prune",
                             json_pack("{s:s, s:b}", "oci_folder", folder, "dry_run", (int) p->dry_run),
                             daemon_answer_with_job);
        return RPC_LATER;
}
