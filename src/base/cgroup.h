/*
 * cgroups (v2) of one's own: where a process may make some, what they hold their processes to, their end. Never another
 * process's: a cgroup in which somebody else lives is left alone, and nothing here needs privilege.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

/* What a claimed cgroup's owner lives in itself: the kernel allows no process beside cgroups with controllers. */
#define CGROUP_OWN_NAME "banger-daemon"
#define CGROUP_PATH_MAX 512

/*
 * Takes the cgroup of the calling process, which must be alone in it and may write to it (systemd: Delegate=yes), moves
 * the process into CGROUP_OWN_NAME below, and turns on what it can of cpu, memory and pids for those made beside. *ret_root
 * (owned by the caller) is where they are made. ENODEV: no v2; EPERM, EBUSY: not ours to take.
 */
int cgroup_claim(char **ret_root, struct err *err);
/* Without changing anything: what cgroup_claim() of an ancestor of this process has taken. ENOENT: nothing. */
int cgroup_claimed(char **ret_root, struct err *err);
/* "cpu memory pids": what is turned on for the cgroups below root; owned by the caller, "" for none. */
char *cgroup_controllers(const char *root);

/* 0: unlimited. */
struct cgroup_limits {
        uint64_t memory_bytes;
        uint64_t cpu_percent; /* 100: one processor */
        uint64_t processes;   /* and threads */
};
/* A path below a claimed root. One that is there gets the limits. Those whose controller is not turned on do nothing. */
int cgroup_make(const char *path, const struct cgroup_limits *limits, struct err *err);
/* Missing is success; processes on their way out are waited for, for a second. EBUSY: there still are some. */
int cgroup_remove(const char *path, struct err *err);
