#include "daemon/daemon_helper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/scoped.h"

/* Longer than the helper allows itself, so that its own word comes first. */
#define ANSWER_TIMEOUT_USEC (40 * UINT64_C(1000000))

struct daemon_helper_call {
        struct daemon_helper_call *next;
        struct daemon *daemon;
        int sock;                    /* owned */
        sd_event_source *io, *timer; /* owned */
        struct priv_request asked;   /* owned params */
        char op_id[RPC_OP_ID_MAX];
        struct rpc_request request;
        struct rpc_pending pending;
        daemon_helper_then *then;
        void *userdata;
};

static void call_free(struct daemon_helper_call *call)
{
        struct daemon_helper_call **link = &call->daemon->helper_calls;

        while (*link && *link != call)
                link = &(*link)->next;
        if (*link)
                *link = call->next;
        sd_event_source_disable_unref(call->io);
        sd_event_source_disable_unref(call->timer);
        rpc_pending_done(&call->pending);
        close_at_scope_end(&call->sock);
        json_decref(call->asked.params);
        free(call);
}

static void end(struct daemon_helper_call *call, struct rpc_reply *reply, const struct err *err)
{
        daemon_helper_then *then = call->then;
        void *userdata = call->userdata;

        call_free(call);
        then(userdata, reply, err);
}

static int on_answer(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon_helper_call *call = userdata;
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        struct err err = { 0 };
        int r = rpc_pending_read(&call->pending, &reply, &err);

        (void) source;
        (void) fd;
        (void) events;
        if (r == 0)
                return 0;
        if (r > 0 && reply.n_fds != call->asked.n_fds)
                r = err_set(&err, EBADMSG, call->asked.method,
                            "root helper: answered with %zu descriptors instead of %u", reply.n_fds,
                            call->asked.n_fds);
        end(call, r > 0 ? &reply : NULL, &err);
        return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon_helper_call *call = userdata;
        struct err err = { 0 };

        (void) source;
        (void) usec;
        (void) err_set(&err, ETIMEDOUT, call->asked.method, "root helper: no answer within 40 s");
        end(call, NULL, &err);
        return 0;
}

static int send_and_watch(struct daemon_helper_call *call, struct err *err)
{
        sd_event *event = call->daemon->event;
        int r;

        rpc_op_id_new(call->op_id);
        call->request = (struct rpc_request){ .method = call->asked.method,
                                              .params = call->asked.params,
                                              .op_id = call->op_id };
        /* a fresh socket's buffer takes a message of this size at once */
        r = rpc_pending_begin(call->sock, &call->request, &call->pending, err);
        if (r < 0)
                return r;
        r = sd_event_add_io(event, &call->io, call->sock, EPOLLIN, on_answer, call);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &call->timer, CLOCK_MONOTONIC, ANSWER_TIMEOUT_USEC, 0,
                                               on_timeout, call);
        return r < 0 ? err_set(err, -r, call->asked.method, "watch the root helper: %s", strerror(-r)) : 0;
}

int daemon_helper_ask(struct daemon *daemon, struct priv_request *owned_request, daemon_helper_then *then,
                      void *userdata, struct err *err)
{
        struct daemon_helper_call *call = xcalloc(1, sizeof(*call));
        int r;

        *call = (struct daemon_helper_call){ .daemon = daemon,
                                             .sock = fd_unix_connect_now(daemon->layout.helper_socket),
                                             .asked = *owned_request,
                                             .then = then,
                                             .userdata = userdata };
        *owned_request = (struct priv_request){ 0 };
        if (call->sock < 0)
                r = err_set(err, -call->sock, call->asked.method, "connect to the root helper at '%s': %s",
                            daemon->layout.helper_socket, strerror(-call->sock));
        else
                r = send_and_watch(call, err);
        if (r < 0) {
                call_free(call);
                return r;
        }
        call->next = daemon->helper_calls;
        daemon->helper_calls = call;
        return 0;
}

void daemon_helper_done(struct daemon *daemon)
{
        while (daemon->helper_calls)
                call_free(daemon->helper_calls);
}
