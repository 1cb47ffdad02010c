#include "daemon/daemon_objects.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/scoped.h"
#include "daemon/daemon_watch.h"
#include "network/network_plan.h"

static json_t *workspace_object(const struct store_vm *vm)
{
        struct err err = { 0 };
        json_t *workspace = NULL;

        if (vm->workspace[0] == '\0' ||
            json_parse(vm->workspace, strlen(vm->workspace), "the workspace record", &workspace, &err) < 0)
                return json_null();
        return workspace;
}

json_t *daemon_vm_object(const struct daemon *daemon, const struct store_vm *vm)
{
        scoped_free char *folder = layout_join(daemon->vms_folder, vm->id, NULL);
        char created[CLOCK_TEXT_MAX], own_tap[NETWORK_TAP_MAX];
        json_t *object;

        clock_format(vm->created_ns, created);
        object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:b, s:b, s:s}", "id", vm->id, "name",
                           vm->name, "state", vm_state_name(vm->state), "image", vm->image, "kernel",
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
        if (vm->state == VM_RUNNING)
                (void) json_object_set_new(object, "vmm_pid", json_integer(daemon_guard_pid(daemon, vm->id)));
        return object;
}

json_t *daemon_vm_brief(const struct store_vm *vm)
{
        json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:s}", "id", vm->id, "name", vm->name,
                                   "state", vm_state_name(vm->state), "image", vm->image, "vcpu",
                                   (int) vm->vcpu, "memory_mib", (json_int_t) vm->memory_mib, "disk_bytes",
                                   (json_int_t) vm->disk_bytes, "address", vm->address);

        if (vm->workspace[0] != '\0')
                (void) json_object_set_new(object, "workspace", workspace_object(vm));
        return object;
}
