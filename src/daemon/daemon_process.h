/*
 * The processes of jobs. Loading the libraries of bangerd-import takes longer than asking a registry whether a tag has
 * changed: so behind an import that went well the next process is started already, and waits a while for its job. Those who
 * pull one image after the other find it loaded. It has read nothing then, and does one job as any other.
 */
#pragma once

#include "daemon/daemon.h"

struct daemon_process {
        pid_t pid;
        int pidfd, sock; /* owned by who began it */
        bool has_waited; /* for this job */
};

/* A process that waits on the other end of sock for its request. */
int daemon_process_begin(const char *program, struct daemon_process *ret_process, struct err *err);
/* The same for an import: one that was started before, if there is one. */
int daemon_process_begin_import(struct daemon *daemon, struct daemon_process *ret_process, struct err *err);
/* Starts one for the next import. A failure is nobody's concern. */
void daemon_process_prepare(struct daemon *daemon);
/* Ends the one that waits. */
void daemon_processes_done(struct daemon *daemon);
