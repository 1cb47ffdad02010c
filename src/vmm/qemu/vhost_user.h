/*
 * vhost_user: the back end of QEMU's vhost-user protocol, for one device with two rings that QEMU leaves to us
 * (QEMU docs/interop/vhost-user.rst). It owns the connection, the guest's memory and the rings, answers every request,
 * and tells when the rings run. It knows nothing of what travels in them.
 *
 * QEMU is trusted as little as the guest it may have been taken over by: a malformed message ends the connection, a
 * request that asks for what cannot be is refused if it wanted an answer and ends the connection if not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/scoped.h"
#include "vmm/qemu/vhost_memory.h"
#include "vmm/qemu/vhost_ring.h"

#define VHOST_USER_RINGS 2

struct vhost_user;

/*
 * owned_fd: our end of the chardev, closed on failure too. config: the device's configuration space, at most
 * VHOST_CONFIG_MAX bytes. 0 or -errno.
 */
int vhost_user_new(int owned_fd, const void *config, size_t n_config, struct vhost_user **ret_user);
void vhost_user_free(struct vhost_user *user);
SCOPED_FUNC(struct vhost_user *, vhost_user_free);

/* Readable when a message or a kick has come. Borrowed. */
int vhost_user_fd(const struct vhost_user *user);
/*
 * Takes what has come, without blocking. -ECONNRESET when QEMU is gone, -EPROTO or another error for a message not to
 * be had.
 */
int vhost_user_run(struct vhost_user *user);

/* All rings run: the driver is there and the VM is not stopped. */
bool vhost_user_is_running(const struct vhost_user *user);
/*
 * True once after the rings were started anew rather than continued: the driver began from nothing, whatever the
 * device knew of it is void.
 */
bool vhost_user_take_reset(struct vhost_user *user);

/* Borrowed; to be used while it is running only. */
struct vhost_ring *vhost_user_ring(struct vhost_user *user, unsigned index);
const struct vhost_memory *vhost_user_memory(const struct vhost_user *user);
