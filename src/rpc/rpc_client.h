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
        void *userdata;
        int cancel_fd;       /* when readable the request is dropped: ECANCELED. 0 or FD_NONE: none */
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

static inline void rpc_reply_done_at_scope_end(struct rpc_reply *reply)
{
        rpc_reply_done(reply);
}
