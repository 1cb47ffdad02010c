/*
 * Questions to guests from the daemon's loop, which waits for nobody: each is a state machine of guest/client on the loop,
 * with a deadline. What a guest answers is bounded and checked before anybody here sees it.
 */
#pragma once

#include "daemon/daemon.h"
#include "guest/client/guest_call.h"

struct daemon_guest_question {
        const char *vm_id;
        enum guest_question question;
        int64_t shift_ns; /* of a clock */
        bool slew;
        uint64_t timeout_ms;
};

struct daemon_guest_answer {
        json_t *json; /* borrowed; NULL: it failed */
        const struct err *err;
        uint64_t sent_ns, answered_ns; /* real time around the answer */
};

typedef void daemon_guest_then(void *userdata, const struct daemon_guest_answer *answer);

/* then is called once, from the loop and never before this returns; not at all when the daemon ends first. */
void daemon_guest_ask(struct daemon *daemon, const struct daemon_guest_question *question,
                      daemon_guest_then *then, void *userdata);
void daemon_guests_done(struct daemon *daemon);
