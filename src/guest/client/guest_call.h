/*
 * One question to a guest's agent for a program that may not wait: a state machine over a non-blocking descriptor. It
 * never blocks, keeps at most GUEST_CALL_ANSWER_MAX bytes of the guest's, and has no clock: deadlines are the caller's.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/scoped.h"

#define GUEST_CALL_ANSWER_MAX (512U << 10) /* a thousand listeners with their processes are less */

enum guest_question {
        GUEST_ASK_HEALTH,
        GUEST_ASK_STATS,
        GUEST_ASK_PORTS,
        GUEST_ASK_SYSTEM,
        GUEST_ASK_SHIFT_CLOCK,
        GUEST_N_QUESTIONS
};

struct guest_call;

/* fd is connected to the VM's vsock socket, non-blocking, nothing said yet; it is owned from now on. shift_ns and slew: of a clock. */
struct guest_call *guest_call_new(int owned_fd, enum guest_question question, int64_t shift_ns, bool slew);
void guest_call_free(struct guest_call *call);
SCOPED_FUNC(struct guest_call *, guest_call_free);

int guest_call_fd(const struct guest_call *call); /* borrowed */
/* POLLIN or POLLOUT: what it waits for. */
short guest_call_events(const struct guest_call *call);
/* Goes as far as it can without waiting. 1: answered; 0: wait again; -code. */
int guest_call_run(struct guest_call *call, struct err *err);

/* The answer as guest_report.h lets it through; the caller owns it. EBADMSG when it is no answer to the question. */
int guest_call_take(struct guest_call *call, json_t **ret_answer, struct err *err);
/* When the question left and its answer was whole, by the host's real-time clock. */
void guest_call_times(const struct guest_call *call, uint64_t *ret_sent_ns, uint64_t *ret_answered_ns);
