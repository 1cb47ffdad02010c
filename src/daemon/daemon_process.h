/*
 * The processes of jobs, and the spares: one of each program that was started before it is needed, waits for its request,
 * has seen nothing and does one job as any other. Loading bangerd is 10 to 14 ms of each create and each delete; the
 * libraries of bangerd-import take longer than asking a registry whether a tag has changed. A spare bangerd is there
 * whenever no job runs; a bangerd-import, which is larger, waits half a minute behind an import that went well. Lists of
 * processes call them "bangerd-spare".
 */
#pragma once

#include "daemon/daemon.h"

struct daemon_process {
        pid_t pid;
        int pidfd, sock; /* owned by who began it */
        bool has_waited; /* for this job */
};

/*
 * A process that waits on the other end of sock for its request: the spare, unless it must be a fresh one. On failure
 * *ret_process has no descriptors.
 */
int daemon_process_begin(struct daemon *daemon, enum daemon_program program, bool is_fresh,
                         struct daemon_process *ret_process, struct err *err);
/* Starts the spare of a program, when there is none. A failure is nobody's concern. */
void daemon_process_prepare(struct daemon *daemon, enum daemon_program program);
/* The same for bangerd, once the loop has nothing else to do, and only if no job runs then. */
void daemon_process_prepare_later(struct daemon *daemon);
/* Ends those that wait. */
void daemon_processes_done(struct daemon *daemon);
