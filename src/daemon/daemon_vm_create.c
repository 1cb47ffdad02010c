/* vm.create: image, kernel, row, job. What a failure or a vanished client leaves is cleaned by a job of its own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"
#include "daemon/daemon_admission.h"
#include "daemon/daemon_labels.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_session.h"
#include "daemon/daemon_vm.h"
#include "daemon/daemon_watch.h"
#include "network/network_plan.h"

#define ID_BYTES   8
#define NAME_TRIES 64

struct creation {
        struct store_vm vm; /* owned strings */
        bool named;         /* by the client */
        bool start;
        bool force;       /* not admitted, and yet */
        bool reserved;    /* the row exists */
        bool has_command; /* the image says what to run */
};

static void creation_free(void *state)
{
        struct creation *creation = state;

        store_vm_done(&creation->vm);
        free(creation);
}

static uint32_t random_u32(void)
{
        uint32_t value = 0;

        (void) !getrandom(&value, sizeof(value), 0);
        return value;
}

/* "calm-otter", easy to say and to type; with a number when that is taken. */
static char *invent_name(unsigned attempt)
{
        static const char *const how[] = { "brave", "calm",  "clever", "eager", "fair",  "gentle",
                                           "happy", "jolly", "keen",   "lucky", "merry", "noble",
                                           "proud", "quick", "swift",  "wise" };
        static const char *const who[] = { "badger", "crane", "dove", "eagle", "falcon", "finch",
                                           "fox",    "heron", "ibex", "lark",  "lynx",   "otter",
                                           "owl",    "raven", "seal", "wren" };
        const char *first = how[random_u32() % (sizeof(how) / sizeof(how[0]))];
        const char *second = who[random_u32() % (sizeof(who) / sizeof(who[0]))];

        return attempt < 4 ? xasprintf("%s-%s", first, second)
                           : xasprintf("%s-%s-%u", first, second, random_u32() % 10000);
}

static void creation_end(struct daemon_operation *operation)
{
        daemon_operation_end(operation);
}

/* What is left of it is on record, so that it can be seen and deleted; it is no VM that could be started. */
static void keep_as_error(struct daemon_operation *operation, const struct err *failure)
{
        struct creation *creation = operation->state;
        struct err err = { 0 };

        log_warn("cleaning a half-made vm failed; 'vm delete' or the next start of bangerd tries again",
                 "{s:s, s:s, s:s}", "op_id", operation->id, "vm_id", creation->vm.id, "error",
                 failure->message);
        err_join(&operation->failure, failure);
        creation->vm.state = VM_ERROR;
        free(creation->vm.last_error);
        creation->vm.last_error = xstrdup(operation->failure.message);
        if (store_vm_update(operation->daemon->store, &creation->vm, &err) < 0)
                log_warn("recording a half-made vm failed", "{s:s, s:s}", "op_id", operation->id, "error",
                         err.message);
}

/* After the cleaning job: the row goes, the first failure is told. */
static void undone(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct creation *creation = operation->state;
        struct err err = { 0 };

        if (!end->result) {
                keep_as_error(operation, end->err);
        } else if (store_vm_delete(operation->daemon->store, creation->vm.id, &err) < 0) {
                log_warn("removing a half-made vm's row failed", "{s:s, s:s}", "op_id", operation->id,
                         "error", err.message);
        }
        creation_end(operation);
}

static void undo(struct daemon_operation *operation)
{
        struct creation *creation = operation->state;
        scoped_free char *key = daemon_vm_key(creation->vm.id);
        json_t *params;

        if (!creation->reserved) {
                creation_end(operation);
                return;
        }
        params = daemon_vm_job_params(operation->daemon, &creation->vm);
        (void) json_object_set_new(params, "remove", json_true());
        daemon_operation_job(operation, key, "job.vm.clean", params, undone);
}

/* True when the flow cannot go on; then it is on its way back. */
static bool is_over(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct err err = { 0 };

        if (!operation->cancelled && (!end || end->result))
                return false;
        if (operation->cancelled)
                (void) err_set(&err, ECANCELED, "vm.create", "cancelled");
        (void) daemon_operation_fail(operation, operation->cancelled ? &err : end->err);
        undo(operation);
        return true;
}

static int adopt_result(struct daemon_operation *operation, const json_t *result, struct err *err)
{
        struct creation *creation = operation->state;
        struct store_vm *vm = &creation->vm;
        pid_t pid = (pid_t) json_u64(result, "pid", 0);
        int pidfd = fd_pidfd_open(pid);

        if (pidfd < 0)
                return err_set(err, ESRCH, "vm.create", "vm '%s' ended as soon as it had started", vm->name);
        vm->state = VM_RUNNING;
        free(vm->vmm);
        vm->vmm = xstrdup(json_text(result, "vmm"));
        free(vm->boot_id);
        vm->boot_id = xstrdup(json_text(result, "boot_id"));
        return daemon_guard_add(operation->daemon, vm->id, pid, pidfd, err);
}

static void job_ended(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct creation *creation = operation->state;
        struct err err = { 0 };
        int r = 0;

        if (is_over(operation, end))
                return;
        if (creation->start)
                r = adopt_result(operation, end->result, &err);
        if (r == 0)
                r = store_vm_update(operation->daemon->store, &creation->vm, &err);
        if (r < 0) {
                daemon_guard_remove(operation->daemon, creation->vm.id);
                (void) daemon_operation_fail(operation, &err);
                undo(operation);
                return;
        }
        operation->done = true; /* so that the object does not tell of it as in progress */
        operation->answer = daemon_vm_object(operation->daemon, &creation->vm);
        (void) json_object_set_new(operation->answer, "image_command", json_boolean(creation->has_command));
        creation_end(operation);
}

/* Name and address are chosen and the row inserted in one go of the loop, so no two creates meet (S-118). */
static int reserve(struct daemon_operation *operation, struct err *err)
{
        struct creation *creation = operation->state;
        struct daemon *daemon = operation->daemon;
        const struct network_settings settings = {
                .bridge = daemon->config.bridge,
                .bridge_ip = daemon->config.bridge_ip,
                .prefix = daemon->config.prefix,
        };
        char address[NETWORK_ADDRESS_MAX], **taken = NULL;
        unsigned n_taken = 0;
        int r = store_vm_addresses(daemon->store, &taken, &n_taken, err);

        if (r < 0)
                return r;
        r = network_pick_address(&settings, (const char *const *) taken, n_taken, address, err);
        for (unsigned i = 0; i < n_taken; i++)
                free(taken[i]);
        free(taken);
        if (r < 0)
                return r;
        free(creation->vm.address);
        creation->vm.address = xstrdup(address);
        creation->vm.created_ns = clock_real_ns();
        for (unsigned attempt = 0;; attempt++) {
                if (!creation->named) {
                        free(creation->vm.name);
                        creation->vm.name = invent_name(attempt);
                }
                r = store_vm_insert(daemon->store, &creation->vm, err);
                if (r != -EEXIST || creation->named || attempt == NAME_TRIES)
                        return r;
                *err = (struct err){ 0 };
        }
}

/* Asked before anything is pulled, and again when all is there: hosts and other machines change meanwhile. */
static int admit(const struct daemon *daemon, const struct creation *creation, struct err *err)
{
        int r = creation->force ? 0 : daemon_admit_disk(daemon, &creation->vm, err);

        if (r < 0 || creation->force || !creation->start)
                return r;
        return daemon_admit_memory(daemon, &creation->vm, err);
}

static void have_kernel(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct creation *creation = operation->state;
        scoped_free char *key = NULL;
        struct err err = { 0 };
        json_t *params;

        if (is_over(operation, end))
                return;
        if (admit(operation->daemon, creation, &err) < 0 || reserve(operation, &err) < 0) {
                (void) daemon_operation_fail(operation, &err);
                creation_end(operation);
                return;
        }
        creation->reserved = true;
        free(operation->vm_name);
        operation->vm_name = xstrdup(creation->vm.name);
        operation->vm_id = xstrdup(creation->vm.id);
        daemon_operation_stage(operation, "vm", creation->vm.name);
        if (operation->cancelled) { /* the client went while its event was being sent */
                undo(operation);
                return;
        }
        params = daemon_vm_job_params(operation->daemon, &creation->vm);
        (void) json_object_set_new(params, "start", json_boolean(creation->start));
        if (creation->start) {
                daemon_vm_start_job(operation, &creation->vm, "job.vm.create", params, job_ended);
                return;
        }
        key = daemon_vm_key(creation->vm.id);
        daemon_operation_job(operation, key, "job.vm.create", params, job_ended);
}

/* An entrypoint or a command: what `docker run` would run when it is given none. */
static bool has_command(const char *config)
{
        json_auto_t *object = json_loads(config, 0, NULL);

        return json_array_size(json_object_get(object, "entrypoint")) > 0 ||
               json_array_size(json_object_get(object, "cmd")) > 0;
}

static void have_image(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct creation *creation = operation->state;
        struct image image = { 0 };
        struct err err = { 0 };

        if (is_over(operation, end))
                return;
        if (image_read(operation->daemon->images_folder, creation->vm.image, &image, &err) < 0) {
                (void) daemon_operation_fail(operation, &err);
                creation_end(operation);
                return;
        }
        if (creation->vm.kernel[0] == '\0') {
                free(creation->vm.kernel);
                creation->vm.kernel = xstrdup(image.kernel);
        }
        creation->has_command = has_command(image.config);
        image_done(&image);
        daemon_provide_kernel(operation, creation->vm.kernel, have_kernel);
}

static struct creation *creation_new(const struct daemon *daemon, const struct vm_create_params *p)
{
        struct creation *creation = xcalloc(1, sizeof(*creation));
        unsigned char random[ID_BYTES];
        char id[2 * ID_BYTES + 1];

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                abort();
        text_hex(random, sizeof(random), id);
        creation->named = p->name != NULL;
        creation->start = !p->no_start;
        creation->force = p->force;
        creation->vm = (struct store_vm){
                .id = xstrdup(id),
                .name = xstrdup(p->name ? p->name : ""),
                .state = VM_CREATED,
                .image = xstrdup(p->image ? p->image : daemon->config.default_image),
                .kernel = xstrdup(p->kernel ? p->kernel : ""),
                .vcpu = p->vcpu ? p->vcpu : daemon->config.vcpu,
                .memory_mib = p->memory ? p->memory : daemon->config.memory_mib,
                .disk_bytes = p->disk_size ? p->disk_size : daemon->config.disk_bytes,
                .nat = p->nat,
                .peers = p->peers,
                .disk_iops = p->disk_iops,
                .disk_bandwidth = p->disk_bandwidth,
                .net_bandwidth = p->net_bandwidth,
                .tap = xstrdup(""),
                .address = xstrdup(""),
                .vmm = xstrdup(""),
                .boot_id = xstrdup(""),
                .last_error = xstrdup(""),
                .workspace = xstrdup(""),
                .labels = xstrdup("{}"),
                .pending = xstrdup(""),
        };
        return creation;
}

/* A name that is taken is refused at once, not after minutes of pulling. */
static int check_name(const struct daemon *daemon, const char *name, struct err *err)
{
        int r = store_vm_has_name(daemon->store, name, err);

        return r > 0 ? err_set(err, EEXIST, "vm.create", "a vm named '%s' exists", name) : r;
}

static int begin_create(struct rpc_call *call, const struct vm_create_params *p,
                        struct daemon_operation **ret_operation, struct err *err)
{
        struct daemon *daemon = daemon_of(call);
        json_auto_t *labels = json_object();
        struct daemon_operation *operation;
        struct creation *creation;
        int r = p->name ? check_name(daemon, p->name, err) : 0;

        if (r < 0)
                return r;
        if (p->label)
                r = daemon_labels_apply(labels, p->label, err);
        if (r < 0)
                return r;
        creation = creation_new(daemon, p);
        free(creation->vm.labels);
        creation->vm.labels = json_dumps(labels, JSON_COMPACT | JSON_SORT_KEYS);
        r = admit(daemon, creation, err);
        if (r < 0) {
                creation_free(creation);
                return r;
        }
        operation = daemon_operation_new(daemon, call, "vm.create");
        operation->state = creation;
        operation->free_state = creation_free;
        free(operation->vm_name);
        operation->vm_name = xstrdup(p->name ? p->name : "");
        *ret_operation = operation;
        return 0;
}

static void go(struct daemon_operation *operation)
{
        daemon_provide_image(operation, &((struct creation *) operation->state)->vm.image, have_image);
}

DAEMON_HANDLER(daemon_vm_create)
{
        struct daemon_operation *operation = NULL;
        int r = begin_create(call, params, &operation, err);

        (void) ret_result;
        if (r < 0)
                return r;
        go(operation);
        return RPC_LATER;
}

/* The operation's id is the call's own (S-095). */
DAEMON_HANDLER(daemon_vm_create_begin)
{
        struct daemon_operation *operation = NULL;
        int r = begin_create(call, params, &operation, err);

        if (r < 0)
                return r;
        daemon_operation_detach(operation);
        *ret_result = json_pack("{s:s}", "id", operation->id);
        go(operation);
        return 0;
}

/* NULL: not asked about. */
static bool is_same(const char *chosen, const char *name)
{
        return name && strcmp(chosen, name) == 0;
}

const struct daemon_operation *daemon_vm_create_find(const struct daemon *daemon, const char *image,
                                                     const char *kernel)
{
        for (const struct daemon_operation *o = daemon->operations; o; o = o->next) {
                const struct creation *creation = o->state;

                if (o->done || o->cancelled || o->failure.code != 0 || strcmp(o->kind, "vm.create") != 0)
                        continue;
                if (is_same(creation->vm.image, image) || is_same(creation->vm.kernel, kernel))
                        return o;
        }
        return NULL;
}

static int find_create(const struct rpc_call *call, const char *id, struct daemon_operation **ret_operation,
                       struct err *err)
{
        struct daemon_operation *operation = daemon_operation_find(daemon_of(call), id);

        if (!operation || strcmp(operation->kind, "vm.create") != 0)
                return err_set(
                        err, ENOENT, "vm.create",
                        "no create with the id '%.40s'; 'banger operations' lists those in progress and "
                        "those that ended in the last minutes",
                        id);
        *ret_operation = operation;
        return 0;
}

DAEMON_HANDLER(daemon_vm_create_status)
{
        const struct operation_ref_params *p = params;
        struct daemon_operation *operation = NULL;
        struct creation *creation;
        int r = find_create(call, p->id, &operation, err);

        if (r < 0)
                return r;
        creation = operation->state;
        *ret_result = daemon_operation_object(operation);
        (void) json_object_set_new(*ret_result, "vm",
                                   operation->success ? daemon_vm_object(operation->daemon, &creation->vm)
                                                      : json_null());
        return 0;
}

DAEMON_HANDLER(daemon_vm_create_cancel)
{
        const struct operation_ref_params *p = params;
        struct daemon_operation *operation = NULL;
        int r = find_create(call, p->id, &operation, err);

        if (r < 0)
                return r;
        if (operation->done)
                return err_set(err, EIO, "vm.create",
                               "create %s has ended already; 'banger vm delete %s' undoes it", operation->id,
                               operation->vm_name);
        daemon_operation_cancel(operation);
        *ret_result = daemon_operation_object(operation);
        return 0;
}
