#include "rpc/rpc_server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

static void close_fds(int *fds, size_t *n)
{
        for (size_t i = 0; i < *n; i++)
                if (fds[i] >= 0)
                        (void) close(fds[i]);
        *n = 0;
}

void rpc_call_done(struct rpc_call *call)
{
        close_fds(call->fds, &call->n_fds);
        close_fds(call->reply_fds, &call->n_reply_fds);
        json_decref(call->message);
        call->message = NULL;
}

static const struct rpc_binding *find_binding(const struct rpc_binding *bindings, const char *method)
{
        for (const struct rpc_binding *b = bindings; b->method; b++)
                if (strcmp(b->method->name, method) == 0)
                        return b;
        return NULL;
}

static int check_envelope(const struct rpc_call *call, struct err *err)
{
        if (!json_is_object(call->message))
                return err_set(err, EINVAL, "rpc.dispatch", "the request is not an object");
        if (json_u64(call->message, "version", 0) != RPC_VERSION)
                return err_set(err, EPROTO, "rpc.dispatch",
                               "this program speaks protocol version %d; update banger so that all its "
                               "programs match",
                               RPC_VERSION);
        return 0;
}

int rpc_dispatch(struct rpc_call *call, const struct rpc_binding *bindings, bool adopt_op_id,
                 json_t **ret_result, struct err *err)
{
        _Alignas(max_align_t) char params[RPC_PARAMS_MAX] = { 0 };
        const char *asked_id = json_text(call->message, "op_id");
        const struct rpc_binding *binding;
        int r;

        if (adopt_op_id && rpc_op_id_is_valid(asked_id))
                (void) snprintf(call->op_id, sizeof(call->op_id), "%s", asked_id);
        else
                rpc_op_id_new(call->op_id);
        r = check_envelope(call, err);
        if (r < 0)
                return r;
        binding = find_binding(bindings, json_text(call->message, "method"));
        if (!binding)
                return err_set(err, ENOSYS, "rpc.dispatch", "no method '%.64s'",
                               json_text(call->message, "method"));
        call->method = binding->method;
        r = rpc_decode(call->method, json_object_get(call->message, "params"), params, err);
        if (r < 0)
                return r;
        return binding->run(call, params, ret_result, err);
}

json_t *rpc_answer(const struct rpc_call *call, int r, json_t *owned_result, const struct err *err)
{
        if (r < 0) {
                json_decref(owned_result);
                return rpc_error_message(err, call->op_id);
        }
        return json_pack("{s:b, s:o, s:s}", "ok", 1, "result", owned_result ? owned_result : json_object(),
                         "op_id", call->op_id);
}

int rpc_check_peer(int sock, uid_t owner_uid, struct ucred *ret_peer, struct err *err)
{
        int r = fd_peer(sock, ret_peer);

        if (r < 0)
                return err_set(err, EPERM, "rpc.peer", "the caller cannot be identified: %s", strerror(-r));
        if (ret_peer->uid != 0 && ret_peer->uid != owner_uid)
                return err_set(err, EPERM, "rpc.peer", "uid %u is neither root nor the owner (uid %u)",
                               (unsigned) ret_peer->uid, (unsigned) owner_uid);
        return 0;
}

static int receive_and_run(int sock, const struct rpc_binding *bindings, uint64_t timeout_ms,
                           struct rpc_call *call, json_t **ret_result, struct err *err)
{
        int r = rpc_receive(sock, clock_monotonic_ms() + timeout_ms, &call->message, call->fds, &call->n_fds,
                            err);

        if (r < 0) {
                rpc_op_id_new(call->op_id);
                return r;
        }
        return rpc_dispatch(call, bindings, true, ret_result, err);
}

int rpc_serve_one(int sock, uid_t owner_uid, const struct rpc_binding *bindings, uint64_t timeout_ms,
                  struct rpc_call *ret_call, struct err *err)
{
        json_auto_t *answer = NULL;
        json_t *result = NULL;
        struct err send_err = { 0 };
        int r = rpc_check_peer(sock, owner_uid, &ret_call->peer, err);

        if (r < 0)
                rpc_op_id_new(ret_call->op_id);
        else
                r = receive_and_run(sock, bindings, timeout_ms, ret_call, &result, err);
        answer = rpc_answer(ret_call, r, result, err);
        if (r < 0)
                close_fds(ret_call->reply_fds, &ret_call->n_reply_fds);
        /* A peer that is gone needs no answer; what was done stays done and the caller's log line tells of it. */
        (void) rpc_send(sock, answer, ret_call->reply_fds, ret_call->n_reply_fds, &send_err);
        return r;
}
