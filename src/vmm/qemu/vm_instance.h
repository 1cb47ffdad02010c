/*
 * The microVM as the API sees it: what is configured, whether it runs, and the handler of every request. One instance a
 * process; requests are served one at a time.
 */
#pragma once

#include "base/err.h"
#include "vmm/contract/vmm_decode.h"
#include "vmm/contract/vmm_route.h"
#include "vmm/qemu/vm_config.h"
#include "vmm/qemu/vm_machine.h"
#include "vmm/qemu/vm_mmds.h"

enum vm_accel {
        VM_ACCEL_AUTO,
        VM_ACCEL_KVM,
        VM_ACCEL_TCG
};

struct vm_instance {
        const char *id;   /* borrowed */
        const char *qemu; /* borrowed: the program */
        enum vm_accel accel;
        bool confine; /* after the start; false with --no-seccomp */
        uint64_t started_ms;

        struct vm_config config;
        struct vm_mmds mmds;
        struct vm_machine *machine; /* owned; NULL until InstanceStart */
        bool is_paused;
        int metrics_fd;                            /* owned; FD_NONE */
        unsigned drive_generations[VM_DRIVES_MAX]; /* how often each drive's file was replaced */
};

void vm_instance_init(struct vm_instance *instance, const char *id);
void vm_instance_done(struct vm_instance *instance);

/* Every body there is; the route says which one. */
union vmm_body {
        uint32_t given;
        struct vmm_boot_source boot_source;
        struct vmm_drive_body drive;
        struct vmm_drive_update drive_update;
        struct vmm_interface interface;
        struct vmm_interface_update interface_update;
        struct vmm_machine_config machine;
        struct vmm_vsock vsock;
        struct vmm_entropy entropy;
        struct vmm_balloon balloon;
        struct vmm_balloon_update balloon_update;
        struct vmm_balloon_stats_update balloon_stats;
        struct vmm_logger logger;
        struct vmm_metrics metrics;
        struct vmm_serial serial;
        struct vmm_mmds_config mmds;
        struct vmm_action action;
        struct vmm_vm vm;
};

struct vm_reply {
        json_t *json;    /* owned; NULL: nothing to say (204) */
        bool deprecated; /* the request used something on its way out */
};

/* What came in; all borrowed. */
struct vm_incoming {
        const char *method, *path, *body;
        size_t n; /* bytes of body, may be 0 */
};

/*
 * One request to its effect. Errors carry Firecracker's
 * fault_message whole; EFBIG is HTTP 413, everything else 400.
 */
int vm_instance_request(struct vm_instance *instance, const struct vm_incoming *incoming,
                        struct vm_reply *ret_reply, struct err *err);

/* What handlers work on. */
struct vm_call {
        const struct vmm_request *request;
        const char *text; /* the body as it came */
        size_t n;
        union vmm_body body;
        struct vmm_document document; /* handlers that keep the body take it */
        struct vm_reply reply;
};

typedef int vm_handler(struct vm_instance *instance, struct vm_call *call, struct err *err);

/* vm_configure.c */
vm_handler vm_handle_put_machine, vm_handle_patch_machine, vm_handle_put_boot_source, vm_handle_put_drive,
        vm_handle_put_interface, vm_handle_put_vsock, vm_handle_put_entropy, vm_handle_put_balloon,
        vm_handle_put_logger, vm_handle_put_metrics, vm_handle_put_serial, vm_handle_put_mmds_config,
        vm_handle_unavailable;
/* vm_query.c */
vm_handler vm_handle_get_instance, vm_handle_get_version, vm_handle_get_config, vm_handle_get_machine,
        vm_handle_get_balloon, vm_handle_get_balloon_stats, vm_handle_get_mmds, vm_handle_put_mmds,
        vm_handle_patch_mmds;
/* vm_control.c */
vm_handler vm_handle_action, vm_handle_patch_vm, vm_handle_patch_drive, vm_handle_patch_interface,
        vm_handle_patch_balloon, vm_handle_patch_balloon_stats;

/* One line of metrics; nothing happens when none are configured. */
void vm_instance_flush_metrics(struct vm_instance *instance);
