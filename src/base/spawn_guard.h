/*
 * A program that ends with its starter, together with all that it has started, however the starter ends: between the two
 * stands a guard, a process in a session of its own, which hears of the starter's end by a pipe. It adopts whatever the
 * program leaves behind (PR_SET_CHILD_SUBREAPER(2const)), so nothing gets away by a session or a group of its own, and it
 * ends when the last of them has. For programs that are trees of processes and that do not stop when they are told to.
 */
#pragma once

#include "base/spawn.h"

struct spawn_guard {
        pid_t pid;   /* 0: none */
        int pidfd;   /* owned; readable at the end */
        int life_fd; /* owned; while it is open the program may run */
};
#define SPAWN_GUARD_NONE ((struct spawn_guard){ .pidfd = FD_NONE, .life_fd = FD_NONE })

/*
 * The program gets a session, and SIGKILL at the guard's end, whatever spawn says; it keeps no descriptors. held_fd
 * (borrowed; FD_NONE: none) stays open until the last process is gone: a lock on it lasts as long. Like spawn_start().
 */
int spawn_guard_start(const struct spawn *spawn, int held_fd, struct spawn_guard *ret_guard, struct err *err);
/* Waits until all have ended: the program's exit status, or 128 + signal. What it left behind is killed. */
int spawn_guard_wait(struct spawn_guard *guard, struct err *err);
/* Kills all of them, and waits until they are gone. */
void spawn_guard_end(struct spawn_guard *guard);
