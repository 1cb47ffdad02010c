/* Requests that read, and the metadata store, which is allowed at any time. */
#include <errno.h>

#include "base/json.h"
#include "base/scoped.h"
#include "vmm/qemu/vm_instance.h"

int vm_handle_get_instance(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        const char *state = !instance->machine ? "Not started" : instance->is_paused ? "Paused" : "Running";

        (void) err;
        call->reply.json = json_pack("{s:s, s:s, s:s, s:s}", "id", instance->id, "state", state,
                                     "vmm_version", VMM_API_VERSION, "app_name", "Firecracker");
        return 0;
}

int vm_handle_get_version(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        (void) instance;
        (void) err;
        call->reply.json = json_pack("{s:s}", "firecracker_version", VMM_API_VERSION);
        return 0;
}

int vm_handle_get_config(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        (void) err;
        call->reply.json = vm_config_encode(&instance->config);
        return 0;
}

int vm_handle_get_machine(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        const struct vmm_machine_config *machine = &instance->config.machine;

        (void) err;
        call->reply.json = vmm_encode(&vmm_shape_machine_config, machine);
        if (!vmm_given(&vmm_shape_machine_config, machine, cpu_template))
                (void) json_object_del(call->reply.json, "cpu_template");
        return 0;
}

int vm_handle_get_balloon(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        if (!instance->config.has_balloon)
                return err_set(err, EINVAL, "vmm.balloon", "Device not found");
        call->reply.json = vmm_encode(&vmm_shape_balloon, &instance->config.balloon);
        return 0;
}

/* virtio-balloon's statistics by QEMU's names -> Firecracker's. */
static const struct {
        const char *qemu, *ours;
} stat_names[] = {
        {"stat-swap-in",           "swap_in"            },
        { "stat-swap-out",         "swap_out"           },
        { "stat-major-faults",     "major_faults"       },
        { "stat-minor-faults",     "minor_faults"       },
        { "stat-free-memory",      "free_memory"        },
        { "stat-total-memory",     "total_memory"       },
        { "stat-available-memory", "available_memory"   },
        { "stat-disk-caches",      "disk_caches"        },
        { "stat-htlb-pgalloc",     "hugetlb_allocations"},
        { "stat-htlb-pgfail",      "hugetlb_failures"   },
};

static int ask_actual(struct vm_instance *instance, uint64_t *ret_mib, struct err *err)
{
        json_auto_t *about = NULL;
        int r = vm_machine_command(instance->machine, "query-balloon", NULL, FD_NONE, &about, err);
        uint64_t total = instance->config.machine.mem_size_mib << 20;

        if (r == 0)
                *ret_mib = (total - json_u64(about, "actual", total)) >> 20;
        return r;
}

int vm_handle_get_balloon_stats(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        const struct vmm_balloon *balloon = &instance->config.balloon;
        json_auto_t *answer = NULL;
        uint64_t actual = 0;
        json_t *stats;
        int r;

        if (!instance->config.has_balloon)
                return err_set(err, EINVAL, "vmm.balloon", "Device not found");
        if (balloon->stats_polling_interval_s == 0)
                return err_set(err, EINVAL, "vmm.balloon",
                               "Statistics for the balloon device are not enabled");
        r = ask_actual(instance, &actual, err);
        if (r == 0)
                r = vm_machine_command(instance->machine, "qom-get",
                                       json_pack("{s:s, s:s}", "path", "/machine/peripheral/balloon",
                                                 "property", "guest-stats"),
                                       FD_NONE, &answer, err);
        if (r < 0)
                return r;
        call->reply.json =
                json_pack("{s:I, s:I, s:I, s:I}", "target_pages", (json_int_t) balloon->amount_mib << 8,
                          "actual_pages", (json_int_t) actual << 8, "target_mib",
                          (json_int_t) balloon->amount_mib, "actual_mib", (json_int_t) actual);
        stats = json_object_get(answer, "stats");
        for (size_t i = 0; i < sizeof(stat_names) / sizeof(stat_names[0]); i++) {
                json_t *value = json_object_get(stats, stat_names[i].qemu);

                /* QEMU says -1 for what the guest has not told */
                if (json_is_integer(value) && json_integer_value(value) >= 0)
                        (void) json_object_set(call->reply.json, stat_names[i].ours, value);
        }
        return 0;
}

int vm_handle_get_mmds(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        (void) err;
        call->reply.json = instance->mmds.data ? json_incref(instance->mmds.data) : json_object();
        return 0;
}

int vm_handle_put_mmds(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        return vm_mmds_put(&instance->mmds, call->document.json, err);
}

int vm_handle_patch_mmds(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        return vm_mmds_patch(&instance->mmds, call->document.json, err);
}
