/* The signals that a VMM may be sent, by name (S-138): one list for the wire, the daemon and the root helper. */
#pragma once

#define SIGNAL_NAMES "TERM, KILL, INT, HUP, QUIT, USR1, USR2, ABRT"

/* Any case, with or without SIG. -EINVAL for every other word: STOP, CONT, real-time signals and numbers too. */
int signal_from_name(const char *name, int *ret_signal);
