/* Stopping a VM without losing what its guest wrote. */
#pragma once

#include "base/err.h"
#include "vm/vm_spec.h"
#include "vm/vm_step.h"

/*
 * The guest is told over vsock to sync and power off; when its agent is silent, over SSH; a deaf guest costs 2 s (S-171 -
 * S-177). Then the VMM is ended and everything but the disks is removed.
 */
int vm_stop(const struct vm_spec *spec, const struct vm_step_watch *watch, struct err *err);
