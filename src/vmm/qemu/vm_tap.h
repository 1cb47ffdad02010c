/* Tap devices, opened as QEMU takes them: one queue, no packet information, virtio-net headers. */
#pragma once

#include "base/err.h"

/* Opens (with CAP_NET_ADMIN also makes) the tap device of this name. The caller owns *ret_fd. */
int vm_tap_open(const char *name, int *ret_fd, struct err *err);
