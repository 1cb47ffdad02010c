/* image.* and kernel.*. */
#include "daemon/daemon_stores.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_image.h"
#include "api/api_kernel.h"
#include "base/json.h"
#include "base/scoped.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_operation.h"
#include "daemon/daemon_vm.h"

char *daemon_image_key(const char *image)
{
        return xasprintf("image:%s", image);
}

char *daemon_kernel_key(const char *kernel)
{
        return xasprintf("kernel:%s", kernel);
}

bool daemon_image_is_in_catalog(const char *image)
{
        return image_catalog_find(image) != NULL;
}

bool daemon_kernel_is_in_catalog(const char *kernel)
{
        return kernel_catalog_find(kernel) != NULL;
}

json_t *daemon_image_job_params(const struct daemon *daemon, const char *image, const char *name,
                                uint64_t size, bool replace)
{
        const struct image_catalog_entry *entry = image_catalog_find(image);
        json_t *params = json_pack(
                "{s:s, s:s, s:s, s:s, s:I, s:b}", "image", image, "name", name, "images_folder",
                daemon->images_folder, "cache_folder", daemon->layout.cache, "size",
                (json_int_t) (size ? size : daemon->config.overlay_bytes), "replace", (int) replace);

        if (entry && entry->url[0] != '\0')
                (void) json_object_update_new(
                        params, json_pack("{s:s, s:s, s:I, s:s, s:s}", "url", entry->url, "sha256",
                                          entry->sha256, "bundle_size", (json_int_t) entry->size, "kernel",
                                          entry->kernel, "distro", entry->distro));
        return params;
}

json_t *daemon_reference_job_params(const struct daemon *daemon, const struct image_wanted *wanted,
                                    uint64_t size, const char *kernel)
{
        scoped_free char *auth_file = layout_join(daemon->layout.state, DAEMON_AUTH_FILE, NULL);
        scoped_free char *registries =
                daemon->config.registries ? json_dumps(daemon->config.registries, JSON_COMPACT) : NULL;

        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:s, s:s, s:s*, s:s*}", "image",
                         wanted->reference, "reference", wanted->reference, "source", wanted->source, "name",
                         wanted->name, "images_folder", daemon->images_folder, "cache_folder",
                         daemon->layout.cache, "size", (json_int_t) size, "replace", (int) wanted->is_here,
                         "auth_file", auth_file, "home", daemon->layout.owner_home, "registries", registries,
                         "kernel", kernel);
}

json_t *daemon_kernel_job_params(const struct daemon *daemon, const char *kernel, bool replace)
{
        const struct kernel_catalog_entry *entry = kernel_catalog_find(kernel);
        json_t *params = json_pack("{s:s, s:s, s:s, s:s, s:b}", "kernel", kernel, "kernels_folder",
                                   daemon->kernels_folder, "cache_folder", daemon->layout.cache, "agent_path",
                                   daemon->agent_path, "replace", (int) replace);

        if (entry && entry->url[0] != '\0')
                (void) json_object_update_new(
                        params, json_pack("{s:s, s:s, s:I, s:s}", "url", entry->url, "sha256", entry->sha256,
                                          "bundle_size", (json_int_t) entry->size, "distro", entry->distro));
        return params;
}

void daemon_sweep(struct daemon *daemon)
{
        const struct daemon_job_request request = {
                .key = "sweep",
                .method = "job.image.sweep",
                .owned_params =
                        json_pack("{s:s, s:s, s:s}", "images_folder", daemon->images_folder, "kernels_folder",
                                  daemon->kernels_folder, "cache_folder", daemon->layout.cache),
                .op_id = "op-000000000000",
        };

        (void) daemon_job_add(daemon, &request);
}

void daemon_answer_with_job(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        if (end->result)
                operation->answer = json_deep_copy(end->result);
        else
                (void) daemon_operation_fail(operation, end->err);
        daemon_operation_end(operation);
}

/* Images and kernels in use cannot go: the VMs are named. */
static int check_unused(const struct daemon *daemon, const char *what, const char *name, bool is_image,
                        struct err *err)
{
        scoped_text struct text users = { 0 };
        struct store_vm *vms = NULL;
        unsigned n = 0;
        int r = store_vm_list(daemon->store, &vms, &n, err);

        for (unsigned i = 0; i < n; i++) {
                if (strcmp(is_image ? vms[i].image : vms[i].kernel, name) == 0)
                        text_appendf(&users, "%s%s", users.n ? ", " : "", vms[i].name);
                store_vm_done(&vms[i]);
        }
        free(vms);
        if (r == 0 && users.n > 0)
                r = err_set(err, EBUSY, "delete", "%s '%s' is used by %.400s; delete them first", what, name,
                            users.s);
        return r;
}

/* Nor can those that a create has chosen, whose VM is not on record until it has all that it needs. */
static int check_unwanted(const struct daemon *daemon, const char *image, const char *kernel, struct err *err)
{
        const struct daemon_operation *create = daemon_vm_create_find(daemon, image, kernel);

        return create ? err_set(err, EBUSY, "delete",
                                "%s '%s' is needed by a vm that is being created (%s): try again when that "
                                "has ended, or end it with 'banger operations --cancel %s'",
                                image ? "image" : "kernel", image ? image : kernel, create->id, create->id)
                      : 0;
}

/* Nor those that something makes right now. A key says whether it is an image's or a kernel's. */
static int check_unmade(const struct daemon *daemon, const char *key, struct err *err)
{
        static const struct {
                const char *method, *doing;
        } makers[] = {
                {"job.image.pull",      "pulled"            },
                { "job.image.promote",  "promoted"          },
                { "job.image.register", "registered"        },
                { "job.kernel.pull",    "pulled"            },
                { "job.kernel.import",  "imported"          },
                { "job.kernel.refresh", "brought up to date"},
        };

        for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++)
                if (daemon_job_find(daemon, key, makers[i].method))
                        return err_set(err, EBUSY, "delete",
                                       "%.*s '%s' is being %s: try again when that has ended, or end the "
                                       "command that does it",
                                       (int) strcspn(key, ":"), key, strchr(key, ':') + 1, makers[i].doing);
        return 0;
}

/* An image of the catalog is made once; EEXIST when it is there. */
static int check_absent(const struct daemon *daemon, const char *name, struct err *err)
{
        struct image image = { 0 };
        int r = image_read(daemon->images_folder, name, &image, err);

        if (r == 0) {
                image_done(&image);
                return err_set(err, EEXIST, "image.pull",
                               "image '%s' is there; delete it first, or pull under another --name", name);
        }
        if (r != -ENOENT)
                return r;
        *err = (struct err){ 0 };
        return 0;
}

static int check_catalog_pull(const struct daemon *daemon, const struct image_pull_params *p,
                              const char *name, struct err *err)
{
        if (p->kernel_ref)
                return err_set(
                        err, EINVAL, "image.pull",
                        "--kernel-ref is for images of registries: '%s' of the catalog has its own kernel",
                        p->image);
        return check_absent(daemon, name, err);
}

static int check_kernel_ref(const struct daemon *daemon, const char *kernel, struct err *err)
{
        if (!kernel || daemon_kernel_is_here(daemon, kernel) || daemon_kernel_is_in_catalog(kernel))
                return 0;
        return err_set(
                err, ENOENT, "image.pull",
                "no kernel named '%s', neither here nor in the catalog ('banger kernel list' shows both)",
                kernel);
}

DAEMON_HANDLER(daemon_image_pull)
{
        const struct image_pull_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(image_wanted_done) struct image_wanted wanted = { 0 };
        const struct image_wish wish = { .word = p->image, .name = p->name, .source = p->source };
        scoped_free char *key = NULL;
        json_t *job_params;
        int r = image_wanted_find(daemon->images_folder, &wish, &wanted, err);

        (void) ret_result;
        if (r == 0)
                r = wanted.reference ? check_kernel_ref(daemon, p->kernel_ref, err)
                                     : check_catalog_pull(daemon, p, wanted.name, err);
        if (r < 0)
                return r;
        key = daemon_image_key(wanted.name);
        job_params = wanted.reference
                             ? daemon_reference_job_params(daemon, &wanted, p->size, p->kernel_ref)
                             : daemon_image_job_params(daemon, p->image, wanted.name, p->size, false);
        if (p->input)
                (void) json_object_set_new(job_params, "input", json_string(p->input));
        daemon_operation_shared_job(daemon_operation_new(daemon, call, "image.pull"), key, "job.image.pull",
                                    job_params, daemon_answer_with_job);
        return RPC_LATER;
}

static bool image_is_here(const struct daemon *daemon, const char *name)
{
        struct image image = { 0 };
        struct err err = { 0 };
        int r = image_read(daemon->images_folder, name, &image, &err);

        if (r == 0)
                image_done(&image);
        return r == 0;
}

bool daemon_kernel_is_here(const struct daemon *daemon, const char *name)
{
        struct kernel kernel = { 0 };
        struct err err = { 0 };
        int r = kernel_read(daemon->kernels_folder, name, &kernel, &err);

        if (r == 0)
                kernel_done(&kernel);
        return r == 0;
}

DAEMON_HANDLER(daemon_image_catalog)
{
        json_t *array = json_array();
        unsigned n = 0;
        const struct image_catalog_entry *entries = image_catalog(&n);

        (void) params;
        (void) err;
        for (unsigned i = 0; i < n; i++)
                if (image_catalog_find(entries[i].name) == &entries[i]) /* no second of its name */
                        (void) json_array_append_new(
                                array, json_pack("{s:s, s:s, s:s, s:I, s:b}", "name", entries[i].name, "doc",
                                                 entries[i].doc, "kernel", entries[i].kernel, "bundle_bytes",
                                                 (json_int_t) entries[i].size, "pulled",
                                                 (int) image_is_here(daemon_of(call), entries[i].name)));
        *ret_result = json_pack("{s:o}", "images", array);
        return 0;
}

DAEMON_HANDLER(daemon_image_delete)
{
        const struct image_ref_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped_free char *key = daemon_image_key(p->image);
        int r = check_unused(daemon, "image", p->image, true, err);

        (void) ret_result;
        if (r == 0)
                r = check_unwanted(daemon, p->image, NULL, err);
        if (r == 0)
                r = check_unmade(daemon, key, err);
        return r < 0 ? r : image_delete(daemon->images_folder, p->image, err);
}

DAEMON_HANDLER(daemon_kernel_pull)
{
        const struct kernel_pull_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped_free char *key = daemon_kernel_key(p->kernel);

        (void) ret_result;
        if (!daemon_kernel_is_in_catalog(p->kernel))
                return err_set(err, ENOENT, "kernel.pull",
                               "no kernel '%s' in the catalog; 'banger kernel list --available' shows it",
                               p->kernel);
        if (!p->force && daemon_kernel_is_here(daemon, p->kernel)) /* S-068 */
                return err_set(err, EEXIST, "kernel.pull",
                               "kernel '%s' is already pulled; --force gets it again", p->kernel);
        daemon_operation_shared_job(daemon_operation_new(daemon, call, "kernel.pull"), key, "job.kernel.pull",
                                    daemon_kernel_job_params(daemon, p->kernel, p->force),
                                    daemon_answer_with_job);
        return RPC_LATER;
}

static void set_when_given(json_t *params, const char *key, const char *value)
{
        if (value)
                (void) json_object_set_new(params, key, json_string(value));
}

DAEMON_HANDLER(daemon_kernel_import)
{
        const struct kernel_import_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped_free char *key = daemon_kernel_key(p->kernel);
        json_t *job_params;

        (void) ret_result;
        if (!p->force && daemon_kernel_is_here(daemon, p->kernel))
                return err_set(err, EEXIST, "kernel.import",
                               "a kernel named '%s' is here; --force replaces it", p->kernel);
        job_params = daemon_kernel_job_params(daemon, p->kernel, p->force);
        set_when_given(job_params, "from", p->from);
        set_when_given(job_params, "modules", p->modules);
        set_when_given(job_params, "distro", p->distro);
        daemon_operation_job(daemon_operation_new(daemon, call, "kernel.import"), key, "job.kernel.import",
                             job_params, daemon_answer_with_job);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_kernel_list)
{
        json_t *array = json_array();
        struct kernel *kernels = NULL;
        unsigned n = 0;
        int r = kernel_list(daemon_of(call)->kernels_folder, &kernels, &n, err);

        (void) params;
        for (unsigned i = 0; i < n; i++) {
                (void) json_array_append_new(array, daemon_kernel_object(&kernels[i]));
                kernel_done(&kernels[i]);
        }
        free(kernels);
        *ret_result = json_pack("{s:o}", "kernels", array);
        return r;
}

DAEMON_HANDLER(daemon_kernel_catalog)
{
        json_t *array = json_array();
        unsigned n = 0;
        const struct kernel_catalog_entry *entries = kernel_catalog(&n);

        (void) params;
        (void) err;
        for (unsigned i = 0; i < n; i++)
                if (kernel_catalog_find(entries[i].name) == &entries[i])
                        (void) json_array_append_new(
                                array,
                                json_pack("{s:s, s:s, s:I, s:b}", "name", entries[i].name, "doc",
                                          entries[i].doc, "bundle_bytes", (json_int_t) entries[i].size,
                                          "pulled",
                                          (int) daemon_kernel_is_here(daemon_of(call), entries[i].name)));
        *ret_result = json_pack("{s:o}", "kernels", array);
        return 0;
}

DAEMON_HANDLER(daemon_kernel_show)
{
        const struct kernel_ref_params *p = params;
        struct kernel kernel = { 0 };
        int r = kernel_read(daemon_of(call)->kernels_folder, p->kernel, &kernel, err);

        if (r < 0)
                return r;
        *ret_result = daemon_kernel_object(&kernel);
        kernel_done(&kernel);
        return 0;
}

DAEMON_HANDLER(daemon_kernel_delete)
{
        const struct kernel_ref_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped_free char *key = daemon_kernel_key(p->kernel);
        int r = check_unused(daemon, "kernel", p->kernel, false, err);

        (void) ret_result;
        if (r == 0)
                r = check_unwanted(daemon, NULL, p->kernel, err);
        if (r == 0)
                r = check_unmade(daemon, key, err);
        return r < 0 ? r : kernel_delete(daemon->kernels_folder, p->kernel, err);
}
