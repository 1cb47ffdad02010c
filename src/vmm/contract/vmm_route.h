/* Which requests there are: method, path, when they are allowed, what their body looks like, how failures begin. */
#pragma once

#include "base/err.h"
#include "vmm/contract/vmm_api.h"

enum vmm_method {
        VMM_GET,
        VMM_PUT,
        VMM_PATCH,
        VMM_N_METHODS
};

enum vmm_when {
        VMM_ANY_TIME,
        VMM_BEFORE_START,
        VMM_AFTER_START,
};

enum vmm_endpoint {
        VMM_GET_INSTANCE,
        VMM_GET_VERSION,
        VMM_GET_CONFIG,
        VMM_GET_MACHINE,
        VMM_PUT_MACHINE,
        VMM_PATCH_MACHINE,
        VMM_PUT_BOOT_SOURCE,
        VMM_PUT_DRIVE,
        VMM_PATCH_DRIVE,
        VMM_PUT_INTERFACE,
        VMM_PATCH_INTERFACE,
        VMM_PUT_VSOCK,
        VMM_PUT_ENTROPY,
        VMM_GET_BALLOON,
        VMM_PUT_BALLOON,
        VMM_PATCH_BALLOON,
        VMM_GET_BALLOON_STATS,
        VMM_PATCH_BALLOON_STATS,
        VMM_PUT_LOGGER,
        VMM_PUT_METRICS,
        VMM_PUT_SERIAL,
        VMM_GET_MMDS,
        VMM_PUT_MMDS,
        VMM_PATCH_MMDS,
        VMM_PUT_MMDS_CONFIG,
        VMM_PUT_ACTION,
        VMM_PATCH_VM,
        VMM_PUT_CPU_CONFIG,
        VMM_PUT_SNAPSHOT_CREATE,
        VMM_PUT_SNAPSHOT_LOAD,
        VMM_PUT_PMEM,
        VMM_PUT_HOTPLUG_MEMORY,
        VMM_N_ENDPOINTS
};

struct vmm_route {
        enum vmm_endpoint endpoint;
        enum vmm_method method;
        const char *path; /* "drives/" ends with the slash: one more token, the id, follows */
        enum vmm_when when;
        const struct vmm_shape *shape; /* NULL: no body, or any JSON */
        const char *prefix;            /* "Drive config error"; NULL: failures stand alone */
};

extern const struct vmm_route vmm_routes[VMM_N_ENDPOINTS];

#define VMM_ID_MAX 256

struct vmm_request {
        const struct vmm_route *route;
        char id[VMM_ID_MAX]; /* "" where the path has none */
};

/* EINVAL with Firecracker's text for a path, method or id that is not served, and for a body missing or too much. */
int vmm_route_find(const char *method, const char *path, bool has_body, struct vmm_request *ret_request,
                   struct err *err);

/* The state rule: EINVAL with Firecracker's text. */
int vmm_route_check(const struct vmm_route *route, bool started, struct err *err);
