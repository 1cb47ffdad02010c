/* Requests before the start: each moves a checked body into the configuration. */
#include <errno.h>
#include <fcntl.h>

#include "base/scoped.h"
#include "vmm/qemu/vm_instance.h"
#include "vmm/qemu/vm_log.h"

int vm_handle_put_machine(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        call->reply.deprecated = vmm_given(&vmm_shape_machine_config, &call->body.machine, cpu_template);
        return vm_config_put_machine(&instance->config, &call->body.machine, false, err);
}

int vm_handle_patch_machine(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        call->reply.deprecated = vmm_given(&vmm_shape_machine_config, &call->body.machine, cpu_template);
        return vm_config_put_machine(&instance->config, &call->body.machine, true, err);
}

int vm_handle_put_boot_source(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        return vm_config_put_boot_source(&instance->config, &call->body.boot_source, &call->document, err);
}

int vm_handle_put_drive(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        return vm_config_put_drive(&instance->config, &call->body.drive, &call->document, err);
}

int vm_handle_put_interface(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        return vm_config_put_interface(&instance->config, &call->body.interface, &call->document, err);
}

int vm_handle_put_vsock(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        call->reply.deprecated = vmm_given(&vmm_shape_vsock, &call->body.vsock, vsock_id);
        return vm_config_put_vsock(&instance->config, &call->body.vsock, &call->document, err);
}

int vm_handle_put_entropy(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        (void) err;
        instance->config.entropy = call->body.entropy;
        instance->config.has_entropy = true;
        return 0;
}

int vm_handle_put_balloon(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        return vm_config_put_balloon(&instance->config, &call->body.balloon, err);
}

int vm_handle_put_logger(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        const struct vmm_logger *logger = &call->body.logger;
        int r = logger->log_path ? vm_log_open(logger->log_path, err) : 0;

        (void) instance;
        if (r == 0)
                vm_log_apply(logger);
        return r;
}

int vm_handle_put_metrics(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        int r;

        if (instance->metrics_fd >= 0)
                return err_set(err, EINVAL, "vmm.metrics",
                               "Failed to initialize metrics: Reinitialization of metrics not allowed.");
        r = vm_open(call->body.metrics.metrics_path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK,
                    "Failed to initialize metrics", &instance->metrics_fd, err);
        if (r == 0)
                vm_instance_flush_metrics(instance);
        return r;
}

int vm_handle_put_serial(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        return vm_config_put_serial(&instance->config, &call->body.serial, err);
}

int vm_handle_put_mmds_config(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        call->reply.deprecated = call->body.mmds.version == 0;
        return vm_config_put_mmds(&instance->config, &call->body.mmds, &call->document, err);
}

/* Part of Firecracker's API, but nothing that -M microvm can do. */
int vm_handle_unavailable(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        (void) instance;
        return err_set(err, EOPNOTSUPP, "vmm.unavailable", "%s is not available: this VMM drives QEMU",
                       call->request->route->path);
}
