/* Guards: a pidfd for each running VM's VMM, so that the daemon learns at once when one ends. */
#pragma once

#include "daemon/daemon.h"

/* Watches the process from now on; the pidfd is owned. At its end the VM is cleaned and marked stopped. */
int daemon_guard_add(struct daemon *daemon, const char *vm_id, pid_t pid, int owned_pidfd, struct err *err);
/* Stops watching: somebody else takes care of this VM now. */
void daemon_guard_remove(struct daemon *daemon, const char *vm_id);
pid_t daemon_guard_pid(const struct daemon *daemon, const char *vm_id);              /* 0: not watched */
int daemon_guard_signal(const struct daemon *daemon, const char *vm_id, int signal); /* 0 or -errno */
void daemon_guards_done(struct daemon *daemon);
