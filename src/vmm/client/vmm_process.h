/* What vmm_launch.c and vmm_process.c share. Inside of vmm/client. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Field 22 of /proc/pid/stat, in clock ticks since the boot of the host. 0 or -errno. */
int vmm_process_start_time(pid_t pid, uint64_t *ret_start_time);

struct vmm;
/* Does this VMM know PUT /serial; one that does not writes the guest's console to its standard output. */
bool vmm_has_serial(const struct vmm *vmm);
