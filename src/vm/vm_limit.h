/* The limits of a running VM's disks and network. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "vm/vm_spec.h"

/*
 * Makes the limits of the spec hold for the running VM. What its VMM cannot limit while it runs is no failure: *ret_net_waits
 * says that the network's limit is the next start's.
 */
int vm_set_limits(const struct vm_spec *spec, bool *ret_net_waits, struct err *err);
