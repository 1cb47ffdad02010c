/* The one way back: undoes whatever a ledger says, in any state, as often as wanted. */
#pragma once

#include "base/err.h"
#include "vm/vm_spec.h"

/*
 * Ends the VMM, removes tap, NAT, sockets and the ledger. Never returns early: every step is tried and all errors are
 * joined (S-178, S-179). Needs only id, folder, runtime, address and the network part of the spec.
 */
int vm_clean(const struct vm_spec *spec, struct err *err);

/* vm_clean, its lines in known_hosts, and the VM's folder by that name: what is left is vm_path_gone(), which only takes space. */
int vm_retire(const struct vm_spec *spec, struct err *err);
/* vm_retire and what that leaves. */
int vm_remove(const struct vm_spec *spec, struct err *err);
/* Drops the lines of an ssh known_hosts file that begin with the address (NULL: none) or with "<name>.vm". */
int vm_forget_hosts(const char *known_hosts, const char *address, const char *name, struct err *err);
