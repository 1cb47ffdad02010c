/*
 * The console's and the VMM's log on disk: bounded, since a guest may print for ever, and findable by time. banger-qemu
 * bounds its logs itself; Firecracker's are bounded here, at each pulse, by giving back the front of the file. That
 * loses no line in flight and works however the writer has opened it: its place in the file stays what it was.
 */
#pragma once

#include "daemon/daemon.h"

struct daemon_guard;

#define DAEMON_LOG_MAX  (8 * 1024 * 1024) /* bytes on disk at which the front goes */
#define DAEMON_LOG_KEEP (1024 * 1024)     /* bytes that stay */

/* Gives back the front of a log whose real size is beyond the maximum. 0 or -errno. */
int daemon_log_bound(int fd, uint64_t max, uint64_t keep);

void daemon_logs_begin(struct daemon_guard *guard);
void daemon_logs_beat(struct daemon_guard *guard);
/* Where in the console's log the time is: what was written since then begins there or behind. */
uint64_t daemon_logs_place(const struct daemon_guard *guard, uint64_t since_real_ns);
