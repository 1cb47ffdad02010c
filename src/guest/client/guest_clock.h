/*
 * A guest's clock against the host's: how far it is off, and what to do about it. Arithmetic alone.
 *
 * The guest reads its clock somewhere between the leaving of the question and the coming of the answer; its reading is
 * taken for the middle, and half the round trip is how wrong that may be (Cristian's algorithm).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define GUEST_CLOCK_LEAVE_NS INT64_C(5000000)  /* so much beyond the uncertainty is left alone */
#define GUEST_CLOCK_STEP_NS  INT64_C(50000000) /* up to so much is slewed, beyond is stepped */

struct guest_clock {
        int64_t offset_ns;       /* guest minus host */
        uint64_t uncertainty_ns; /* half the round trip */
        bool ntp;                /* the guest disciplines it by itself */
};

/* From a health answer and the host's real time around it. EBADMSG when the guest tells no possible time. */
int guest_clock_of(const json_t *health, uint64_t sent_ns, uint64_t answered_ns,
                   struct guest_clock *ret_clock, struct err *err);

/*
 * The correction, or false for none. A guest that keeps its own time is left alone, but after a gap (the host slept, the
 * VM was paused, the host's clock was set) nobody in the guest can know better at once, so it is stepped too.
 */
bool guest_clock_correction(const struct guest_clock *clock, bool after_gap, int64_t *ret_shift_ns,
                            bool *ret_slew);

/* Blocking, for jobs: reads the clock of a VM and corrects it as after a gap, again when the first correction was uncertain. */
int guest_clock_sync(const char *vsock_uds, uint64_t timeout_ms, struct err *err);
