#include "cli/cli_call.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "api/api_daemon.h"
#include "base/fd.h"
#include "cli/cli_daemon.h"
#include "cli/cli_signals.h"
#include "cli/render_progress.h"

int cli_need_layout(struct cli *cli, struct err *err)
{
        int r = cli->has_layout ? 0 : layout_find(false, &cli->layout, err);

        cli->has_layout = r == 0;
        return r;
}

int cli_need_helper(struct cli *cli, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_ping, NULL, &reply, err); /* first, since it makes the folders */

        return r < 0 ? r : daemon_need_helper(&cli->layout, err);
}

json_t *vm_params(const char *vm)
{
        return json_pack("{s:s}", "vm", vm);
}

static int show_event(void *userdata, const json_t *event)
{
        progress_event(userdata, event);
        return 0;
}

static void show_tick(void *userdata)
{
        progress_tick(userdata);
}

static void note_refusal(struct cli *cli, const struct rpc_reply *reply)
{
        (void) snprintf(cli->code, sizeof(cli->code), "%s", reply->code);
        (void) snprintf(cli->op_id, sizeof(cli->op_id), "%s", reply->op_id);
}

static bool is_nobody_there(int r, const struct rpc_reply *reply)
{
        return (r == -ENOENT || r == -ECONNREFUSED) && !*reply->code;
}

static int call_interruptible(struct cli *cli, const struct rpc_request *request, struct rpc_reply *ret_reply,
                              struct err *err)
{
        struct rpc_request cancellable = *request;
        int signals = signals_begin(false);
        int r;

        cancellable.cancel_fd = signals;
        r = rpc_call(cli->layout.daemon_socket, &cancellable, ret_reply, err);
        if (r == -ECANCELED)
                cli->signal = signals_take(signals);
        signals_end(signals);
        return r;
}

int cli_call(struct cli *cli, const struct rpc_method *method, json_t *owned_params,
             struct rpc_reply *ret_reply, struct err *err)
{
        json_auto_t *params = owned_params;
        struct progress progress;
        struct rpc_request request = {
                .method = method->name,
                .params = params,
                .event = show_event,
                .tick = show_tick,
                .tick_ms = PROGRESS_TICK_MS,
                .userdata = &progress,
        };
        int r = cli_need_layout(cli, err);

        if (r < 0)
                return r;
        progress_init(&progress, NULL);
        if (!progress.is_live)
                request.tick = NULL;
        r = call_interruptible(cli, &request, ret_reply, err);
        if (is_nobody_there(r, ret_reply)) {
                rpc_reply_done(ret_reply);
                *ret_reply = (struct rpc_reply){ 0 };
                *err = (struct err){ 0 };
                r = daemon_start(&cli->layout, err);
                if (r == 0)
                        r = call_interruptible(cli, &request, ret_reply, err);
        }
        progress_done(&progress);
        if (r < 0)
                note_refusal(cli, ret_reply);
        return r;
}

/* At most OPEN_MAX of many are under way at once: each is a connection and, over there, a process. */
#define OPEN_MAX 32

/* A request under way; its one tells how it ends. */
struct running {
        struct cli_one *one; /* borrowed; NULL: free */
        int sock;            /* owned */
        struct rpc_request request;
        struct rpc_pending pending;
        struct progress progress;
};

static void running_end(struct running *running)
{
        if (!running->one)
                return;
        progress_done(&running->progress);
        rpc_pending_done(&running->pending);
        (void) close(running->sock);
        running->one = NULL;
}

static void running_begin(struct running *running, const char *socket, const struct rpc_method *method,
                          struct cli_one *one)
{
        int r;

        *running = (struct running){ .one = one, .sock = fd_unix_connect(socket) };
        progress_init(&running->progress, one->label);
        running->request = (struct rpc_request){ .method = method->name,
                                                 .params = one->params,
                                                 .event = show_event,
                                                 .userdata = &running->progress };
        if (running->sock < 0) {
                (void) err_set(&one->err, -running->sock, method->name, "connect to '%s': %s", socket,
                               strerror(-running->sock));
                running->one = NULL;
                return;
        }
        r = rpc_pending_begin(running->sock, &running->request, &running->pending, &one->err);
        if (r < 0)
                running_end(running);
}

/* Waits for any of them. 0, or ECANCELED. */
static int wait_for_any(struct running *running, int signals, struct err *err)
{
        struct pollfd polled[OPEN_MAX + 1];

        for (size_t i = 0; i < OPEN_MAX; i++)
                polled[i] =
                        (struct pollfd){ .fd = running[i].one ? running[i].sock : FD_NONE, .events = POLLIN };
        polled[OPEN_MAX] = (struct pollfd){ .fd = signals, .events = POLLIN };
        while (poll(polled, OPEN_MAX + 1, -1) < 0)
                if (errno != EINTR)
                        return err_errno(err, "cli.call", "poll");
        if (polled[OPEN_MAX].revents)
                return err_set(err, ECANCELED, "cli.call", "cancelled");
        for (size_t i = 0; i < OPEN_MAX; i++)
                if (polled[i].revents &&
                    rpc_pending_read(&running[i].pending, &running[i].one->reply, &running[i].one->err) != 0)
                        running_end(&running[i]);
        return 0;
}

static size_t count_running(const struct running *running)
{
        size_t n = 0;

        for (size_t i = 0; i < OPEN_MAX; i++)
                n += running[i].one != NULL;
        return n;
}

int cli_call_many(struct cli *cli, const struct rpc_method *method, struct cli_one *ones, size_t n_ones,
                  struct err *err)
{
        scoped_free struct running *running = xcalloc(OPEN_MAX, sizeof(*running));
        int signals = signals_begin(false), r = 0;
        size_t next = 0;

        do {
                for (size_t i = 0; i < OPEN_MAX && next < n_ones; i++)
                        if (!running[i].one)
                                running_begin(&running[i], cli->layout.daemon_socket, method, &ones[next++]);
                if (count_running(running) > 0)
                        r = wait_for_any(running, signals, err);
        } while (r == 0 && (next < n_ones || count_running(running) > 0));
        if (r == -ECANCELED)
                cli->signal = signals_take(signals);
        for (size_t i = 0; i < OPEN_MAX; i++)
                running_end(&running[i]);
        signals_end(signals);
        return r;
}

int cli_call_at_end(struct cli *cli, const struct rpc_method *method, json_t *owned_params,
                    uint64_t timeout_ms, struct err *err)
{
        json_auto_t *params = owned_params;
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        struct rpc_request request = {
                .method = method->name, .params = params, .cancel_fd = FD_NONE, .timeout_ms = timeout_ms
        };
        int signals = signals_begin(false);
        int r = rpc_call(cli->layout.daemon_socket, &request, &reply, err);

        if (r < 0)
                note_refusal(cli, &reply);
        signals_end(signals);
        return r;
}
