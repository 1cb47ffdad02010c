/* The near side of a request: connect, ask, hand over events, take the answer. */
#pragma once

#include "rpc/rpc_message.h"
#include "rpc/rpc_table.h"

struct rpc_request {
        const char *method;
        json_t *params;    /* borrowed; NULL: none */
        const char *op_id; /* NULL: the server makes one */
        const int *fds;    /* borrowed */
        size_t n_fds;
        /* Called with the "event" object of each message before the answer. A return < 0 ends the request. NULL: ignored. */
        int (*event)(void *userdata, const json_t *event);
        void (*tick)(void *userdata); /* called whenever tick_ms have passed without a message; NULL: not */
        uint64_t tick_ms;
        void *userdata;
        /*
         * When readable the request is dropped: ECANCELED, unless its answer was on its way already. So what an answer names
         * exists, and what ends with ECANCELED is undone by the server. 0 or FD_NONE: none.
         */
        int cancel_fd;
        uint64_t timeout_ms; /* 0: none */
};

/* Owned. Start with { 0 }; rpc_reply_done() also after a failure. */
struct rpc_reply {
        json_t *result; /* an object */
        int fds[FD_PASS_MAX];
        size_t n_fds;
        char op_id[RPC_OP_ID_MAX]; /* of a refused request too; "" when unknown */
        char code[32]; /* wire code of a refused request, as it came (S-046, S-088); "" otherwise */
};

/*
 * 0 or -code. A refusal by the server fills err with its message and the errno of its wire code, and reply->code.
 * ECONNREFUSED or ENOENT with an empty reply->code: nobody listens on socket_path.
 */
int rpc_call(const char *socket_path, const struct rpc_request *request, struct rpc_reply *ret_reply,
             struct err *err);
/* The same on a connected socket (borrowed). */
int rpc_call_on(int sock, const struct rpc_request *request, struct rpc_reply *ret_reply, struct err *err);
void rpc_reply_done(struct rpc_reply *reply);

/* A request under way, for those who wait for several at once. Start with { 0 }; rpc_pending_done() also after a failure. */
struct rpc_pending {
        int sock; /* borrowed; not blocking any more */
        const struct rpc_request *request;
        struct rpc_reader reader;
};

int rpc_pending_begin(int sock, const struct rpc_request *request, struct rpc_pending *ret_pending,
                      struct err *err);
/* Takes what has come, without waiting. 1: the answer is in *ret_reply; 0: more must come (poll for POLLIN); -code as above. */
int rpc_pending_read(struct rpc_pending *pending, struct rpc_reply *ret_reply, struct err *err);
/* Waits for the answer as rpc_call() does; request->timeout_ms counts from here. 0 or -code. */
int rpc_pending_wait(struct rpc_pending *pending, struct rpc_reply *ret_reply, struct err *err);
void rpc_pending_done(struct rpc_pending *pending);

static inline void rpc_reply_done_at_scope_end(struct rpc_reply *reply)
{
        rpc_reply_done(reply);
}

static inline void rpc_pending_done_at_scope_end(struct rpc_pending *pending)
{
        rpc_pending_done(pending);
}
