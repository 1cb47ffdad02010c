/* operations: what bangerd is doing, and for whom. */
#include <stdio.h>

#include "api/api_daemon.h"
#include "api/api_vm.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/render_progress.h"
#include "cli/render_table.h"

static const char *state_of(const json_t *operation)
{
        if (!json_flag(operation, "done"))
                return "in progress";
        return json_flag(operation, "success") ? "done" : "failed";
}

static void add(struct table *table, const json_t *operation)
{
        uint64_t pid = json_u64(operation, "client_pid", 0);
        scoped_free char *client = pid ? xasprintf("pid %u (uid %u)", (unsigned) pid,
                                                   (unsigned) json_u64(operation, "client_uid", 0))
                                       : NULL;
        char elapsed[ELAPSED_MAX];

        elapsed_format(json_u64(operation, "elapsed_ms", 0), elapsed);
        table_add(table, json_text(operation, "id"));
        table_add(table, json_text(operation, "kind"));
        table_add(table, json_text(operation, "vm_name"));
        table_add(table, state_of(operation));
        table_add(table, json_text(operation, "stage"));
        table_add(table, elapsed);
        table_add(table, client);
}

static int cancel(struct cli *cli, const char *id, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_vm_create_cancel, json_pack("{s:s}", "id", id), &reply, err);

        if (r == 0)
                (void) printf("%s\n", id);
        return r;
}

static int list(struct cli *cli, const struct cli_args *args, struct err *err)
{
        static const char *const heads[] = {
                "OPERATION", "KIND", "VM", "STATE", "STAGE", "ELAPSED", "CLIENT"
        };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        json_auto_t *shown = json_array();
        const json_t *operation;
        size_t i;
        int r = cli_call(cli, &api_daemon_operations_list, NULL, &reply, err);

        if (r < 0)
                return r;
        json_array_foreach (json_object_get(reply.result, "operations"), i, operation)
                if (json_flag(args->options, "all") || !json_flag(operation, "done"))
                        (void) json_array_append(shown, (json_t *) (uintptr_t) operation);
        if (json_flag(args->options, "json")) {
                print_json(shown);
                return 0;
        }
        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (shown, i, operation)
                add(&table, operation);
        table_print(&table, stdout);
        return 0;
}

int cmd_operations(struct cli *cli, const struct cli_args *args, struct err *err)
{
        const char *id = json_text(args->options, "cancel");

        return *id ? cancel(cli, id, err) : list(cli, args, err);
}
