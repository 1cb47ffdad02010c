#include "api/api_vm.h"

#include "base/size.h"

#define MEMORY_MIN_MIB 64
#define MEMORY_MAX_MIB (UINT64_C(1) << 20)
#define VCPU_MAX       32 /* Firecracker's limit: src/cpu_config, MAX_SUPPORTED_VCPUS */

static const struct rpc_field create_params[] = {
        RPC_FIELD(struct vm_create_params, name, "name of the new vm (default: a generated one)",
                  .sense = RPC_VM_NAME),
        RPC_FIELD(struct vm_create_params, image,
                  "image to start from: a local one, one of the catalog, or of a registry",
                  .sense = RPC_IMAGE_REF),
        RPC_FIELD(struct vm_create_params, kernel, "kernel to boot (default: the image's)",
                  .sense = RPC_KERNEL_NAME),
        RPC_FIELD(struct vm_create_params, vcpu, "virtual processors", .min = 1, .max = VCPU_MAX),
        RPC_FIELD(struct vm_create_params, memory, "memory, as 2G or 512M", .sense = RPC_MIB,
                  .min = MEMORY_MIN_MIB, .max = MEMORY_MAX_MIB),
        RPC_FIELD(struct vm_create_params, disk_size, "size of the work disk (/root), as 8G",
                  .sense = RPC_BYTES, .min = 16 * MIB, .max = UINT64_C(16) << 40),
        RPC_FIELD(struct vm_create_params, nat, "let the vm reach the network outside"),
        RPC_FIELD(struct vm_create_params, peers, "let the vm talk to others that have --peers, too"),
        RPC_FIELD(struct vm_create_params, disk_iops, "operations a second of each disk (default: unlimited)",
                  .min = 1, .max = VM_LIMIT_MAX),
        RPC_FIELD(struct vm_create_params, disk_bandwidth, "bytes a second of each disk, as 20M",
                  .sense = RPC_BYTES, .min = VM_BANDWIDTH_MIN, .max = VM_LIMIT_MAX),
        RPC_FIELD(struct vm_create_params, net_bandwidth,
                  "bytes a second of the network in each direction, as 5M", .sense = RPC_BYTES,
                  .min = VM_BANDWIDTH_MIN, .max = VM_LIMIT_MAX),
        RPC_FIELD(struct vm_create_params, no_start, "make it, but leave it stopped"),
        RPC_FIELD(struct vm_create_params, force, "make it though the host has not the memory or the disk"),
        RPC_FIELD(struct vm_create_params, label, "labels, as team=infra,tier=test"),
        RPC_END,
};

static const struct rpc_field set_params[] = {
        RPC_FIELD(struct vm_set_params, vm, "vm: name, id or the start of an id", .required = true,
                  .sense = RPC_VM_REF),
        RPC_FIELD(struct vm_set_params, name, "new name", .sense = RPC_VM_NAME),
        RPC_FIELD(struct vm_set_params, vcpu, "virtual processors", .min = 1, .max = VCPU_MAX),
        RPC_FIELD(struct vm_set_params, memory, "memory, as 2G or 512M", .sense = RPC_MIB,
                  .min = MEMORY_MIN_MIB, .max = MEMORY_MAX_MIB),
        RPC_FIELD(struct vm_set_params, disk_size, "size of the work disk (/root), as 16G; it only grows",
                  .sense = RPC_BYTES, .min = 16 * MIB, .max = UINT64_C(16) << 40),
        RPC_FIELD(struct vm_set_params, nat, "on or off: whether the vm reaches the network outside"),
        RPC_FIELD(struct vm_set_params, disk_iops, "operations a second of each disk, or off"),
        RPC_FIELD(struct vm_set_params, disk_bandwidth, "bytes a second of each disk, as 20M, or off"),
        RPC_FIELD(struct vm_set_params, net_bandwidth,
                  "bytes a second of the network in each direction, as 5M, or off"),
        RPC_FIELD(struct vm_set_params, label, "labels to set, as team=infra,tier=test; tier= removes one"),
        RPC_END,
};

static const struct rpc_field operation_params[] = {
        RPC_FIELD(struct operation_ref_params, id, "operation: op- and twelve digits", .required = true),
        RPC_END,
};

static const struct rpc_field ref_params[] = {
        RPC_FIELD(struct vm_ref_params, vm, "vm: name, id or the start of an id", .required = true,
                  .sense = RPC_VM_REF),
        RPC_END,
};

static const struct rpc_field start_params[] = {
        RPC_FIELD(struct vm_start_params, vm, "vm: name, id or the start of an id", .required = true,
                  .sense = RPC_VM_REF),
        RPC_FIELD(struct vm_start_params, force, "start it though the host has not the memory"),
        RPC_END,
};

static const struct rpc_field kill_params[] = {
        RPC_FIELD(struct vm_kill_params, vm, "vm: name, id or the start of an id", .required = true,
                  .sense = RPC_VM_REF),
        RPC_FIELD(struct vm_kill_params, signal, "signal for the VMM (default KILL)",
                  .sense = RPC_SIGNAL_NAME),
        RPC_END,
};

static const struct rpc_field rows_params[] = {
        RPC_FIELD(struct vm_rows_params, objects, "hand over each one's object as well, as text"),
        RPC_END,
};

static const struct rpc_field logs_params[] = {
        RPC_FIELD(struct vm_logs_params, vm, "vm: name, id or the start of an id", .required = true,
                  .sense = RPC_VM_REF),
        RPC_FIELD(struct vm_logs_params, since_ns,
                  "the time from which on the console is wanted, ns since 1970"),
        RPC_END,
};

static const struct rpc_field workspace_record_params[] = {
        RPC_FIELD(struct vm_workspace_record_params, vm, "vm: name, id or the start of an id",
                  .required = true, .sense = RPC_VM_REF),
        RPC_FIELD(struct vm_workspace_record_params, guest_path, "where the workspace is in the guest",
                  .required = true, .sense = RPC_GUEST_PATH),
        RPC_FIELD(struct vm_workspace_record_params, host_path, "the repository it came from",
                  .required = true, .sense = RPC_HOST_PATH),
        RPC_FIELD(struct vm_workspace_record_params, head, "commit of the repository's HEAD",
                  .required = true),
        RPC_END,
};

static const struct rpc_field no_params[] = { RPC_END };

#define VM_REF_METHOD(text_name, text, ...)                                                      \
        {                                                                                        \
                .name = (text_name), .doc = (text), .params_size = sizeof(struct vm_ref_params), \
                .params = ref_params, __VA_ARGS__                                                \
        }

const struct rpc_method api_vm_create = {
        .name = "vm.create",
        .doc = "Create a virtual machine and start it.",
        .params_size = sizeof(struct vm_create_params),
        .params = create_params,
        .streams = true,
};
const struct rpc_method api_vm_start = {
        .name = "vm.start",
        .doc = "Start a stopped virtual machine.",
        .params_size = sizeof(struct vm_start_params),
        .params = start_params,
        .streams = true,
};
const struct rpc_method api_vm_create_begin = {
        .name = "vm.create.begin",
        .doc = "Begin to create a virtual machine, and answer at once.",
        .params_size = sizeof(struct vm_create_params),
        .params = create_params,
};
const struct rpc_method api_vm_create_status = {
        .name = "vm.create.status",
        .doc = "Tell how far a create is.",
        .params_size = sizeof(struct operation_ref_params),
        .params = operation_params,
        .is_quiet = true,
};
const struct rpc_method api_vm_create_cancel = {
        .name = "vm.create.cancel",
        .doc = "End a create and undo what it has made.",
        .params_size = sizeof(struct operation_ref_params),
        .params = operation_params,
};
const struct rpc_method api_vm_stop =
        VM_REF_METHOD("vm.stop", "Stop a virtual machine; what its guest wrote is kept.", .streams = true);
const struct rpc_method api_vm_restart =
        VM_REF_METHOD("vm.restart", "Stop a virtual machine and start it again.", .streams = true);
const struct rpc_method api_vm_kill = {
        .name = "vm.kill",
        .doc = "End a virtual machine at once, without asking its guest.",
        .params_size = sizeof(struct vm_kill_params),
        .params = kill_params,
};
const struct rpc_method api_vm_set = {
        .name = "vm.set",
        .doc = "Change a virtual machine: at once what can be, the rest at its next start.",
        .params_size = sizeof(struct vm_set_params),
        .params = set_params,
};
const struct rpc_method api_vm_delete = VM_REF_METHOD(
        "vm.delete", "Stop a virtual machine and remove its disks; this cannot be undone.", .streams = true);
const struct rpc_method api_vm_list = {
        .name = "vm.list",
        .doc = "List the virtual machines.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_vm_rows = {
        .name = "vm.rows",
        .doc = "List the virtual machines as lines of a table.",
        .params_size = sizeof(struct vm_rows_params),
        .params = rows_params,
        .n_fds_out = 2,
        .is_quiet = true,
};
const struct rpc_method api_vm_show = VM_REF_METHOD("vm.show", "Show one virtual machine.", .is_quiet = true);
const struct rpc_method api_vm_connect = VM_REF_METHOD(
        "vm.connect", "Open a connection to a running guest's agent.", .n_fds_out = 1, .is_quiet = true);
const struct rpc_method api_vm_stats =
        VM_REF_METHOD("vm.stats", "Tell what a virtual machine uses.", .is_quiet = true);
const struct rpc_method api_vm_top = {
        .name = "vm.top",
        .doc = "Tell what all running virtual machines use.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_vm_ports =
        VM_REF_METHOD("vm.ports", "List what listens in a running guest.", .is_quiet = true);
const struct rpc_method api_vm_health =
        VM_REF_METHOD("vm.health", "Tell whether a virtual machine is well.", .is_quiet = true);
const struct rpc_method api_vm_ping =
        VM_REF_METHOD("vm.ping", "Ask a running guest's agent for a sign of life.", .is_quiet = true);
const struct rpc_method api_vm_pause =
        VM_REF_METHOD("vm.pause", "Let a running virtual machine stand still; it keeps its memory.");
const struct rpc_method api_vm_resume =
        VM_REF_METHOD("vm.resume", "Let a paused virtual machine go on, with its clock set right.");
const struct rpc_method api_vm_logs = {
        .name = "vm.logs",
        .doc = "Open the logs of a virtual machine.",
        .params_size = sizeof(struct vm_logs_params),
        .params = logs_params,
        .n_fds_out = 2,
        .is_quiet = true,
};
const struct rpc_method api_vm_workspace_record = {
        .name = "vm.workspace.record",
        .doc = "Record which repository a virtual machine holds a copy of.",
        .params_size = sizeof(struct vm_workspace_record_params),
        .params = workspace_record_params,
};
