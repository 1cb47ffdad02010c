/* Guards: a pidfd for each running VM's VMM, so that the daemon learns at once when one ends. */
#pragma once

#include "daemon/daemon.h"

#define DAEMON_LOG_MARKS_MAX 512

/* When a log had which size, so that "since" finds its place (daemon_logs.h). */
struct daemon_log_marks {
        struct {
                uint64_t real_ns, size;
        } marks[DAEMON_LOG_MARKS_MAX];
        size_t n;
};

/* A running VM as the daemon sees it now; nothing here outlives the daemon. Each file named owns its part. */
struct daemon_guard {
        struct daemon_guard *next;
        struct daemon *daemon;
        char *vm_id; /* owned */
        pid_t pid;
        int pidfd; /* owned by the source */
        sd_event_source *source;
        bool paused;

        struct {                  /* daemon_pulse.c */
                bool is_asked;    /* an answer is due */
                bool after_gap;   /* and its clock is then to be put right at once */
                bool is_silent;   /* it was told that the agent does not answer */
                uint64_t last_ms; /* of the last look, monotonic */
                uint64_t cpu_ms;  /* the VMM's, then */
                uint64_t used_ms; /* when somebody used it last, monotonic */
        } pulse;
        struct daemon_log_marks console; /* daemon_logs.c */
};

/* Watches the process from now on; the pidfd is owned. At its end the VM is cleaned and marked stopped. */
int daemon_guard_add(struct daemon *daemon, const char *vm_id, pid_t pid, int owned_pidfd, struct err *err);
/* Stops watching: somebody else takes care of this VM now. */
void daemon_guard_remove(struct daemon *daemon, const char *vm_id);
/* NULL: the VM does not run. */
struct daemon_guard *daemon_guard_find(const struct daemon *daemon, const char *vm_id);
pid_t daemon_guard_pid(const struct daemon *daemon, const char *vm_id);              /* 0: not watched */
int daemon_guard_signal(const struct daemon *daemon, const char *vm_id, int signal); /* 0 or -errno */
void daemon_guards_done(struct daemon *daemon);
