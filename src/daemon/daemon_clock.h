/*
 * Guests' clocks: read with every pulse, corrected when they are off (guest_clock.h), and at once when this host slept or
 * its own clock was set. Nothing is polled for that: the kernel tells of both through a timer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/err.h"

struct daemon;
struct daemon_guard;
struct daemon_guest_answer;

/* Where the times come from; a test puts its own in place. */
struct daemon_clock_source {
        uint64_t (*boot_ns)(void); /* goes on while the host sleeps */
        uint64_t (*monotonic_ns)(void);
};
extern const struct daemon_clock_source daemon_clock_source_real;

struct daemon_clock_watch {
        const struct daemon_clock_source *source; /* borrowed */
        uint64_t asleep_ns;                       /* so long in all, when it was looked at last */
        int timer;                                /* owned by the event source */
        sd_event_source *event;                   /* owned */
};

void daemon_clock_watch_init(struct daemon_clock_watch *watch, const struct daemon_clock_source *source);
/* Whether the host slept since the last look; *ret_ns: how long. */
bool daemon_clock_watch_slept(struct daemon_clock_watch *watch, uint64_t *ret_ns);

/* Looks at the host's clock from now on. */
int daemon_clock_begin(struct daemon *daemon, struct err *err);
void daemon_clock_done(struct daemon *daemon);
/* After a pulse: corrects the guest's clock when it must be. */
void daemon_clock_beat(struct daemon_guard *guard, const struct daemon_guest_answer *health, bool after_gap);
