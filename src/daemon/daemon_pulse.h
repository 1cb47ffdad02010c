/*
 * The pulse: one timer for all running VMs. At each beat (stats_poll_interval) every guest that is not paused is asked how
 * it does, in one question; clocks, idleness and the sizes of logs follow from it. Without running VMs there is none.
 */
#pragma once

#include "daemon/daemon.h"

struct daemon_guard;

/* A VM runs from now on. */
void daemon_pulse_begin(struct daemon_guard *guard);
/* A beat now, for all; after_gap: their clocks stood still meanwhile. */
void daemon_pulse_all(struct daemon *daemon, bool after_gap);
void daemon_pulse_done(struct daemon *daemon);
