#include "cli/cli_call.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli_daemon.h"
#include "cli/cli_signals.h"
#include "cli/render_progress.h"

int cli_need_layout(struct cli *cli, struct err *err)
{
        int r = cli->has_layout ? 0 : layout_find(false, &cli->layout, err);

        cli->has_layout = r == 0;
        return r;
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
                .method = method->name, .params = params, .event = show_event, .userdata = &progress
        };
        int r = cli_need_layout(cli, err);

        if (r < 0)
                return r;
        progress_init(&progress);
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
