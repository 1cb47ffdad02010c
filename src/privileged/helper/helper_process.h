/* Which processes may be signalled: VMMs of banger and nothing else (spec 6.4). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct process_rules {
        uid_t owner_uid;
        const char *runtime_dir; /* borrowed */
};

/*
 * A pidfd of the process, opened before the proof is read, so that a signal through it never reaches a later bearer of
 * the number. ENOENT: there is none; EPERM: it is not a VMM of ours. The descriptor is the caller's.
 */
int process_open_vmm(pid_t pid, const struct process_rules *rules, int *ret_pidfd, struct err *err);

/* The proofs, apart, for the tests. */

/* The value of --api-sock VAL, --api-sock=VAL or -a VAL in a /proc/<pid>/cmdline of n bytes; NULL without (S-142). */
const char *process_api_socket(const char *cmdline, size_t n);
/* Absolute, below root, and without any ".." (S-121). Says nothing about links: nobody opens it. */
bool process_path_is_under(const char *path, const char *root);
/* A /proc/<pid>/cgroup that has bangerd-root.service as a whole part of its path (S-140). */
bool process_cgroup_is_ours(const char *cgroup);
