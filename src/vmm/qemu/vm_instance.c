#include "vmm/qemu/vm_instance.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "vmm/qemu/vm_log.h"

#define DESERIALIZE "An error occurred when deserializing the json body of a request"

static vm_handler *const handlers[] = {
        [VMM_GET_INSTANCE] = vm_handle_get_instance,
        [VMM_GET_VERSION] = vm_handle_get_version,
        [VMM_GET_CONFIG] = vm_handle_get_config,
        [VMM_GET_MACHINE] = vm_handle_get_machine,
        [VMM_PUT_MACHINE] = vm_handle_put_machine,
        [VMM_PATCH_MACHINE] = vm_handle_patch_machine,
        [VMM_PUT_BOOT_SOURCE] = vm_handle_put_boot_source,
        [VMM_PUT_DRIVE] = vm_handle_put_drive,
        [VMM_PATCH_DRIVE] = vm_handle_patch_drive,
        [VMM_PUT_INTERFACE] = vm_handle_put_interface,
        [VMM_PATCH_INTERFACE] = vm_handle_patch_interface,
        [VMM_PUT_VSOCK] = vm_handle_put_vsock,
        [VMM_PUT_ENTROPY] = vm_handle_put_entropy,
        [VMM_GET_BALLOON] = vm_handle_get_balloon,
        [VMM_PUT_BALLOON] = vm_handle_put_balloon,
        [VMM_PATCH_BALLOON] = vm_handle_patch_balloon,
        [VMM_GET_BALLOON_STATS] = vm_handle_get_balloon_stats,
        [VMM_PATCH_BALLOON_STATS] = vm_handle_patch_balloon_stats,
        [VMM_PUT_LOGGER] = vm_handle_put_logger,
        [VMM_PUT_METRICS] = vm_handle_put_metrics,
        [VMM_PUT_SERIAL] = vm_handle_put_serial,
        [VMM_GET_MMDS] = vm_handle_get_mmds,
        [VMM_PUT_MMDS] = vm_handle_put_mmds,
        [VMM_PATCH_MMDS] = vm_handle_patch_mmds,
        [VMM_PUT_MMDS_CONFIG] = vm_handle_put_mmds_config,
        [VMM_PUT_ACTION] = vm_handle_action,
        [VMM_PATCH_VM] = vm_handle_patch_vm,
        [VMM_PUT_CPU_CONFIG] = vm_handle_unavailable,
        [VMM_PUT_SNAPSHOT_CREATE] = vm_handle_unavailable,
        [VMM_PUT_SNAPSHOT_LOAD] = vm_handle_unavailable,
        [VMM_PUT_PMEM] = vm_handle_unavailable,
        [VMM_PUT_HOTPLUG_MEMORY] = vm_handle_unavailable,
};
static_assert(sizeof(handlers) / sizeof(handlers[0]) == VMM_N_ENDPOINTS, "a handler for every endpoint");

void vm_instance_init(struct vm_instance *instance, const char *id)
{
        *instance =
                (struct vm_instance){ .id = id, .metrics_fd = FD_NONE, .started_ms = clock_monotonic_ms() };
        vm_config_init(&instance->config);
}

void vm_instance_done(struct vm_instance *instance)
{
        vm_machine_free(take_ptr(instance->machine));
        vm_config_done(&instance->config);
        vm_mmds_done(&instance->mmds);
        if (instance->metrics_fd >= 0)
                (void) close(take_fd(&instance->metrics_fd));
}

static int decode_body(struct vm_call *call, struct err *err)
{
        const struct vmm_route *route = call->request->route;
        int r;

        if (call->n == 0)
                return 0;
        if (route->shape)
                r = vmm_decode(route->shape, call->text, call->n, &call->body, &call->document, err);
        else
                r = vmm_decode_any(call->text, call->n, &call->document, err);
        if (r < 0) {
                (void) err_wrap(err, DESERIALIZE);
                /* serde's text has no full stop, Firecracker's frame has */
                if (strlen(err->message) + 2 < sizeof(err->message))
                        strncat(err->message, ".", sizeof(err->message) - strlen(err->message) - 1);
        }
        return r;
}

static int refuse_missing(struct vm_call *call, const char *field, struct err *err)
{
        (void) vmm_refuse_missing(call->text, call->n, field, err);
        (void) err_wrap(err, DESERIALIZE);
        strncat(err->message, ".", sizeof(err->message) - strlen(err->message) - 1);
        return -EINVAL;
}

/* PUT and PATCH of the machine share a shape; only PUT asks for everything. */
static int check_required(struct vm_call *call, struct err *err)
{
        if (call->request->route->endpoint == VMM_PATCH_MACHINE && call->body.machine.given == 0)
                return err_set(err, EINVAL, "vmm.machine", "Empty PATCH request.");
        if (call->request->route->endpoint != VMM_PUT_MACHINE)
                return 0;
        if (!vmm_given(&vmm_shape_machine_config, &call->body.machine, vcpu_count))
                return refuse_missing(call, "vcpu_count", err);
        if (!vmm_given(&vmm_shape_machine_config, &call->body.machine, mem_size_mib))
                return refuse_missing(call, "mem_size_mib", err);
        return 0;
}

/* The id in the path and the one in the body, where a body has one. */
static int check_id(const struct vm_call *call, struct err *err)
{
        const char *id = call->request->id, *inner = id;

        switch ((int) call->request->route->endpoint) {
        case VMM_PUT_DRIVE:
                inner = call->body.drive.drive_id;
                break;
        case VMM_PATCH_DRIVE:
                inner = call->body.drive_update.drive_id;
                break;
        case VMM_PUT_INTERFACE:
                inner = call->body.interface.iface_id;
                break;
        case VMM_PATCH_INTERFACE:
                inner = call->body.interface_update.iface_id;
                break;
        default:
                return 0;
        }
        if (strcmp(id, inner) == 0)
                return 0;
        if (call->request->route->shape == &vmm_shape_drive ||
            call->request->route->shape == &vmm_shape_drive_update)
                return err_set(err, EINVAL, "vmm.id",
                               "The id from the path does not match the id from the body!");
        return err_set(err, EINVAL, "vmm.id",
                       "The id from the path [%s] does not match the id from the body [%.200s]!", id, inner);
}

static int serve(struct vm_instance *instance, struct vm_call *call, struct err *err)
{
        const struct vmm_route *route = call->request->route;
        int r = decode_body(call, err);

        if (r == 0)
                r = check_required(call, err);
        if (r == 0)
                r = check_id(call, err);
        if (r == 0)
                r = vmm_route_check(route, instance->machine != NULL, err);
        if (r < 0)
                return r;
        r = handlers[route->endpoint](instance, call, err);
        if (r < 0 && route->prefix)
                (void) err_wrap(err, "%s", route->prefix);
        return r;
}

int vm_instance_request(struct vm_instance *instance, const struct vm_incoming *incoming,
                        struct vm_reply *ret_reply, struct err *err)
{
        struct vmm_request request;
        struct vm_call call = { .request = &request, .text = incoming->body, .n = incoming->n };
        int r = vmm_route_find(incoming->method, incoming->path, incoming->n > 0, &request, err);

        *ret_reply = (struct vm_reply){ 0 };
        if (r == 0)
                r = serve(instance, &call, err);
        vmm_document_done(&call.document);
        if (r < 0) {
                json_decref(call.reply.json);
                vm_log_error("Received Error on %s %.200s: %s", incoming->method, incoming->path,
                             err->message);
                return r;
        }
        *ret_reply = call.reply;
        return 0;
}

void vm_instance_flush_metrics(struct vm_instance *instance)
{
        char line[256];
        int n;

        if (instance->metrics_fd < 0)
                return;
        n = snprintf(line, sizeof(line),
                     "{\"utc_timestamp_ms\":%" PRIu64 ",\"api_server\":{\"process_uptime_ms\":%" PRIu64
                     "},\"vmm\":{\"running\":%s,\"paused\":%s}}\n",
                     clock_real_ns() / 1000000, clock_monotonic_ms() - instance->started_ms,
                     instance->machine ? "true" : "false", instance->is_paused ? "true" : "false");
        (void) !write(instance->metrics_fd, line, (size_t) n);
}
