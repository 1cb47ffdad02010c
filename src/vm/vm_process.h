/* The VMM of a VM as a process of this host. */
#pragma once

#include <stdbool.h>

#include "vm/vm_ledger.h"

/*
 * Finds a process of our uid started with --api-sock api_path (also --api-sock=PATH and -a PATH, S-142). 0 with a pidfd
 * owned by the caller, -ENOENT when there is none.
 */
int vm_process_find(const char *api_path, int *ret_pidfd);

/* The same for a ledger that was lost: fills in what it says of the process. */
int vm_process_recall(const char *api_path, struct vm_ledger *ledger, int *ret_pidfd);

/*
 * Whether the ledger's VMM lives: same pid, same start time, and its command line names this VM's socket, so that a
 * recycled pid or somebody else's VMM is never adopted. Then *ret_pidfd is owned by the caller.
 */
bool vm_process_is_ours(const struct vm_ledger *ledger, const char *api_path, int *ret_pidfd);
