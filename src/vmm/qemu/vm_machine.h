/*
 * One running QEMU: started, spoken to over QMP, watched, ended. It owns the process and every descriptor between us and
 * it. While a command is answered the vsock device and the console are served too, because QEMU may be waiting for them.
 */
#pragma once

#include <poll.h>
#include <sys/types.h>

#include "vmm/qemu/vm_config.h"

struct vm_machine;

struct vm_machine_options {
        const char *qemu;
        const char *id;
        bool kvm;
};

/* On success the configuration's descriptors are QEMU's, its vsock device the machine's. Failure leaves both as they were. */
int vm_machine_start(struct vm_config *config, const struct vm_machine_options *options,
                     struct vm_machine **ret_machine, struct err *err);
/* Kills QEMU if it lives, waits for its end. NULL allowed. */
void vm_machine_free(struct vm_machine *machine);

#define VM_MACHINE_POLL_MAX 6
/* Fills what to wait for; returns how many. vm_machine_run() then does what is ready. */
size_t vm_machine_poll(const struct vm_machine *machine, struct pollfd out[VM_MACHINE_POLL_MAX]);
void vm_machine_run(struct vm_machine *machine, const struct pollfd *polled, size_t n);

bool vm_machine_has_ended(const struct vm_machine *machine);
/* Firecracker's exit code for how it ended: 0 when the guest reset or powered off, 1 when QEMU failed. */
int vm_machine_exit_code(const struct vm_machine *machine);

/* One QMP command; waits for its answer. ret_value (a new reference) may be NULL. fd (borrowed) travels along, or FD_NONE. */
int vm_machine_command(struct vm_machine *machine, const char *execute, json_t *owned_arguments, int fd,
                       json_t **ret_value, struct err *err);

/* Of an interface that was started with a limit. ENOENT. */
int vm_machine_limit_interface(struct vm_machine *machine, const struct vmm_interface_update *update,
                               struct err *err);

/* amount_mib of total_mib are taken from the guest; interval_s > 0: how often its statistics are asked for. */
int vm_machine_set_balloon(struct vm_machine *machine, uint64_t total_mib, uint64_t amount_mib,
                           struct err *err);
int vm_machine_poll_balloon(struct vm_machine *machine, uint64_t interval_s, struct err *err);
