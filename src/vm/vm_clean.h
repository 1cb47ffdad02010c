/* The one way back: undoes whatever a ledger says, in any state, as often as wanted. */
#pragma once

#include "base/err.h"
#include "vm/vm_spec.h"

/*
 * Ends the VMM, removes tap, NAT, sockets and the ledger. Never returns early: every step is tried and all errors are
 * joined (S-178, S-179). Needs only id, folder, runtime, address and the network part of the spec.
 */
int vm_clean(const struct vm_spec *spec, struct err *err);

/* vm_clean, and its lines in known_hosts: what is left is a folder that only takes space. */
int vm_retire(const struct vm_spec *spec, struct err *err);
/* vm_retire and the VM's folder. */
int vm_remove(const struct vm_spec *spec, struct err *err);
