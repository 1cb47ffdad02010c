/*
 * guest/agent: banger-vsock-agent, the first process of every guest and then its agent. Files agent_init* bring a guest up;
 * agent_pool takes the host's calls; agent_serve answers one, in a process of its own, so that everything below it is
 * straight blocking code. The agent trusts the host. It owns no state: each answer is read from the kernel when asked.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest/contract/guest_request.h"

/*
 * Answers one call on fd (borrowed) and returns when it is over. Changes the working directory and the handling of
 * SIGPIPE and SIGCHLD of the process. on_started, when not NULL, is called once the request is under way, that is when
 * nothing but waiting is left: the pool makes the next worker then and not while a command is being started.
 */
void agent_serve(int fd, void (*on_started)(void *), void *context);

/* An ERROR frame. */
void agent_refuse(int fd, const struct err *err);

/* The requests. Each takes the decoded request; its error becomes an ERROR frame. */

/* Runs the command and sends all of its frames, EXIT included. */
int agent_exec(int fd, const struct guest_request *asked, void (*on_started)(void *), void *context,
               struct err *err);
int agent_tar_in(int fd, const char *folder, struct err *err);
int agent_tar_out(int fd, const char *path, struct err *err);
/* Like these, but to and from where cp(1) would; relative paths begin at root's home. *ret_counts goes into the answer. */
int agent_copy_in(int fd, const struct guest_request *request, json_t **ret_counts, struct err *err);
int agent_copy_out(int fd, const struct guest_request *request, json_t **ret_counts, struct err *err);

/* base/address.h's forms. They answer by themselves, and return when the forwarding is over. */
int agent_dial(int fd, const char *address, struct err *err);
int agent_listen_for_host(int fd, const char *address, struct err *err);

/* The caller owns what these return; what the guest's kernel does not offer is left out. */
json_t *agent_health(void);
json_t *agent_stats(void);
/* {"listeners": [{protocol, address, port, pid, process}]} */
json_t *agent_ports(void);
/* {"system", "disks"}: what the guest's init says of the whole, and room on its disks. Starts a program. */
json_t *agent_system(void);
/* {"/": {total_bytes, free_bytes, inodes, inodes_free}, ...} */
json_t *agent_disks(void);

/* What a process that serves an exec is called, so that agent_health() can count the sessions. */
#define AGENT_SESSION_NAME "banger-session"

/* agent_clock.c: adds real_ns, and ntp when the guest disciplines its clock itself. */
void agent_clock_tell(json_t *json);
/* Adds shift_ns to the clock: at once, or at the pace of adjtime(3). */
int agent_clock_shift(int64_t shift_ns, bool slew, struct err *err);

/* Starts the power-off of a guest whose disks were synced, by its init. */
void agent_power_off(void);
/* True when the machine can switch itself off; a restart ends it otherwise. */
bool agent_can_power_off(void);
