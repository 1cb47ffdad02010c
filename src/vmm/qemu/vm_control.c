/* Requests that act on a running machine, and the one that makes it run. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/scoped.h"
#include "vmm/qemu/kvm_probe.h"
#include "vmm/qemu/qemu_command.h"
#include "vmm/qemu/vm_confine.h"
#include "vmm/qemu/vm_instance.h"
#include "vmm/qemu/vm_log.h"

static int choose_kvm(const struct vm_instance *instance, bool *ret_kvm, struct err *err)
{
        *ret_kvm = false;
        if (instance->accel == VM_ACCEL_TCG)
                return 0;
        *ret_kvm = kvm_probe(instance->qemu);
        if (!*ret_kvm && instance->accel == VM_ACCEL_KVM)
                return err_set(err, ENODEV, "vmm.start",
                               "KVM cannot run a guest here; start with --accel tcg");
        return 0;
}

static int start(struct vm_instance *instance, struct err *err)
{
        struct vm_machine_options options = { .qemu = instance->qemu, .id = instance->id };
        int r;

        if (instance->machine)
                return err_set(err, EINVAL, "vmm.start",
                               "The requested operation is not supported after starting the microVM.");
        if (!instance->config.has_boot_source)
                return err_set(err, EINVAL, "vmm.start",
                               "Cannot start microvm without kernel configuration.");
        if (vm_config_count_devices(&instance->config) > VM_DEVICES_MAX)
                return err_set(err, EINVAL, "vmm.start",
                               "Could not allocate GSI: The requested resource is not available.");
        r = choose_kvm(instance, &options.kvm, err);
        if (r == 0)
                r = vm_machine_start(&instance->config, &options, &instance->machine, err);
        if (r < 0)
                return r;
        vm_log_info("Guest started with %s", options.kvm ? "KVM" : "TCG");
        /* from here on there is a guest that may attack */
        return instance->confine ? vm_confine(&instance->config, err) : 0;
}

static int send_ctrl_alt_del(struct vm_instance *instance, struct err *err)
{
        /* -M microvm has no keyboard; the power button asks the guest for the same */
        return vm_machine_command(instance->machine, "system_powerdown", NULL, FD_NONE, NULL, err);
}

int vm_handle_action(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        int r;

        if (call->body.action.action_type == VMM_ACTION_INSTANCE_START) {
                bool was_running = instance->machine != NULL;

                r = start(instance, err);
                return r < 0 && !was_running ? err_wrap(err, "Start microvm error") : r;
        }
        if (!instance->machine)
                return err_set(err, EINVAL, "vmm.action",
                               "The requested operation is not supported before starting the microVM.");
        if (call->body.action.action_type == VMM_ACTION_FLUSH_METRICS) {
                vm_instance_flush_metrics(instance);
                return 0;
        }
        r = send_ctrl_alt_del(instance, err);
        return r < 0 ? err_wrap(err, "Internal VMM error") : 0;
}

int vm_handle_patch_vm(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        bool pause = call->body.vm.state == VMM_VM_PAUSED;
        int r = pause == instance->is_paused ? 0
                                             : vm_machine_command(instance->machine, pause ? "stop" : "cont",
                                                                  NULL, FD_NONE, NULL, err);

        if (r == 0)
                instance->is_paused = pause;
        return r;
}

static int set_limits(struct vm_instance *instance, size_t i, const struct vmm_rate_limiter *limiter,
                      struct err *err)
{
        char path[40];

        (void) snprintf(path, sizeof(path), "/objects/limit%zu", i);
        return vm_machine_command(instance->machine, "qom-set",
                                  json_pack("{s:s, s:s, s:o}", "path", path, "property", "limits", "value",
                                            qemu_throttle_limits(limiter)),
                                  FD_NONE, NULL, err);
}

/* The new file as a node of its own. Its descriptor travels on the QMP socket into set `set`. */
static int add_file_node(struct vm_instance *instance, const struct vm_drive *drive, int fd, int set,
                         const char *node, struct err *err)
{
        char name[32];
        int r = vm_machine_command(instance->machine, "add-fd", json_pack("{s:i}", "fdset-id", set), fd, NULL,
                                   err);

        if (r < 0)
                return r;
        (void) snprintf(name, sizeof(name), "/dev/fdset/%d", set);
        return vm_machine_command(instance->machine, "blockdev-add",
                                  json_pack("{s:s, s:s, s:s, s:s, s:b, s:{s:b}}", "driver", "file",
                                            "node-name", node, "filename", name, "locking", "off",
                                            "read-only", drive->body.is_read_only, "cache", "no-flush",
                                            drive->body.cache_type == VMM_CACHE_UNSAFE),
                                  FD_NONE, NULL, err);
}

static int reopen_raw_node(struct vm_instance *instance, const struct vm_drive *drive, size_t i,
                           const char *file_node, struct err *err)
{
        char raw[QEMU_NODE_MAX];

        qemu_node_name(raw, "raw", i, 0);
        return vm_machine_command(instance->machine, "blockdev-reopen",
                                  json_pack("{s:[{s:s, s:s, s:s, s:b, s:{s:b}}]}", "options", "driver", "raw",
                                            "node-name", raw, "file", file_node, "read-only",
                                            drive->body.is_read_only, "cache", "no-flush",
                                            drive->body.cache_type == VMM_CACHE_UNSAFE),
                                  FD_NONE, NULL, err);
}

/* Tells the guest its disk has a new size; a read-only node cannot be resized and then keeps the old one. */
static void announce_size(struct vm_instance *instance, size_t i, int fd)
{
        char node[QEMU_NODE_MAX];
        struct stat about;
        struct err ignored = { 0 };

        if (fstat(fd, &about) < 0 || !S_ISREG(about.st_mode))
                return;
        qemu_node_name(node, "drive", i, 0);
        if (vm_machine_command(
                    instance->machine, "block_resize",
                    json_pack("{s:s, s:I}", "node-name", node, "size", (json_int_t) (about.st_size & ~511)),
                    FD_NONE, NULL, &ignored) < 0)
                vm_log_warn("The guest was not told of a new disk size: %s", ignored.message);
}

static int replace_file(struct vm_instance *instance, size_t i, const char *path, struct err *err)
{
        struct vm_drive *drive = &instance->config.drives[i];
        unsigned generation = instance->drive_generations[i] + 1;
        char old_node[QEMU_NODE_MAX], new_node[QEMU_NODE_MAX];
        scoped_close int fd = FD_NONE;
        struct err ignored = { 0 };
        int r = vm_open(path, drive->body.is_read_only ? O_RDONLY : O_RDWR,
                        "Unable to patch the block device: Error "
                        "manipulating the backing file",
                        &fd, err);

        if (r < 0)
                return r;
        qemu_node_name(old_node, "file", i, generation - 1);
        qemu_node_name(new_node, "file", i, generation);
        /* sets 1 ... VM_DRIVES_MAX are those of the command line */
        r = add_file_node(instance, drive, fd, (int) ((generation * VM_DRIVES_MAX) + i + 1), new_node, err);
        if (r == 0)
                r = reopen_raw_node(instance, drive, i, new_node, err);
        if (r < 0)
                return r;
        instance->drive_generations[i] = generation;
        (void) vm_machine_command(instance->machine, "blockdev-del",
                                  json_pack("{s:s}", "node-name", old_node), FD_NONE, NULL, &ignored);
        announce_size(instance, i, fd);
        (void) close(drive->fd);
        drive->fd = take_fd(&fd);
        return 0;
}

int vm_handle_patch_drive(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        const struct vmm_drive_update *update = &call->body.drive_update;
        const struct vm_drive *drive = vm_config_find_drive(&instance->config, update->drive_id);
        bool has_limiter = vmm_given(&vmm_shape_drive_update, update, rate_limiter);
        size_t i = drive ? (size_t) (drive - instance->config.drives) : 0;
        int r = 0;

        if (!drive)
                return err_set(err, EINVAL, "vmm.drive", "Invalid block device ID!");
        if (!update->path_on_host && !has_limiter)
                return err_set(err, EINVAL, "vmm.drive", "Running method expected different backend.");
        if (update->path_on_host)
                r = replace_file(instance, i, update->path_on_host, err);
        if (r == 0 && has_limiter)
                r = set_limits(instance, i, &update->rate_limiter, err);
        return r;
}

int vm_handle_patch_interface(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        return vm_machine_limit_interface(instance->machine, &call->body.interface_update, err);
}

int vm_handle_patch_balloon(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        uint64_t total = instance->config.machine.mem_size_mib, amount = call->body.balloon_update.amount_mib;
        int r;

        if (!instance->config.has_balloon)
                return err_set(err, EINVAL, "vmm.balloon", "Device not found");
        if (amount > total)
                return err_set(
                        err, EINVAL, "vmm.balloon",
                        "Amount of pages requested cannot be greater than the number of pages in the guest.");
        r = vm_machine_set_balloon(instance->machine, total, amount, err);
        if (r == 0)
                instance->config.balloon.amount_mib = amount;
        return r;
}

int vm_handle_patch_balloon_stats(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        uint64_t wanted = call->body.balloon_stats.stats_polling_interval_s;
        int r;

        if (!instance->config.has_balloon)
                return err_set(err, EINVAL, "vmm.balloon", "Device not found");
        if ((wanted == 0) != (instance->config.balloon.stats_polling_interval_s == 0))
                return err_set(
                        err, EINVAL, "vmm.balloon",
                        "Statistics for the balloon device cannot be enabled or disabled after activation");
        r = wanted == 0 ? 0 : vm_machine_poll_balloon(instance->machine, wanted, err);
        if (r == 0)
                instance->config.balloon.stats_polling_interval_s = wanted;
        return r;
}
