/*
 * vsock_device: a virtio-vsock device outside QEMU with Firecracker's socket rules: programs of the host connect to
 * uds_path and say `CONNECT <port>`, the guest's connections to the host arrive at <uds_path>_<port>. It owns the
 * listening socket, the connections and the vhost-user link to QEMU. It never blocks, never trusts the guest, never
 * removes socket files (as Firecracker leaves them), and starts no thread: its owner polls one descriptor.
 *
 * The process should be allowed 1,023 descriptors more than it needs itself (RLIMIT_NOFILE); with fewer, new connections
 * wait or are refused. Paths beyond 107 bytes need /proc.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/scoped.h"

struct vsock_device;

/*
 * Binds and listens on uds_path (when PUT /vsock is answered); EADDRINUSE when it exists. Nobody is accepted before the
 * guest's driver is there.
 */
int vsock_device_new(const char *uds_path, uint64_t guest_cid, struct vsock_device **ret_device,
                     struct err *err);
void vsock_device_free(struct vsock_device *device);
SCOPED_FUNC(struct vsock_device *, vsock_device_free);

/* Our end of a stream socket pair whose other end QEMU has as chardev. 0, -EALREADY for a second one, or -errno. */
int vsock_device_take_qemu(struct vsock_device *device, int owned_fd);

/* An epoll descriptor: poll it for POLLIN, then call run. Borrowed. */
int vsock_device_fd(const struct vsock_device *device);
/*
 * Handles what is ready, a bounded amount of it, without blocking. < 0: the device is dead (-ECONNRESET: QEMU closed the
 * link; -EBADMSG: the guest broke a ring; -EPROTO and others: QEMU broke the protocol). All its connections are
 * closed then, its descriptor stays silent, and every further call says the same.
 */
int vsock_device_run(struct vsock_device *device);
