/*
 * The pool: taps that are made ahead of time, open and shut to every frame until one is pinned to a guest (spec 9.1).
 * A batch is made by as many requests to the helper at once as are missing, at most 8. Names are tap-pool-<n>, and n only
 * grows. A tap that was given away is its VM's, in its record and its ledger; it goes with the VM's run, and a new one
 * is made instead. What a daemon that ended has left is taken up by the next, also when it is made a moment later. A helper
 * that ends without an answer may have made the tap: its name is asked for again, after a second, a few times.
 */
#pragma once

#include "daemon/daemon.h"

#define DAEMON_TAP_NAME_MAX 16

struct daemon_tap {
        char name[DAEMON_TAP_NAME_MAX];
        int fd; /* owned by whoever has the struct */
};

/* Looks for taps that are there already; vms are all records. Once, at start. */
void daemon_tap_pool_init(struct daemon *daemon, const struct store_vm *vms, unsigned n_vms);
/* A ready tap, the caller's now; false: none. */
bool daemon_tap_pool_take(struct daemon *daemon, struct daemon_tap *ret_tap);
/* A tap that was taken and not given to anybody. */
void daemon_tap_pool_put_back(struct daemon *daemon, struct daemon_tap *owned_tap);
/* Fills the pool up in the background. While it does, asking again changes nothing. */
void daemon_tap_pool_warm(struct daemon *daemon);
/* {"size","ready","warming"}; the caller owns it. */
json_t *daemon_tap_pool_object(const struct daemon *daemon);
bool daemon_tap_pool_is_used(const struct daemon *daemon);
void daemon_tap_pool_done(struct daemon *daemon);
