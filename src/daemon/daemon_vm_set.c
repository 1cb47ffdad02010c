/*
 * vm.set. Everything is checked before anything is changed. NAT of a running VM changes at once; processors, memory, disk
 * size and host name are the next start's, and the record remembers which of them wait (column pending).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "daemon/daemon_labels.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_vm.h"
#include "vm/vm_clean.h"

struct setting {
        struct store_vm vm; /* as it shall be; owned strings */
        char *old_name;     /* owned; NULL: it keeps its name */
};

static void setting_free(void *state)
{
        struct setting *setting = state;

        if (!setting)
                return;
        store_vm_done(&setting->vm);
        free(setting->old_name);
        free(setting);
}
SCOPED_FUNC(struct setting *, setting_free);

static void set_text(char **slot, char *owned)
{
        free(*slot);
        *slot = owned;
}

/* Remembered once, and only of a VM that has to start again for it. */
static void wait_for_start(struct store_vm *vm, const char *word)
{
        if (vm->state != VM_RUNNING || strstr(vm->pending, word))
                return;
        set_text(&vm->pending, xasprintf("%s%s%s", vm->pending, vm->pending[0] != '\0' ? " " : "", word));
}

static int set_disk_size(struct store_vm *vm, uint64_t size, struct err *err)
{
        char have[SIZE_TEXT_MAX], wanted[SIZE_TEXT_MAX];

        if (size == 0 || size == vm->disk_bytes)
                return 0;
        size_human(vm->disk_bytes, have);
        size_human(size, wanted);
        if (size < vm->disk_bytes)
                return err_set(err, EINVAL, "vm.set",
                               "the work disk of vm '%s' has %s and cannot shrink to %s; a new vm can have a "
                               "smaller one",
                               vm->name, have, wanted);
        vm->disk_bytes = size;
        wait_for_start(vm, "disk_size");
        return 0;
}

static int set_nat(struct store_vm *vm, const char *word, bool *ret_changed, struct err *err)
{
        bool on = word && strcmp(word, "on") == 0;

        *ret_changed = false;
        if (!word)
                return 0;
        if (!on && strcmp(word, "off") != 0)
                return err_set(err, EINVAL, "vm.set", "--nat is 'on' or 'off', not '%.40s'", word);
        *ret_changed = vm->nat != on;
        vm->nat = on;
        return 0;
}

static int set_labels(struct store_vm *vm, const char *text, struct err *err)
{
        json_auto_t *labels = daemon_labels_parse(vm->labels);
        int r = text ? daemon_labels_apply(labels, text, err) : 0;

        if (r == 0 && text)
                set_text(&vm->labels, json_dumps(labels, JSON_COMPACT | JSON_SORT_KEYS));
        return r;
}

static void set_sizes(struct store_vm *vm, const struct vm_set_params *p)
{
        if (p->vcpu != 0 && p->vcpu != vm->vcpu) {
                vm->vcpu = p->vcpu;
                wait_for_start(vm, "vcpu");
        }
        if (p->memory != 0 && p->memory != vm->memory_mib) {
                vm->memory_mib = p->memory;
                wait_for_start(vm, "memory");
        }
}

static int set_name(struct daemon *daemon, struct setting *setting, const char *name, struct err *err)
{
        struct store_vm *vm = &setting->vm;
        int r;

        if (!name || strcmp(name, vm->name) == 0)
                return 0;
        r = store_vm_has_name(daemon->store, name, err);
        if (r != 0)
                return r < 0 ? r : err_set(err, EEXIST, "vm.set", "a vm named '%s' exists", name);
        setting->old_name = xstrdup(vm->name);
        set_text(&vm->name, xstrdup(name));
        wait_for_start(vm, "hostname");
        return 0;
}

static int change(struct daemon *daemon, struct setting *setting, const struct vm_set_params *p,
                  bool *ret_nat_changed, struct err *err)
{
        int r;

        if (!p->name && !p->vcpu && !p->memory && !p->disk_size && !p->nat && !p->label)
                return err_set(
                        err, EINVAL, "vm.set",
                        "nothing to set: give --name, --vcpu, --memory, --disk-size, --nat or --label");
        r = set_disk_size(&setting->vm, p->disk_size, err);
        if (r == 0)
                r = set_nat(&setting->vm, p->nat, ret_nat_changed, err);
        if (r == 0)
                r = set_labels(&setting->vm, p->label, err);
        if (r == 0)
                r = set_name(daemon, setting, p->name, err);
        if (r == 0)
                set_sizes(&setting->vm, p);
        return r;
}

/* The record, and what is known by the old name: a later VM may take it, with another key. */
static int save(struct daemon *daemon, const struct setting *setting, struct err *err)
{
        struct err hosts = { 0 };
        int r = store_vm_update(daemon->store, &setting->vm, err);

        if (r == 0 && setting->old_name &&
            vm_forget_hosts(daemon->known_hosts, NULL, setting->old_name, &hosts) < 0)
                log_warn("the host key of a vm's old name stays", "{s:s, s:s}", "vm_name", setting->old_name,
                         "error", hosts.message);
        return r;
}

static void end_setting(struct daemon_operation *operation)
{
        const struct setting *setting = operation->state;

        operation->done = true; /* so that the object does not tell of it as in progress */
        operation->answer = daemon_vm_object(operation->daemon, &setting->vm);
        daemon_operation_end(operation);
}

static void nat_taken_back(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        const struct setting *setting = operation->state;

        if (!end->result) {
                log_warn("a vm's nat is not as recorded until it starts again", "{s:s, s:s, s:s}", "op_id",
                         operation->id, "vm_id", setting->vm.id, "error", end->err->message);
                err_join(&operation->failure, end->err);
        }
        end_setting(operation);
}

/* The host has it already; when the record cannot be written, the host goes back to what the record says. */
static void nat_changed(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct setting *setting = operation->state;
        struct err err = { 0 };

        if (!end->result) {
                (void) daemon_operation_fail(operation, end->err);
        } else if (save(operation->daemon, setting, &err) < 0) {
                (void) daemon_operation_fail(operation, &err);
                setting->vm.nat = !setting->vm.nat;
                daemon_vm_nat(operation, &setting->vm, nat_taken_back);
                return;
        }
        end_setting(operation);
}

static void change_nat(struct rpc_call *call, struct setting *owned_setting)
{
        struct daemon_operation *operation = daemon_operation_new(daemon_of(call), call, call->method->name);

        operation->state = owned_setting;
        operation->free_state = setting_free;
        operation->vm_id = xstrdup(owned_setting->vm.id);
        set_text(&operation->vm_name, xstrdup(owned_setting->vm.name));
        operation->keep_going = true; /* the record is to say what the host does */
        daemon_vm_nat(operation, &owned_setting->vm, nat_changed);
}

DAEMON_HANDLER(daemon_vm_set)
{
        const struct vm_set_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(setting_free) struct setting *setting = xcalloc(1, sizeof(*setting));
        bool has_new_nat = false;
        int r = store_vm_find(daemon->store, p->vm, &setting->vm, err);

        if (r == 0)
                r = daemon_operation_check_idle(daemon, setting->vm.id, setting->vm.name, err);
        if (r == 0)
                r = change(daemon, setting, p, &has_new_nat, err);
        if (r < 0)
                return r;
        if (has_new_nat && setting->vm.state == VM_RUNNING) {
                change_nat(call, take_ptr(setting));
                return RPC_LATER;
        }
        r = save(daemon, setting, err);
        if (r == 0)
                *ret_result = daemon_vm_object(daemon, &setting->vm);
        return r;
}
