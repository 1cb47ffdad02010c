/*
 * What a process gives up before it reads the first byte of a stranger: all files but those it holds, the network, new
 * programs, signals to others, and every system call that reading, computing and writing to an open file do not need.
 * There is no way back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct oci_confine {
        bool may_read;       /* read(2) from what is open */
        bool may_write;      /* pwrite(2) and ftruncate(2) too */
        uint64_t memory_max; /* bytes of its own, beyond which it is aborted; 0: no limit */
        uint64_t file_max;   /* bytes that a file may have */
};

/* First: every descriptor above 2 is closed but n (keep_fds, which is sorted for it), and the process dies with its parent. */
int oci_confine_begin(int *keep_fds, unsigned n, pid_t parent, struct err *err);
/* Landlock is left out where the kernel has none; seccomp must be there. */
int oci_confine_enter(const struct oci_confine *confine, struct err *err);
