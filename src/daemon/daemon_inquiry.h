/*
 * A client's request that is answered when one or several guests have: what has been gathered, who waits for it, and how
 * many guests owe an answer. It is no operation: it changes nothing and is over in seconds, whatever the guests do.
 */
#pragma once

#include "daemon/daemon.h"
#include "daemon/daemon_guest.h"

struct daemon_inquiry {
        struct daemon_inquiry *next;
        struct daemon *daemon;
        struct daemon_session *session; /* NULL: the client has gone */
        json_t *result;                 /* owned */
        size_t n_owed;
        struct err failure; /* told instead of the result when set */
        /* Called when nothing is owed any more, to finish the result or to ask on; NULL: nothing to do. */
        void (*complete)(struct daemon_inquiry *inquiry);
};

/* result is taken. Answer RPC_LATER after it. */
struct daemon_inquiry *daemon_inquiry_new(struct rpc_call *call, json_t *owned_result);
/*
 * Asks a guest; take gets its answer, and about is the object within the result that it is for (borrowed: it lives with
 * the result).
 */
void daemon_inquiry_ask(struct daemon_inquiry *inquiry, const struct daemon_guest_question *question,
                        json_t *about,
                        void (*take)(struct daemon_inquiry *inquiry, json_t *about,
                                     const struct daemon_guest_answer *answer));
/* When nothing was asked: ends it now. */
void daemon_inquiry_settle(struct daemon_inquiry *inquiry);
void daemon_inquiries_done(struct daemon *daemon);
