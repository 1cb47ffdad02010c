#include "vmm/contract/vmm_route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const method_names[VMM_N_METHODS] = { "GET", "PUT", "PATCH" };

/* a table reads by columns */
/* clang-format off */
const struct vmm_route vmm_routes[VMM_N_ENDPOINTS] = {
        {VMM_GET_INSTANCE,         VMM_GET,   "",                    VMM_ANY_TIME,     NULL,                        NULL                  },
        { VMM_GET_VERSION,         VMM_GET,   "version",             VMM_ANY_TIME,     NULL,                        NULL                  },
        { VMM_GET_CONFIG,          VMM_GET,   "vm/config",           VMM_ANY_TIME,     NULL,                        NULL                  },
        { VMM_GET_MACHINE,         VMM_GET,   "machine-config",      VMM_ANY_TIME,     NULL,                        NULL                  },
        { VMM_PUT_MACHINE,         VMM_PUT,   "machine-config",      VMM_BEFORE_START, &vmm_shape_machine_config,
         "Machine config error"                                                                                                           },
        { VMM_PATCH_MACHINE,       VMM_PATCH, "machine-config",      VMM_BEFORE_START, &vmm_shape_machine_config,
         "Machine config error"                                                                                                           },
        { VMM_PUT_BOOT_SOURCE,     VMM_PUT,   "boot-source",         VMM_BEFORE_START, &vmm_shape_boot_source,
         "Boot source error"                                                                                                              },
        { VMM_PUT_DRIVE,           VMM_PUT,   "drives/",             VMM_BEFORE_START, &vmm_shape_drive,            "Drive config error"  },
        { VMM_PATCH_DRIVE,         VMM_PATCH, "drives/",             VMM_AFTER_START,  &vmm_shape_drive_update,
         "Drive config error"                                                                                                             },
        { VMM_PUT_INTERFACE,       VMM_PUT,   "network-interfaces/", VMM_BEFORE_START, &vmm_shape_interface,
         "Network config error"                                                                                                           },
        { VMM_PATCH_INTERFACE,     VMM_PATCH, "network-interfaces/", VMM_AFTER_START,  &vmm_shape_interface_update,
         "Network config error"                                                                                                           },
        { VMM_PUT_VSOCK,           VMM_PUT,   "vsock",               VMM_BEFORE_START, &vmm_shape_vsock,            "Vsock config error"  },
        { VMM_PUT_ENTROPY,         VMM_PUT,   "entropy",             VMM_BEFORE_START, &vmm_shape_entropy,          "Entropy config error"},
        { VMM_GET_BALLOON,         VMM_GET,   "balloon",             VMM_ANY_TIME,     NULL,                        "Balloon config error"},
        { VMM_PUT_BALLOON,         VMM_PUT,   "balloon",             VMM_BEFORE_START, &vmm_shape_balloon,          "Balloon config error"},
        { VMM_PATCH_BALLOON,       VMM_PATCH, "balloon",             VMM_AFTER_START,  &vmm_shape_balloon_update,
         "Balloon update error"                                                                                                           },
        { VMM_GET_BALLOON_STATS,   VMM_GET,   "balloon/statistics",  VMM_AFTER_START,  NULL,
         "Balloon config error"                                                                                                           },
        { VMM_PATCH_BALLOON_STATS, VMM_PATCH, "balloon/statistics",  VMM_AFTER_START,
         &vmm_shape_balloon_stats_update,                                                                           "Balloon update error"},
        { VMM_PUT_LOGGER,          VMM_PUT,   "logger",              VMM_BEFORE_START, &vmm_shape_logger,           "Logger error"        },
        { VMM_PUT_METRICS,         VMM_PUT,   "metrics",             VMM_BEFORE_START, &vmm_shape_metrics,          "Metrics error"       },
        { VMM_PUT_SERIAL,          VMM_PUT,   "serial",              VMM_BEFORE_START, &vmm_shape_serial,           "Serial config error" },
        { VMM_GET_MMDS,            VMM_GET,   "mmds",                VMM_ANY_TIME,     NULL,                        "MMDS error"          },
        { VMM_PUT_MMDS,            VMM_PUT,   "mmds",                VMM_ANY_TIME,     NULL,                        "MMDS error"          },
        { VMM_PATCH_MMDS,          VMM_PATCH, "mmds",                VMM_ANY_TIME,     NULL,                        "MMDS error"          },
        { VMM_PUT_MMDS_CONFIG,     VMM_PUT,   "mmds/config",         VMM_BEFORE_START, &vmm_shape_mmds_config,
         "MMMDS config error"                                                                                                             },
        { VMM_PUT_ACTION,          VMM_PUT,   "actions",             VMM_ANY_TIME,     &vmm_shape_action,           NULL                  },
        { VMM_PATCH_VM,            VMM_PATCH, "vm",                  VMM_AFTER_START,  &vmm_shape_vm,               "Internal VMM error"  },
        { VMM_PUT_CPU_CONFIG,      VMM_PUT,   "cpu-config",          VMM_BEFORE_START, NULL,                        "Configure CPU error" },
        { VMM_PUT_SNAPSHOT_CREATE, VMM_PUT,   "snapshot/create",     VMM_AFTER_START,  NULL,
         "Create snapshot error"                                                                                                          },
        { VMM_PUT_SNAPSHOT_LOAD,   VMM_PUT,   "snapshot/load",       VMM_BEFORE_START, NULL,                        "Load snapshot error" },
        { VMM_PUT_PMEM,            VMM_PUT,   "pmem/",               VMM_BEFORE_START, NULL,                        "Pmem config error"   },
        { VMM_PUT_HOTPLUG_MEMORY,  VMM_PUT,   "hotplug/memory",      VMM_BEFORE_START, NULL,
         "Memory hotplug config error"                                                                                                    },
};
/* clang-format on */

static int check_body(const char *method, bool has_body, struct err *err)
{
        if (strcmp(method, "GET") == 0 && has_body)
                return err_set(err, EINVAL, "vmm.route", "GET request cannot have a body.");
        if (strcmp(method, "PUT") == 0 && !has_body)
                return err_set(err, EINVAL, "vmm.route", "Empty PUT request.");
        if (strcmp(method, "PATCH") == 0 && !has_body)
                return err_set(err, EINVAL, "vmm.route", "Empty PATCH request.");
        return 0;
}

/* The id that follows a path ending with a slash. ASCII only: a narrower rule than Firecracker's Unicode one. */
static int take_id(const char *id, char ret_id[VMM_ID_MAX], struct err *err)
{
        size_t valid = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

        if (id[0] == '\0')
                return err_set(err, EINVAL, "vmm.route", "The ID cannot be empty.");
        if (id[valid] != '\0' || valid >= VMM_ID_MAX)
                return err_set(err, EINVAL, "vmm.route",
                               "API Resource IDs can only contain alphanumeric characters and underscores.");
        memcpy(ret_id, id, valid + 1);
        return 0;
}

/* 0: not this route. 1: this one, with *ret_rest behind its path. */
static bool route_matches(const struct vmm_route *route, const char *method, const char *path,
                          const char **ret_rest)
{
        size_t n = strlen(route->path);
        bool takes_id = n > 0 && route->path[n - 1] == '/';

        if (strcmp(method_names[route->method], method) != 0)
                return false;
        if (!takes_id) {
                *ret_rest = "";
                return strcmp(route->path, path) == 0;
        }
        if (strncmp(path, route->path, n - 1) != 0 || (path[n - 1] != '\0' && path[n - 1] != '/'))
                return false;
        *ret_rest = path[n - 1] == '/' ? path + n : "";
        return true;
}

int vmm_route_find(const char *method, const char *path, bool has_body, struct vmm_request *ret_request,
                   struct err *err)
{
        char trimmed[1025]; /* as long as Firecracker's request line may be */
        size_t n;
        int r = check_body(method, has_body, err);

        if (r < 0)
                return r;
        if (strncmp(path, "http://", 7) == 0)
                path = strchr(path + 7, '/') ?: "";
        path += strspn(path, "/");
        n = strlen(path);
        while (n > 0 && path[n - 1] == '/')
                n--;
        if (n >= sizeof(trimmed))
                return err_set(err, EINVAL, "vmm.route", "The requested path is too long.");
        memcpy(trimmed, path, n);
        trimmed[n] = '\0';

        *ret_request = (struct vmm_request){ 0 };
        for (size_t i = 0; i < VMM_N_ENDPOINTS; i++) {
                const char *rest;

                if (!route_matches(&vmm_routes[i], method, trimmed, &rest))
                        continue;
                ret_request->route = &vmm_routes[i];
                n = strlen(vmm_routes[i].path);
                return n > 0 && vmm_routes[i].path[n - 1] == '/' ? take_id(rest, ret_request->id, err) : 0;
        }
        return err_set(err, EINVAL, "vmm.route", "Invalid request method and/or path: %.16s %.*s.", method,
                       (int) strcspn(trimmed, "/") > 200 ? 200 : (int) strcspn(trimmed, "/"), trimmed);
}

int vmm_route_check(const struct vmm_route *route, bool started, struct err *err)
{
        if (route->when == VMM_AFTER_START && !started)
                return err_set(err, EINVAL, "vmm.state",
                               "The requested operation is not supported before starting the microVM.");
        if (route->when == VMM_BEFORE_START && started)
                return err_set(err, EINVAL, "vmm.state",
                               "The requested operation is not supported after starting the microVM.");
        return 0;
}
