/*
 * Rate limits of network interfaces, which QEMU has not: the frames of a limited interface go through this process,
 * between its tap and a datagram socket that QEMU has for a network. A frame that has no tokens yet waits where it is, so
 * that a guest which sends too much waits too, and what the host sends too much is dropped by the tap's queue.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/scoped.h"
#include "vmm/contract/vmm_api.h"

struct net_limiter;

/* Does it limit anything; an interface of which nothing is limited needs no limiter. */
bool net_limiter_is_needed(const struct vmm_interface *interface);

/* Without ports. */
int net_limiter_new(struct net_limiter **ret_limiter, struct err *err);
/* NULL allowed. */
void net_limiter_free(struct net_limiter *limiter);
SCOPED_FUNC(struct net_limiter *, net_limiter_free);

/* Relays between the tap (duplicated) and *ret_qemu_fd (owned by the caller). interface is borrowed for this call. */
int net_limiter_add(struct net_limiter *limiter, const struct vmm_interface *interface, int tap_fd,
                    int *ret_qemu_fd, struct err *err);
/* What update gives replaces what was, at once. ENOENT: no port of this interface was added. */
int net_limiter_change(struct net_limiter *limiter, const struct vmm_interface_update *update,
                       struct err *err);

/* Readable when there is something to do; then net_limiter_run(). */
int net_limiter_fd(const struct net_limiter *limiter);
void net_limiter_run(struct net_limiter *limiter);
