/*
 * vm.set. Everything is checked before anything is changed. NAT and limits of a running VM change at once, where its VMM can;
 * processors, memory, disk size and host name are the next start's, and the record remembers which wait (column pending).
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

#define NET_BANDWIDTH "net_bandwidth"

struct setting {
        struct store_vm vm;       /* as it shall be; owned strings */
        struct store_vm before;   /* as it was; owned strings */
        bool new_nat, new_limits; /* what a running VM is told of */
};

static void setting_free(void *state)
{
        struct setting *setting = state;

        if (!setting)
                return;
        store_vm_done(&setting->vm);
        store_vm_done(&setting->before);
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

static void wait_no_more(struct store_vm *vm, const char *word)
{
        scoped_text struct text left = { 0 };

        for (const char *p = vm->pending; *p != '\0';) {
                size_t n = strcspn(p, " ");

                if (n != strlen(word) || strncmp(p, word, n) != 0)
                        text_appendf(&left, "%s%.*s", left.n > 0 ? " " : "", (int) n, p);
                p += n + (p[n] == ' ');
        }
        set_text(&vm->pending, text_take(&left));
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

static int set_nat(struct setting *setting, const char *word, struct err *err)
{
        bool on = word && strcmp(word, "on") == 0;

        if (!word)
                return 0;
        if (!on && strcmp(word, "off") != 0)
                return err_set(err, EINVAL, "vm.set", "--nat is 'on' or 'off', not '%.40s'", word);
        setting->new_nat = setting->vm.nat != on;
        setting->vm.nat = on;
        return 0;
}

struct limit {
        const char *option;
        const char *word; /* NULL: it stays as it is */
        uint64_t *slot;
        bool is_size;
};

static int read_limit(const struct limit *limit, uint64_t *ret_value, struct err *err)
{
        uint64_t min = limit->is_size ? VM_BANDWIDTH_MIN : 1;
        int r;

        *ret_value = 0;
        if (strcmp(limit->word, "off") == 0)
                return 0;
        r = limit->is_size ? size_parse(limit->word, ret_value)
                           : text_parse_u64(limit->word, VM_LIMIT_MAX, ret_value);
        if (r == 0 && *ret_value >= min && *ret_value <= VM_LIMIT_MAX)
                return 0;
        return err_set(err, EINVAL, "vm.set", "--%s is %s, or 'off', not '%.40s'", limit->option,
                       limit->is_size ? "a size of at least 64K, as 20M" : "a number of at least 1",
                       limit->word);
}

static int set_limits(struct setting *setting, const struct vm_set_params *p, struct err *err)
{
        struct store_vm *vm = &setting->vm;
        const struct limit limits[] = {
                {"disk-iops",       p->disk_iops,      &vm->disk_iops,      false},
                { "disk-bandwidth", p->disk_bandwidth, &vm->disk_bandwidth, true },
                { "net-bandwidth",  p->net_bandwidth,  &vm->net_bandwidth,  true },
        };

        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
                uint64_t value = *limits[i].slot;
                int r = limits[i].word ? read_limit(&limits[i], &value, err) : 0;

                if (r < 0)
                        return r;
                setting->new_limits |= value != *limits[i].slot;
                *limits[i].slot = value;
        }
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
        set_text(&vm->name, xstrdup(name));
        wait_for_start(vm, "hostname");
        return 0;
}

static bool sets_anything(const struct vm_set_params *p)
{
        return p->name || p->vcpu || p->memory || p->disk_size || p->nat || p->disk_iops ||
               p->disk_bandwidth || p->net_bandwidth || p->label;
}

static int change(struct daemon *daemon, struct setting *setting, const struct vm_set_params *p,
                  struct err *err)
{
        int r;

        if (!sets_anything(p))
                return err_set(err, EINVAL, "vm.set",
                               "nothing to set: give --name, --vcpu, --memory, --disk-size, --nat, "
                               "--disk-iops, --disk-bandwidth, --net-bandwidth or --label");
        r = set_disk_size(&setting->vm, p->disk_size, err);
        if (r == 0)
                r = set_nat(setting, p->nat, err);
        if (r == 0)
                r = set_limits(setting, p, err);
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

        if (r == 0 && strcmp(setting->vm.name, setting->before.name) != 0 &&
            vm_forget_hosts(daemon->known_hosts, NULL, setting->before.name, &hosts) < 0)
                log_warn("the host key of a vm's old name stays", "{s:s, s:s}", "vm_name",
                         setting->before.name, "error", hosts.message);
        return r;
}

static void end_setting(struct daemon_operation *operation)
{
        const struct setting *setting = operation->state;

        operation->done = true; /* so that the object does not tell of it as in progress */
        operation->answer = daemon_vm_object(operation->daemon, &setting->vm);
        daemon_operation_end(operation);
}

/* Makes the running VM what vm says of NAT and limits, as far as they were to change. */
static void adjust(struct daemon_operation *operation, const struct store_vm *vm, daemon_operation_then *then)
{
        const struct setting *setting = operation->state;
        scoped_free char *key = daemon_vm_key(vm->id);
        json_t *params = daemon_vm_job_params(operation->daemon, vm);

        (void) json_object_set_new(params, "with_nat", json_boolean(setting->new_nat));
        (void) json_object_set_new(params, "with_limits", json_boolean(setting->new_limits));
        daemon_operation_job(operation, key, "job.vm.adjust", params, then);
}

static void taken_back(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        const struct setting *setting = operation->state;

        if (!end->result) {
                log_warn("a vm's nat or limits are not as recorded until it starts again", "{s:s, s:s, s:s}",
                         "op_id", operation->id, "vm_id", setting->vm.id, "error", end->err->message);
                err_join(&operation->failure, end->err);
        }
        end_setting(operation);
}

static void note_waiting(struct setting *setting, const json_t *result)
{
        if (!setting->new_limits)
                return;
        wait_no_more(&setting->vm, NET_BANDWIDTH);
        if (json_flag(result, "net_waits"))
                wait_for_start(&setting->vm, NET_BANDWIDTH);
}

/* The host has it already; when the record cannot be written, the host goes back to what the record says. */
static void adjusted(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct setting *setting = operation->state;
        struct err err = { 0 };
        int r = 0;

        if (!end->result) {
                r = daemon_operation_fail(operation, end->err);
        } else {
                note_waiting(setting, end->result);
                r = save(operation->daemon, setting, &err);
                if (r < 0)
                        (void) daemon_operation_fail(operation, &err);
        }
        /* of a NAT that failed alone there is nothing to take back */
        if (r < 0 && (end->result || setting->new_limits))
                adjust(operation, &setting->before, taken_back);
        else
                end_setting(operation);
}

static void begin_adjusting(struct rpc_call *call, struct setting *owned_setting)
{
        struct daemon_operation *operation = daemon_operation_new(daemon_of(call), call, call->method->name);

        operation->state = owned_setting;
        operation->free_state = setting_free;
        operation->vm_id = xstrdup(owned_setting->vm.id);
        set_text(&operation->vm_name, xstrdup(owned_setting->vm.name));
        operation->keep_going = true; /* the record is to say what the host does */
        adjust(operation, &owned_setting->vm, adjusted);
}

DAEMON_HANDLER(daemon_vm_set)
{
        const struct vm_set_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(setting_free) struct setting *setting = xcalloc(1, sizeof(*setting));
        int r = store_vm_find(daemon->store, p->vm, &setting->vm, err);

        if (r == 0)
                r = store_vm_find(daemon->store, p->vm, &setting->before, err);
        if (r == 0)
                r = daemon_operation_check_idle(daemon, setting->vm.id, setting->vm.name, err);
        if (r == 0)
                r = change(daemon, setting, p, err);
        if (r < 0)
                return r;
        if ((setting->new_nat || setting->new_limits) && setting->vm.state == VM_RUNNING) {
                begin_adjusting(call, take_ptr(setting));
                return RPC_LATER;
        }
        r = save(daemon, setting, err);
        if (r == 0)
                *ret_result = daemon_vm_object(daemon, &setting->vm);
        return r;
}
