#include "api/api_daemon.h"

#include "api/api_image.h"
#include "api/api_kernel.h"
#include "api/api_registry.h"
#include "api/api_vm.h"

static const struct rpc_field no_params[] = { RPC_END };

const struct rpc_method api_ping = {
        .name = "daemon.ping",
        .doc = "Say who answers and which version it is.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_shutdown = {
        .name = "daemon.shutdown",
        .doc = "End the daemon; running virtual machines stay alive.",
        .params = no_params,
};
const struct rpc_method api_daemon_defaults = {
        .name = "daemon.defaults",
        .doc = "Tell what a new virtual machine gets when nothing is asked for.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_daemon_operations_list = {
        .name = "daemon.operations.list",
        .doc = "List the operations in progress and those that ended lately.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_doctor_run = {
        .name = "doctor.run",
        .doc = "Check whether this host is fit to run virtual machines.",
        .params = no_params,
        .is_quiet = true,
};

const struct rpc_method api_daemon_df = {
        .name = "daemon.df",
        .doc = "Tell what images, kernels, virtual machines and caches take on the disk.",
        .params = no_params,
        .is_quiet = true,
};

const struct rpc_method *const api_methods[] = {
        &api_ping,
        &api_shutdown,
        &api_daemon_defaults,
        &api_daemon_operations_list,
        &api_doctor_run,
        &api_daemon_df,
        &api_vm_create,
        &api_vm_create_begin,
        &api_vm_create_status,
        &api_vm_create_cancel,
        &api_vm_start,
        &api_vm_stop,
        &api_vm_restart,
        &api_vm_kill,
        &api_vm_set,
        &api_vm_delete,
        &api_vm_list,
        &api_vm_rows,
        &api_vm_show,
        &api_vm_connect,
        &api_vm_logs,
        &api_vm_workspace_record,
        &api_vm_stats,
        &api_vm_top,
        &api_vm_ports,
        &api_vm_health,
        &api_vm_ping,
        &api_vm_pause,
        &api_vm_resume,
        &api_image_pull,
        &api_image_list,
        &api_image_rows,
        &api_image_catalog,
        &api_image_show,
        &api_image_delete,
        &api_image_cache_prune,
        &api_registry_login,
        &api_registry_logout,
        &api_registry_access,
        &api_kernel_pull,
        &api_kernel_import,
        &api_kernel_list,
        &api_kernel_catalog,
        &api_kernel_show,
        &api_kernel_delete,
        &api_image_register,
        &api_image_promote,
        NULL,
};
