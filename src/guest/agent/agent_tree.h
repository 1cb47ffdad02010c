/*
 * Everything that a command has started, also what left its process group and session: orphans of a subreaper's
 * descendants come to it (prctl(2), PR_SET_CHILD_SUBREAPER), so they stay in its tree, and /proc tells the tree. What another
 * service was asked to start is no part of it.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Before the command starts. 0 or -errno. */
int agent_tree_adopt(void);
/* Takes the dead among the adopted, but not `command`, whose status others wait for. */
void agent_tree_reap(pid_t command);
/* Sends the signal (0: none) to all that lives below this process; how many that were. */
size_t agent_tree_signal(int number);
/* SIGKILL until nothing is left; gives up on what the kernel does not let go (a dead disk) after a second. */
void agent_tree_kill(pid_t command);
