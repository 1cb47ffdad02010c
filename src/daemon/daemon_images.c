/* image.list, image.show, image.register, image.promote: what is here, and what the user brings. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_image.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_stores.h"

/* The object of a list: with the VMs that use it. */
static json_t *describe(const struct image *image, const struct store_vm *vms, unsigned n_vms)
{
        json_t *object = daemon_image_object(image), *users = json_array();

        for (unsigned i = 0; i < n_vms; i++)
                if (strcmp(vms[i].image, image->name) == 0)
                        (void) json_array_append_new(users, json_string(vms[i].name));
        (void) json_object_set_new(object, "used_by", users);
        return object;
}

static void vms_free(struct store_vm *vms, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                store_vm_done(&vms[i]);
        free(vms);
}

DAEMON_HANDLER(daemon_image_list)
{
        struct daemon *daemon = daemon_of(call);
        const struct image *images = NULL;
        struct store_vm *vms = NULL;
        unsigned n = 0, n_vms = 0;
        json_t *array;
        int r = image_index_list(daemon->images, &images, &n, err);

        (void) params;
        if (r == 0)
                r = store_vm_list(daemon->store, &vms, &n_vms, err);
        if (r < 0)
                return r;
        array = json_array();
        for (unsigned i = 0; i < n; i++)
                (void) json_array_append_new(array, describe(&images[i], vms, n_vms));
        vms_free(vms, n_vms);
        *ret_result = json_pack("{s:o}", "images", array);
        return 0;
}

static void add_cell(struct text *rows, const char *cell)
{
        text_append_cell(rows, cell, API_IMAGE_ENDS, API_IMAGE_CELL_END);
}

/* Of an image that is not here nothing is known. */
static void add_bytes(struct text *rows, const struct image *image, uint64_t bytes)
{
        if (image->rootfs_size > 0)
                text_appendf(rows, "%" PRIu64, bytes);
        add_cell(rows, "");
}

static void add_row(struct text *rows, const struct image *image, const char *state)
{
        add_cell(rows, image->name);
        add_cell(rows, state);
        add_cell(rows, image->kernel);
        add_bytes(rows, image, image->rootfs_size);
        add_bytes(rows, image, image->real_bytes);
        text_append_cell(rows, image->created_at ? image->created_at : "", API_IMAGE_ENDS, API_IMAGE_ROW_END);
}

static bool is_among(const struct image *images, unsigned n, const char *name)
{
        for (unsigned i = 0; i < n; i++)
                if (strcmp(images[i].name, name) == 0)
                        return true;
        return false;
}

static json_t *make_rows(const struct image *images, unsigned n)
{
        scoped_text struct text rows = { 0 };
        unsigned n_entries = 0;
        const struct image_catalog_entry *entries = image_catalog(&n_entries);

        for (unsigned i = 0; i < n; i++)
                add_row(&rows, &images[i], images[i].is_managed ? "local" : "registered");
        for (unsigned i = 0; i < n_entries; i++) {
                const struct image available = { .name = (char *) (uintptr_t) entries[i].name,
                                                 .kernel = (char *) (uintptr_t) entries[i].kernel };

                if (image_catalog_find(entries[i].name) == &entries[i] &&
                    !is_among(images, n, entries[i].name))
                        add_row(&rows, &available, "available");
        }
        return json_stringn(rows.s ? rows.s : "", rows.n);
}

DAEMON_HANDLER(daemon_image_rows)
{
        struct daemon *daemon = daemon_of(call);
        const struct image *images = NULL;
        unsigned n = 0;
        int r = image_index_list(daemon->images, &images, &n, err);
        uint64_t generation = image_index_generation(daemon->images);

        (void) params;
        if (r < 0)
                return r;
        if (!daemon->image_rows || daemon->image_rows_generation != generation) {
                json_decref(daemon->image_rows);
                daemon->image_rows = make_rows(images, n);
                daemon->image_rows_generation = generation;
        }
        *ret_result = json_pack("{s:O}", "rows", daemon->image_rows);
        return 0;
}

DAEMON_HANDLER(daemon_image_show)
{
        const struct image_ref_params *p = params;
        struct daemon *daemon = daemon_of(call);
        struct store_vm *vms = NULL;
        struct image image = { 0 };
        unsigned n_vms = 0;
        int r = image_read(daemon->images_folder, p->image, &image, err);

        if (r < 0)
                return r;
        r = store_vm_list(daemon->store, &vms, &n_vms, err);
        if (r == 0)
                *ret_result = describe(&image, vms, n_vms);
        vms_free(vms, n_vms);
        image_done(&image);
        return r;
}

static void set_when_given(json_t *params, const char *key, const char *value)
{
        if (value)
                (void) json_object_set_new(params, key, json_string(value));
}

static void json_free(void *state)
{
        json_decref(state);
}

/* The kernel that was imported for an image that then could not be registered goes with it. */
static void registered(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        const json_t *state = operation->state;
        struct err err = { 0 };

        if (!end->result && json_flag(state, "has_imported") &&
            kernel_delete(operation->daemon->kernels_folder, json_text(state, "kernel"), &err) < 0)
                log_warn("a kernel without its image stays", "{s:s, s:s}", "op_id", operation->id, "error",
                         err.message);
        daemon_answer_with_job(operation, end);
}

static void start_registration(struct daemon_operation *operation)
{
        json_t *state = operation->state;
        scoped_free char *key = daemon_image_key(json_text(state, "name"));

        daemon_operation_job(operation, key, "job.image.register",
                             json_incref(json_object_get(state, "params")), registered);
}

static void kernel_imported(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        if (!end->result || operation->cancelled) {
                daemon_answer_with_job(operation, end);
                return;
        }
        (void) json_object_set_new(operation->state, "has_imported", json_true());
        start_registration(operation);
}

static void import_kernel(struct daemon_operation *operation, const struct image_register_params *p)
{
        scoped_free char *key = daemon_kernel_key(p->name);
        json_t *params = daemon_kernel_job_params(operation->daemon, p->name, false);

        set_when_given(params, "from", p->kernel);
        set_when_given(params, "modules", p->modules);
        daemon_operation_job(operation, key, "job.kernel.import", params, kernel_imported);
}

/* The kernel of the image that VMs get when they ask for none. */
static const char *default_kernel(const struct daemon *daemon)
{
        unsigned n = 0;
        const struct image_catalog_entry *entries = image_catalog(&n);

        for (unsigned i = 0; i < n; i++)
                if (strcmp(entries[i].name, daemon->config.default_image) == 0)
                        return entries[i].kernel;
        return n > 0 ? entries[0].kernel : "";
}

static int check_kernel(const struct daemon *daemon, const struct image_register_params *p, struct err *err)
{
        if (p->kernel_ref && (p->kernel || p->modules))
                return err_set(err, EINVAL, "image.register",
                               "--kernel-ref names a kernel, --kernel and --modules bring one: give one or "
                               "the other");
        if (p->modules && !p->kernel)
                return err_set(err, EINVAL, "image.register",
                               "--modules belong to a kernel: give --kernel too");
        if (p->kernel_ref && !daemon_kernel_is_here(daemon, p->kernel_ref) &&
            !daemon_kernel_is_in_catalog(p->kernel_ref))
                return err_set(err, ENOENT, "image.register",
                               "no kernel named '%s', neither here nor in the catalog ('banger kernel list' "
                               "shows both)",
                               p->kernel_ref);
        if (p->kernel && daemon_kernel_is_here(daemon, p->name))
                return err_set(err, EEXIST, "image.register",
                               "a kernel named '%s' is here already: use it with --kernel-ref, or choose "
                               "another name",
                               p->name);
        return 0;
}

static int check_free(const struct daemon *daemon, const char *name, struct err *err)
{
        struct image image = { 0 };
        int r = image_read(daemon->images_folder, name, &image, err);

        if (r == 0) {
                image_done(&image);
                return err_set(err, EEXIST, "image.register",
                               "image '%s' exists: delete it, or choose another name", name);
        }
        if (r != -ENOENT)
                return r;
        *err = (struct err){ 0 };
        return 0;
}

DAEMON_HANDLER(daemon_image_register)
{
        const struct image_register_params *p = params;
        struct daemon *daemon = daemon_of(call);
        struct daemon_operation *operation;
        const char *kernel = p->kernel_ref ? p->kernel_ref : p->kernel ? p->name : default_kernel(daemon);
        json_t *job_params;
        int r = check_free(daemon, p->name, err);

        (void) ret_result;
        if (r == 0)
                r = check_kernel(daemon, p, err);
        if (r < 0)
                return r;
        job_params = json_pack("{s:s, s:s, s:s, s:s}", "name", p->name, "images_folder",
                               daemon->images_folder, "rootfs", p->rootfs, "kernel", kernel);
        set_when_given(job_params, "work_seed", p->work_seed);
        operation = daemon_operation_new(daemon, call, "image.register");
        operation->state =
                json_pack("{s:s, s:s, s:o}", "name", p->name, "kernel", kernel, "params", job_params);
        operation->free_state = json_free;
        if (p->kernel)
                import_kernel(operation, p);
        else
                start_registration(operation);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_image_promote)
{
        const struct image_ref_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped_free char *key = daemon_image_key(p->image);
        struct image image = { 0 };
        bool is_managed;
        int r = image_read(daemon->images_folder, p->image, &image, err);

        (void) ret_result;
        is_managed = image.is_managed;
        image_done(&image);
        if (r == 0 && is_managed)
                r = err_set(err, EINVAL, "image.promote",
                            "image '%s' already is banger's own; only registered ones are promoted",
                            p->image);
        if (r < 0)
                return r;
        daemon_operation_job(
                daemon_operation_new(daemon, call, "image.promote"), key, "job.image.promote",
                json_pack("{s:s, s:s}", "name", p->image, "images_folder", daemon->images_folder),
                daemon_answer_with_job);
        return RPC_LATER;
}
