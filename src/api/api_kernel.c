#include "api/api_kernel.h"

static const struct rpc_field pull_params[] = {
        RPC_FIELD(struct kernel_pull_params, kernel, "name in the catalog", .required = true,
                  .sense = RPC_KERNEL_NAME),
        RPC_FIELD(struct kernel_pull_params, force, "get it again when it is there", .short_option = 'f'),
        RPC_END,
};

static const struct rpc_field import_params[] = {
        RPC_FIELD(struct kernel_import_params, kernel, "local name", .required = true,
                  .sense = RPC_KERNEL_NAME),
        RPC_FIELD(
                struct kernel_import_params, from,
                "a kernel package (.deb), a folder with boot/ and lib/modules/, or a vmlinux or bzImage file",
                .required = true, .sense = RPC_HOST_PATH),
        RPC_FIELD(struct kernel_import_params, modules,
                  "lib/modules/<version> of a plain kernel file (default: drivers are built in)",
                  .sense = RPC_HOST_PATH),
        RPC_FIELD(struct kernel_import_params, distro, "distribution it comes from, for the record"),
        RPC_FIELD(struct kernel_import_params, force, "replace a kernel of this name", .short_option = 'f'),
        RPC_END,
};

static const struct rpc_field ref_params[] = {
        RPC_FIELD(struct kernel_ref_params, kernel, "local kernel", .required = true,
                  .sense = RPC_KERNEL_NAME),
        RPC_END,
};

static const struct rpc_field no_params[] = { RPC_END };

const struct rpc_method api_kernel_pull = {
        .name = "kernel.pull",
        .doc = "Get a kernel from the catalog.",
        .params_size = sizeof(struct kernel_pull_params),
        .params = pull_params,
        .streams = true,
};
const struct rpc_method api_kernel_import = {
        .name = "kernel.import",
        .doc = "Take a kernel from a package or from files of this host.",
        .params_size = sizeof(struct kernel_import_params),
        .params = import_params,
        .streams = true,
};
const struct rpc_method api_kernel_list = {
        .name = "kernel.list",
        .doc = "List the local kernels.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_kernel_catalog = {
        .name = "kernel.catalog",
        .doc = "List the kernels that can be pulled by name.",
        .params = no_params,
        .is_quiet = true,
};
const struct rpc_method api_kernel_show = {
        .name = "kernel.show",
        .doc = "Show one kernel.",
        .params_size = sizeof(struct kernel_ref_params),
        .params = ref_params,
        .is_quiet = true,
};
const struct rpc_method api_kernel_delete = {
        .name = "kernel.delete",
        .doc = "Delete a kernel that no virtual machine uses.",
        .params_size = sizeof(struct kernel_ref_params),
        .params = ref_params,
};
