/* What vmm_launch.c and vmm_process.c share. Inside of vmm/client. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vmm;
/* Does this VMM know PUT /serial; one that does not writes the guest's console to its standard output. */
bool vmm_has_serial(const struct vmm *vmm);
