/*
 * Starting programs: an argument vector, never a shell (S-120, S-218). The child gets only the
 * descriptors named here, default signal dispositions and an empty signal mask.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define SPAWN_KEEP_MAX 20

struct spawn {
        const char *const *argv; /* argv[0] is looked up in PATH; NULL-terminated */
        const char *const *env;  /* NULL: the caller's environment */
        const char *folder;      /* working directory; NULL: the caller's */
        const char *cgroup;      /* folder of a cgroup (v2) to be born in; NULL: the caller's */
        int stdin_fd;            /* borrowed; FD_NONE: /dev/null */
        int stdout_fd;           /* borrowed; FD_NONE: /dev/null */
        int stderr_fd;           /* borrowed; FD_NONE: /dev/null */
        const int *keep_fds;     /* borrowed; stay open in the child under the same number */
        size_t n_keep_fds;       /* at most SPAWN_KEEP_MAX */
        int death_signal;        /* sent to the child when the calling thread ends; 0: none */
        bool new_session;        /* setsid */
        bool drop_to;            /* setgroups(0), setgid, setuid to the two below; needs root */
        uid_t uid;
        gid_t gid;
};

/* 0 with the child's pid and a pidfd (owned by the caller; ret_pidfd may be NULL). The failure of exec is reported here. */
int spawn_start(const struct spawn *spawn, pid_t *ret_pid, int *ret_pidfd, struct err *err);

/* Waits for the end of a child: exit status, or 128 + signal. */
int spawn_wait(pid_t pid, struct err *err);

/*
 * Runs to the end and takes its standard output (at most max bytes, NUL-terminated, owned by the
 * caller; ret_output may be NULL). timeout_ms 0: none. Returns its exit status (0 - 255) or
 * -code: a failure to start, ETIMEDOUT (it is killed), EFBIG. What it said on standard error goes
 * into *err only when the status is not 0 and ret_error is NULL; otherwise to *ret_error.
 */
int spawn_run(const char *const *argv, uint64_t timeout_ms, size_t max, char **ret_output, char **ret_error,
              struct err *err);
