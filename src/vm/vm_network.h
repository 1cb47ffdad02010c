/* The network part of a VM: how the spec names it to network/, and what may change while the VM runs. */
#pragma once

#include "base/err.h"
#include "network/network_plan.h"
#include "vm/vm_spec.h"

/* Borrowed from the spec. */
struct network_settings vm_network_settings(const struct vm_spec *spec);
/* Makes spec->nat hold for the running VM. ENOTCONN when it has no tap: then the next start sees to it. */
int vm_set_nat(const struct vm_spec *spec, struct err *err);
