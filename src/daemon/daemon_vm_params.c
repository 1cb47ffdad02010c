#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"
#include "daemon/daemon_tap_pool.h"
#include "daemon/daemon_vm.h"
#include "daemon/job.h"
#include "image/image_store.h"

char *daemon_vm_key(const char *vm_id)
{
        return xasprintf("vm:%s", vm_id);
}

static void set_text(json_t *params, const char *key, const char *value)
{
        if (value && value[0] != '\0')
                (void) json_object_set_new(params, key, json_string(value));
}

static void set_number(json_t *params, const char *key, uint64_t value)
{
        (void) json_object_set_new(params, key, json_integer((json_int_t) value));
}

static void set_host(json_t *params, const struct daemon *daemon)
{
        const struct daemon_config *config = &daemon->config;

        set_text(params, "spec.kernels_folder", daemon->kernels_folder);
        set_text(params, "spec.helper_socket", daemon->layout.helper_socket);
        set_text(params, "spec.bridge", config->bridge);
        set_text(params, "spec.bridge_ip", config->bridge_ip);
        set_number(params, "spec.prefix", config->prefix);
        set_text(params, "spec.dns", config->dns);
        set_text(params, "spec.vmm", config->vmm);
        set_text(params, "spec.firecracker_bin", config->firecracker_bin);
        set_text(params, "spec.qemu_vmm_path", daemon->qemu_vmm_path);
        set_text(params, "spec.cgroups", daemon->cgroups);
        set_text(params, "spec.authorized_key", daemon->ssh_public_key);
        set_text(params, "spec.ssh_key_path", daemon->ssh_key_path);
        set_text(params, "spec.known_hosts", daemon->known_hosts);
        set_number(params, "spec.boot_timeout_ms", config->boot_timeout_ms);
}

json_t *daemon_vm_job_params(const struct daemon *daemon, const struct store_vm *vm)
{
        scoped_free char *folder = layout_join(daemon->vms_folder, vm->id, NULL);
        scoped_free char *runtime = layout_join(daemon->runtime_vms, vm->id, NULL);
        json_t *params = json_object();
        struct image image = { 0 };
        struct err err = { 0 };

        set_text(params, "spec.id", vm->id);
        set_text(params, "spec.name", vm->name);
        set_text(params, "spec.folder", folder);
        set_text(params, "spec.runtime", runtime);
        set_number(params, "spec.vcpu", vm->vcpu);
        set_number(params, "spec.memory_mib", vm->memory_mib);
        set_number(params, "spec.disk_bytes", vm->disk_bytes);
        (void) json_object_set_new(params, "spec.nat", json_boolean(vm->nat));
        (void) json_object_set_new(params, "spec.peers", json_boolean(vm->peers));
        set_number(params, "spec.disk_iops", vm->disk_iops);
        set_number(params, "spec.disk_bandwidth", vm->disk_bandwidth);
        set_number(params, "spec.net_bandwidth", vm->net_bandwidth);
        set_text(params, "spec.address", vm->address);
        set_text(params, "spec.tap", vm->tap);
        set_text(params, "spec.kernel", vm->kernel);
        set_host(params, daemon);
        /* Only a create needs the image; an image deleted since then does not keep its VMs from starting. */
        if (image_read(daemon->images_folder, vm->image, &image, &err) == 0) {
                set_text(params, "spec.rootfs_path", image.rootfs_path);
                set_text(params, "spec.work_seed_path", image.work_seed_path);
                set_text(params, "spec.image_config", image.config);
                image_done(&image);
        }
        return params;
}

/* The record first: whoever comes after a crash finds the tap by it. */
static int record_tap(struct daemon *daemon, struct store_vm *vm, const char *name, struct err *err)
{
        char *former = vm->tap;
        int r;

        if (strcmp(former, name) == 0)
                return 0;
        vm->tap = xstrdup(name);
        r = store_vm_update(daemon->store, vm, err);
        if (r < 0) {
                free(vm->tap);
                vm->tap = former;
                return r;
        }
        free(former);
        return 0;
}

void daemon_vm_start_job(struct daemon_operation *operation, struct store_vm *vm, const char *method,
                         json_t *owned_params, daemon_operation_then *then)
{
        struct daemon *daemon = operation->daemon;
        scoped_free char *key = daemon_vm_key(vm->id);
        struct daemon_tap tap = { .fd = FD_NONE };
        struct err err = { 0 };
        bool has_tap = daemon_tap_pool_take(daemon, &tap);

        if (record_tap(daemon, vm, has_tap ? tap.name : "", &err) < 0) {
                log_warn("recording a vm's tap failed", "{s:s, s:s}", "vm_id", vm->id, "error", err.message);
                if (has_tap)
                        daemon_tap_pool_put_back(daemon, &tap);
        }
        (void) json_object_del(owned_params, "spec.tap");
        set_text(owned_params, "spec.tap", vm->tap);
        daemon_operation_job_with(operation, key, method, owned_params, tap.fd, then);
}
