/*
 * Admission: a machine whose memory or disk the host does not have is refused before anything is made, with the numbers
 * and the way out. Memory counts as used when it is promised: what running guests may still touch is not given twice.
 */
#pragma once

#include "daemon/daemon.h"

struct admission_memory {
        uint64_t available_mib; /* MemAvailable */
        uint64_t promised_mib;  /* of that: to guests that run or start, and not touched by them yet */
        unsigned n_guests;
};
/* ENOMEM. Pure, for tests. */
int admission_check_memory(const struct admission_memory *host, const char *vm_name, uint64_t wanted_mib,
                           struct err *err);
/* ENOSPC; folder is named in the message. */
int admission_check_disk(uint64_t free_bytes, uint64_t wanted_bytes, const char *folder, struct err *err);

/* Whether the VM may start now. */
int daemon_admit_memory(const struct daemon *daemon, const struct store_vm *vm, struct err *err);
/* Whether its disks may be made: the whole work disk and what the copy of the image takes. */
int daemon_admit_disk(const struct daemon *daemon, const struct store_vm *vm, struct err *err);
