#include "daemon/daemon_objects.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/json.h"
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

json_t *daemon_vm_object(const struct daemon *daemon, const struct store_vm *vm)
{
        scoped_free char *folder = layout_join(daemon->vms_folder, vm->id, NULL);
        char created[CLOCK_TEXT_MAX], own_tap[NETWORK_TAP_MAX];
        json_t *object;

        clock_format(vm->created_ns, created);
        object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:b, s:b, s:s}", "id", vm->id, "name",
                           vm->name, "state", daemon_vm_state(daemon, vm), "image", vm->image, "kernel",
                           vm->kernel, "vcpu", (int) vm->vcpu, "memory_mib", (json_int_t) vm->memory_mib,
                           "disk_bytes", (json_int_t) vm->disk_bytes, "nat", (int) vm->nat, "peers",
                           (int) vm->peers, "address", vm->address);
        (void) json_object_update_new(
                object, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "vmm", vm->vmm, "boot_id",
                                  vm->boot_id, "last_error", vm->last_error, "created_at", created,
                                  "vm_folder", folder, "ssh_key", daemon->ssh_key_path, "known_hosts",
                                  daemon->known_hosts, "workspace", workspace_object(vm)));
        (void) json_object_update_new(object,
                                      json_pack("{s:I, s:I, s:I}", "disk_iops", (json_int_t) vm->disk_iops,
                                                "disk_bandwidth", (json_int_t) vm->disk_bandwidth,
                                                "net_bandwidth", (json_int_t) vm->net_bandwidth));
        network_tap_of(vm->id, own_tap);
        (void) json_object_set_new(object, "tap", json_string(vm->tap[0] != '\0' ? vm->tap : own_tap));
        (void) json_object_set_new(object, "labels", daemon_labels_parse(vm->labels));
        (void) json_object_set_new(object, "pending", words_of(vm->pending));
        (void) json_object_set_new(object, "operation", operation_object(daemon, vm));
        if (vm->state == VM_RUNNING)
                (void) json_object_set_new(object, "vmm_pid", json_integer(daemon_guard_pid(daemon, vm->id)));
        return object;
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
