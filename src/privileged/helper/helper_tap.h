/* Taps by /dev/net/tun (Documentation/networking/tuntap.rst). */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/*
 * A tap that outlives its descriptor, openable by uid and gid, with the 12-byte header of virtio-net (what Firecracker
 * and QEMU's `-netdev tap,fd=` both set). An existing one is taken over; EBUSY while somebody has it open. The
 * descriptor is the caller's.
 */
int tap_open(const char *name, uid_t uid, gid_t gid, int *ret_fd, struct err *err);
