#include "rpc/rpc_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

#define DROP_TIMEOUT_MS 2000 /* a server that does not see us go in this time is beyond telling */

void rpc_reply_done(struct rpc_reply *reply)
{
        json_decref(reply->result);
        for (size_t i = 0; i < reply->n_fds; i++)
                (void) close(reply->fds[i]);
        *reply = (struct rpc_reply){ 0 };
}

static json_t *request_message(const struct rpc_request *request)
{
        json_t *message = json_pack("{s:i, s:s}", "version", RPC_VERSION, "method", request->method);

        if (request->params)
                (void) json_object_set(message, "params", request->params);
        if (request->op_id && request->op_id[0] != '\0')
                (void) json_object_set_new(message, "op_id", json_string(request->op_id));
        return message;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

/* Waits until sock is readable, giving way to cancel_fd. */
static int wait_for_answer(int sock, const struct rpc_request *request, uint64_t deadline_ms, struct err *err)
{
        struct pollfd polled[2] = {
                {.fd = sock,                                                   .events = POLLIN},
                { .fd = request->cancel_fd > 0 ? request->cancel_fd : FD_NONE, .events = POLLIN}
        };

        for (;;) {
                uint64_t tick_ms = request->tick ? clock_monotonic_ms() + request->tick_ms : UINT64_MAX;
                uint64_t until_ms = min_u64(deadline_ms, tick_ms);
                int n = poll(polled, 2, until_ms == UINT64_MAX ? -1 : clock_left_ms(until_ms));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_errno(err, request->method, "poll");
                if (n == 0 && clock_left_ms(deadline_ms) == 0)
                        return err_set(err, ETIMEDOUT, request->method, "no answer in %llu ms",
                                       (unsigned long long) request->timeout_ms);
                if (n == 0) {
                        request->tick(request->userdata);
                        continue;
                }
                if (polled[1].revents)
                        return err_set(err, ECANCELED, request->method, "cancelled");
                return 0;
        }
}

static int take_refusal(const struct rpc_request *request, json_t *message, struct rpc_reply *reply,
                        struct err *err)
{
        const json_t *error = json_object_get(message, "error");

        (void) snprintf(reply->code, sizeof(reply->code), "%s", json_text(error, "code"));
        (void) snprintf(reply->op_id, sizeof(reply->op_id), "%s", json_text(error, "op_id"));
        return err_set(err, err_code_from_name(reply->code), request->method, "%s",
                       json_text(error, "message"));
}

/* 1: the answer came; 0: an event. */
static int take_message(const struct rpc_request *request, json_t *message, struct rpc_reply *reply,
                        struct err *err)
{
        const json_t *event = json_object_get(message, "event");
        json_t *result;

        if (event) {
                if (request->event && request->event(request->userdata, event) < 0)
                        return err_set(err, ECANCELED, request->method, "cancelled");
                return 0;
        }
        if (!json_flag(message, "ok"))
                return take_refusal(request, message, reply, err);
        result = json_object_get(message, "result");
        reply->result = json_is_object(result) ? json_incref(result) : json_object();
        (void) snprintf(reply->op_id, sizeof(reply->op_id), "%s", json_text(message, "op_id"));
        return 1;
}

int rpc_pending_begin(int sock, const struct rpc_request *request, struct rpc_pending *ret_pending,
                      struct err *err)
{
        json_auto_t *asked = request_message(request);
        int r = rpc_send(sock, asked, request->fds, request->n_fds, err);

        if (r < 0)
                return r;
        r = fd_set_nonblocking(sock, true);
        if (r < 0)
                return err_set(err, -r, request->method, "socket: %s", strerror(-r));
        *ret_pending =
                (struct rpc_pending){ .sock = sock, .request = request, .reader = { .max = RPC_ANSWER_MAX } };
        return 0;
}

int rpc_pending_read(struct rpc_pending *pending, struct rpc_reply *ret_reply, struct err *err)
{
        int r;

        do {
                json_auto_t *message = NULL;

                r = rpc_reader_read(&pending->reader, pending->sock, &message, err);
                if (r == -ENODATA)
                        return err_set(err, ECONNRESET, pending->request->method,
                                       "the connection ended before an answer came");
                if (r <= 0)
                        return r;
                r = take_message(pending->request, message, ret_reply, err);
        } while (r == 0);
        if (r == 1)
                ret_reply->n_fds = rpc_reader_take_fds(&pending->reader, ret_reply->fds);
        return r;
}

void rpc_pending_done(struct rpc_pending *pending)
{
        rpc_reader_done(&pending->reader);
}

/*
 * The server takes the end of our half as the client's going. It closes then, but an answer that it has sent before comes
 * first: 1.
 */
static int drop(struct rpc_pending *pending, struct rpc_reply *ret_reply, struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + DROP_TIMEOUT_MS;
        struct err ignored = { 0 };
        int r;

        (void) shutdown(pending->sock, SHUT_WR);
        do {
                r = fd_wait(pending->sock, POLLIN, clock_left_ms(deadline_ms));
                if (r == 0)
                        r = rpc_pending_read(pending, ret_reply, &ignored);
        } while (r == 0);
        if (r == 1) {
                *err = (struct err){ 0 };
                return 1;
        }
        return -ECANCELED;
}

int rpc_pending_wait(struct rpc_pending *pending, struct rpc_reply *ret_reply, struct err *err)
{
        const struct rpc_request *request = pending->request;
        uint64_t deadline = request->timeout_ms ? clock_monotonic_ms() + request->timeout_ms : UINT64_MAX;
        int r;

        do {
                r = wait_for_answer(pending->sock, request, deadline, err);
                r = r == -ECANCELED ? drop(pending, ret_reply, err)
                    : r < 0         ? r
                                    : rpc_pending_read(pending, ret_reply, err);
        } while (r == 0);
        return r < 0 ? r : 0;
}

int rpc_call_on(int sock, const struct rpc_request *request, struct rpc_reply *ret_reply, struct err *err)
{
        scoped(rpc_pending_done) struct rpc_pending pending = { 0 };
        int r = rpc_pending_begin(sock, request, &pending, err);

        return r < 0 ? r : rpc_pending_wait(&pending, ret_reply, err);
}

int rpc_call(const char *socket_path, const struct rpc_request *request, struct rpc_reply *ret_reply,
             struct err *err)
{
        scoped_close int sock = fd_unix_connect(socket_path);

        if (sock < 0)
                return err_set(err, -sock, request->method, "connect to '%s': %s", socket_path,
                               strerror(-sock));
        return rpc_call_on(sock, request, ret_reply, err);
}
