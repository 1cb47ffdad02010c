/*
 * The far side of a request: who asks, is it well formed, which handler. One wrapper decodes every method (S-089); the
 * op id is on every answer (S-090, S-092).
 */
#pragma once

#include <sys/socket.h>

#include "rpc/rpc_message.h"
#include "rpc/rpc_table.h"

/* One request in progress. */
struct rpc_call {
        struct ucred peer;
        char op_id[RPC_OP_ID_MAX];
        const struct rpc_method *method; /* NULL while unknown */
        json_t *message;                 /* owned; the strings of the params live here */
        int fds[FD_PASS_MAX];            /* that came with it, owned by the call; FD_NONE once taken */
        size_t n_fds;
        int reply_fds[FD_PASS_MAX]; /* to go with a good answer, owned by the call */
        size_t n_reply_fds;
        void *context; /* borrowed, the server's own */
};

void rpc_call_done(struct rpc_call *call);

#define RPC_LATER 1 /* from a handler: the answer comes later, the handler keeps what it needs */

struct rpc_binding {
        const struct rpc_method *method;
        /* 0 with *ret_result (owned by the caller; may stay NULL: empty), RPC_LATER, or -code with err filled. */
        int (*run)(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
};

/*
 * Checks the envelope, finds the method, decodes, runs. call->message and ->peer must be filled; the op id is made
 * here, or adopted from the message when adopt_op_id (S-094). bindings end with a NULL method.
 */
int rpc_dispatch(struct rpc_call *call, const struct rpc_binding *bindings, bool adopt_op_id,
                 json_t **ret_result, struct err *err);

/* {"ok":true,...} or the error. Takes result. */
json_t *rpc_answer(const struct rpc_call *call, int r, json_t *owned_result, const struct err *err);

/*
 * One request on a connection, blocking, from start to end: for programs of one process a connection. Peers other than
 * root and owner_uid are refused (S-027). *ret_call is filled for the log; release it. Returns the handler's result.
 */
int rpc_serve_one(int sock, uid_t owner_uid, const struct rpc_binding *bindings, uint64_t timeout_ms,
                  struct rpc_call *ret_call, struct err *err);

/* 0, or -EPERM for a stranger or a descriptor that is no UNIX socket. */
int rpc_check_peer(int sock, uid_t owner_uid, struct ucred *ret_peer, struct err *err);
