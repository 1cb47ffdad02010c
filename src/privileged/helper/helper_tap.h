/* Taps by /dev/net/tun (Documentation/networking/tuntap.rst). */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/*
 * A tap that outlives its descriptor, openable by uid and gid, one queue, a virtio-net header before each frame (both
 * Firecracker and QEMU's `-netdev tap,fd=` want it and set its size themselves). An existing one is taken over; EBUSY
 * while somebody has it open. The descriptor is the caller's.
 */
int tap_open(const char *name, uid_t uid, gid_t gid, int *ret_fd, struct err *err);
