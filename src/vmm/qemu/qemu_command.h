/*
 * A configuration as QEMU's argument vector. Pure: everything that has to be open already is. The guest never sees a host
 * path and QEMU opens none: disks come as descriptor sets, the rest under inherited numbers.
 */
#pragma once

#include <stdint.h>

#include "vmm/qemu/vm_config.h"

struct qemu_setup {
        const char *qemu;    /* the program */
        const char *id;      /* shown in ps */
        const char *cmdline; /* kernel_cmdline_build() */
        bool kvm;
        int qmp_fd;         /* QEMU's end */
        int vsock_fd;       /* QEMU's end; FD_NONE without vsock */
        const int *net_fds; /* of each interface, FD_NONE: its tap; NULL: all have their taps */
        int memory_fd;      /* guest_memory_open(); FD_NONE: a memfd of QEMU's */
};

struct qemu_command {
        char **argv; /* owned, NULL-terminated */
        size_t n, capacity;
};

void qemu_command_build(const struct vm_config *config, const struct qemu_setup *setup,
                        struct qemu_command *ret_command);
void qemu_command_done(struct qemu_command *command);

/* QMP ThrottleLimits / throttle-group arguments of a rate limiter: "bps-total" and so on (a new reference). */
json_t *qemu_throttle_limits(const struct vmm_rate_limiter *limiter);
/* The blockdev nodes of drive i: file, raw (what is replaced on PATCH), throttle (what the device uses). */
#define QEMU_NODE_MAX 40
void qemu_node_name(char out[QEMU_NODE_MAX], const char *kind, size_t drive, unsigned generation);
