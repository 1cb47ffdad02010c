#include <stdio.h>

#include "api/api_daemon.h"
#include "base/json.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_daemon.h"

#define PING_TIMEOUT_MS     2000
#define SHUTDOWN_TIMEOUT_MS 15000

int cmd_daemon_socket(struct cli *cli, const struct cli_args *args, struct err *err)
{
        int r = cli_need_layout(cli, err);

        (void) args;
        if (r == 0)
                (void) printf("%s\n", cli->layout.daemon_socket);
        return r;
}

/* Without starting one, unlike every other command. */
static int ping(struct cli *cli, struct rpc_reply *ret_reply, struct err *err)
{
        struct rpc_request request = { .method = api_ping.name,
                                       .cancel_fd = FD_NONE,
                                       .timeout_ms = PING_TIMEOUT_MS };
        int r = cli_need_layout(cli, err);

        if (r < 0)
                return r;
        r = rpc_call(cli->layout.daemon_socket, &request, ret_reply, err);
        if ((r == -ENOENT || r == -ECONNREFUSED) && !*ret_reply->code) {
                *err = (struct err){ 0 };
                return err_set(err, ENOENT, "cli.daemon",
                               "bangerd does not run; 'banger daemon start' starts it");
        }
        return r;
}

int cmd_daemon_status(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = ping(cli, &reply, err);

        if (r < 0)
                return r;
        if (json_flag(args->options, "json"))
                print_json(reply.result);
        else
                (void) printf("bangerd %s answers on %s (pid %u)\n", json_text(reply.result, "version"),
                              cli->layout.daemon_socket, (unsigned) json_u64(reply.result, "pid", 0));
        return 0;
}

int cmd_daemon_start(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };

        (void) args;
        return cli_call(cli, &api_ping, NULL, &reply, err);
}

int cmd_daemon_stop(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = ping(cli, &reply, err);

        (void) args;
        if (r == -ENOENT && !*reply.code) { /* what was wanted is so already */
                *err = (struct err){ 0 };
                (void) fprintf(stderr, "bangerd does not run\n");
                return 0;
        }
        return r < 0 ? r : cli_call_at_end(cli, &api_shutdown, NULL, SHUTDOWN_TIMEOUT_MS, err);
}
