#include "daemon/daemon_objects.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/json_text.h"
#include "base/scoped.h"
#include "daemon/daemon_labels.h"
#include "daemon/daemon_operation.h"
#include "daemon/daemon_watch.h"
#include "network/network_plan.h"

#define NS_PER_S UINT64_C(1000000000)

static json_t *workspace_object(const struct store_vm *vm)
{
        struct err err = { 0 };
        json_t *workspace = NULL;

        if (vm->workspace[0] == '\0' ||
            json_parse(vm->workspace, strlen(vm->workspace), "the workspace record", &workspace, &err) < 0)
                return json_null();
        return workspace;
}

static json_t *words_of(const char *text)
{
        json_t *words = json_array();

        for (const char *p = text ? text : ""; *p != '\0';) {
                size_t n = strcspn(p, " ");

                (void) json_array_append_new(words, json_stringn(p, n));
                p += n + (p[n] == ' ');
        }
        return words;
}

static json_t *operation_object(const struct daemon *daemon, const struct store_vm *vm)
{
        const struct daemon_operation *o = daemon_operation_of_vm(daemon, vm->id);

        return o ? json_pack("{s:s, s:s, s:s}", "id", o->id, "kind", o->kind, "stage", o->stage)
                 : json_null();
}

const char *daemon_vm_state(const struct daemon *daemon, const struct store_vm *vm)
{
        const struct daemon_guard *guard = daemon_guard_find(daemon, vm->id);

        return vm->state == VM_RUNNING && guard && guard->paused ? "paused" : vm_state_name(vm->state);
}

static void add_machine(struct text *object, const struct daemon *daemon, const struct store_vm *vm)
{
        json_text_string(object, "id", vm->id);
        json_text_string(object, "name", vm->name);
        json_text_string(object, "state", daemon_vm_state(daemon, vm));
        json_text_string(object, "image", vm->image);
        json_text_string(object, "kernel", vm->kernel);
        json_text_integer(object, "vcpu", vm->vcpu);
        json_text_integer(object, "memory_mib", (int64_t) vm->memory_mib);
        json_text_integer(object, "disk_bytes", (int64_t) vm->disk_bytes);
        json_text_bool(object, "nat", vm->nat);
        json_text_bool(object, "peers", vm->peers);
        json_text_string(object, "address", vm->address);
        json_text_string(object, "vmm", vm->vmm);
        json_text_string(object, "boot_id", vm->boot_id);
        json_text_string(object, "last_error", vm->last_error);
}

static void add_places(struct text *object, const struct daemon *daemon, const struct store_vm *vm)
{
        scoped_free char *folder = layout_join(daemon->vms_folder, vm->id, NULL);
        char created[CLOCK_TEXT_MAX];

        clock_format(vm->created_ns, created);
        json_text_string(object, "created_at", created);
        json_text_string(object, "vm_folder", folder);
        json_text_string(object, "ssh_key", daemon->ssh_key_path);
        json_text_string(object, "known_hosts", daemon->known_hosts);
        json_text_value(object, "workspace", workspace_object(vm));
}

void daemon_vm_text(const struct daemon *daemon, const struct store_vm *vm, struct text *object)
{
        char own_tap[NETWORK_TAP_MAX];

        json_text_open(object);
        add_machine(object, daemon, vm);
        add_places(object, daemon, vm);
        json_text_integer(object, "disk_iops", (int64_t) vm->disk_iops);
        json_text_integer(object, "disk_bandwidth", (int64_t) vm->disk_bandwidth);
        json_text_integer(object, "net_bandwidth", (int64_t) vm->net_bandwidth);
        network_tap_of(vm->id, own_tap);
        json_text_string(object, "tap", vm->tap[0] != '\0' ? vm->tap : own_tap);
        json_text_value(object, "labels", daemon_labels_parse(vm->labels));
        json_text_value(object, "pending", words_of(vm->pending));
        json_text_value(object, "operation", operation_object(daemon, vm));
        if (vm->state == VM_RUNNING)
                json_text_integer(object, "vmm_pid", daemon_guard_pid(daemon, vm->id));
        json_text_close(object);
}

json_t *daemon_vm_object(const struct daemon *daemon, const struct store_vm *vm)
{
        scoped_text struct text text = { 0 };
        struct err err = { 0 };
        json_t *object = NULL;

        daemon_vm_text(daemon, vm, &text);
        return json_parse(text.s, text.n, "the object of a vm", &object, &err) < 0 ? json_object() : object;
}

static void add_cell(struct text *row, const char *cell)
{
        text_append_cell(row, cell, API_VM_ENDS, API_VM_CELL_END);
}

static void add_number(struct text *row, uint64_t number)
{
        char digits[24];

        (void) snprintf(digits, sizeof(digits), "%" PRIu64, number);
        add_cell(row, digits);
}

static void add_guest_path(struct text *row, const struct store_vm *vm)
{
        json_auto_t *workspace = vm->workspace[0] != '\0' ? workspace_object(vm) : NULL;

        add_cell(row, json_text(workspace, "guest_path"));
}

static void add_doing(struct text *row, const struct daemon *daemon, const struct store_vm *vm)
{
        const struct daemon_operation *o = daemon_operation_of_vm(daemon, vm->id);
        scoped_free char *doing = o ? xasprintf("%s %s", o->kind, o->stage) : NULL;

        add_cell(row, doing ? doing : "");
}

/* In the order of enum vm_row. */
void daemon_vm_row(const struct daemon *daemon, const struct store_vm *vm, struct text *row)
{
        add_cell(row, vm->id);
        add_cell(row, vm->name);
        add_cell(row, daemon_vm_state(daemon, vm));
        add_cell(row, vm->image);
        add_number(row, vm->vcpu);
        add_number(row, vm->memory_mib);
        add_number(row, vm->disk_bytes);
        add_cell(row, vm->address);
        add_guest_path(row, vm);
        add_doing(row, daemon, vm);
        add_number(row, vm->created_ns / NS_PER_S);
        add_cell(row, vm->labels);
        text_append_cell(row, "", API_VM_ENDS, API_VM_ROW_END);
}
