/* Signals that mean "stop": taken as events where something must be put in order first. */
#pragma once

#include <signal.h>
#include <stdbool.h>

/*
 * From begin to end SIGINT, SIGTERM, SIGHUP and SIGQUIT do not kill; they make the descriptor readable. Nests not.
 * Returns a signalfd owned by the caller, or FD_NONE when there is none to be had.
 */
int signals_begin(bool with_window);
void signals_end(int fd);
/* The signal that waits in fd, 0: none. */
int signals_take(int fd);

/*
 * Between the two every signal waits for a begin, a guard or the release, so that none is lost or kills in between; the
 * release lets one that still waits kill. Nests not.
 */
void signals_hold(void);
void signals_release(void);
/* The signal that waits while they are held, 0: none. It goes on waiting. */
int signals_waiting(void);

/*
 * For work that blocks in a read or a write on fd: a signal shuts the connection down, and the work ends with an error.
 * One at a time.
 */
void signals_guard(int fd);
/* Ends it; the signal that came, 0: none. */
int signals_unguard(void);

/* Dies by the signal as if it had never been caught, so that the shell sees it. */
_Noreturn void signals_die(int signal);
