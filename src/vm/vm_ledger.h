/*
 * The ledger, handles.json in the VM's folder: what exists on the host for this VM right now. Every resource is
 * written down before it is made, so that a cleaner can undo it without knowing how far a job got. Temp file, rename.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum vm_phase {
        VM_PHASE_NONE,     /* no ledger: nothing exists on the host */
        VM_PHASE_CREATING, /* the VM itself is half-made: undoing means removing it */
        VM_PHASE_STARTING, /* undoing means stopping it */
        VM_PHASE_READY,    /* the guest has called; adopt it when its VMM lives */
        VM_N_PHASES,
};

struct vm_ledger {
        enum vm_phase phase;
        char tap[16]; /* "" : none */
        char address[16];
        bool vmm; /* a VMM was about to be started; pid 0: it may run all the same */
        pid_t pid;
        uint64_t start_time; /* of pid, clock ticks since boot: tells a recycled pid */
        char vmm_kind[16];
        char boot_id[40];
        char cgroup[512]; /* its folder; "": none */
        bool paused;      /* the VMM was told to let it stand still */
};

/* A missing file is VM_PHASE_NONE. EBADMSG when it cannot be understood: the cleaner then goes by the VM's id alone. */
int vm_ledger_read(const char *folder, struct vm_ledger *ret_ledger, struct err *err);
int vm_ledger_write(const char *folder, const struct vm_ledger *ledger, struct err *err);
int vm_ledger_remove(const char *folder, struct err *err);
/* What a killed writer left beside it; where no other process can be writing it. */
int vm_ledger_remove_unfinished(const char *folder, struct err *err);

/* One job at a time touches a VM, also across a restart of the daemon: waits for the lock. The descriptor holds it. */
int vm_lock(const char *folder, struct err *err);
