/*
 * Confinement, in two stages.
 *
 * vm_confine_early, before anything else: no new privileges, no core dumps, umask 077. QEMU inherits it.
 *
 * vm_confine, when QEMU runs: until then only the client has spoken, and it is trusted; from then on a guest can send
 * bytes to the vsock device, and QEMU (which the guest may have taken over) to the QMP parser. What is left to this
 * process is: its open descriptors, UNIX sockets to connect and accept, opening files in the folders that held the disks
 * (PATCH /drives), ending QEMU. It can start no program, map nothing executable, open no network socket, and see no other
 * file. Starting QEMU comes before, so no helper process has to keep that power.
 *
 * Landlock is left out where the kernel has none (logged); seccomp where a sanitizer is built in, which needs more.
 */
#pragma once

#include "base/err.h"
#include "vmm/qemu/vm_config.h"

/* Firecracker's exit status for a forbidden system call. */
#define VM_CONFINE_EXIT 148

void vm_confine_early(void);
int vm_confine(const struct vm_config *config, struct err *err);
