/*
 * VMs that nobody uses are stopped after auto_stop_stale_after, when that is set. Use is: being started or resumed, every
 * connection through banger (exec, ssh, cp, ...), a command of banger's that runs in it, an established TCP connection with
 * somebody outside of the guest, and a guest that computes. A paused VM is left alone: somebody wants its state.
 *
 * A guest may pretend to be used; then it only keeps its own memory, as it could by computing.
 */
#pragma once

#include <jansson.h>

#include "daemon/daemon.h"

struct daemon_guard;

struct daemon_stale_sample {
        uint64_t now_ms; /* monotonic: while the host sleeps nobody could use it */
        uint64_t cpu_ms; /* the VMM's in all */
        uint64_t sessions, connections;
};
/* Takes a sample in. True when the VM was idle for idle_max_ms (0: never true). */
bool daemon_stale_take(struct daemon_guard *guard, const struct daemon_stale_sample *sample,
                       uint64_t idle_max_ms);

void daemon_stale_begin(struct daemon_guard *guard);
/* Somebody uses this VM. */
void daemon_stale_touch(struct daemon *daemon, const char *vm_id);
/* After a pulse. May begin to stop the VM. */
void daemon_stale_beat(struct daemon_guard *guard, const json_t *health);
