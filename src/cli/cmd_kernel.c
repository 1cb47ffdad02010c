#include <stdio.h>

#include "api/api_kernel.h"
#include "base/json.h"
#include "base/size.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/render_table.h"

int cmd_kernel_pull(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return call_and_name(cli, args, &api_kernel_pull, err);
}

int cmd_kernel_import(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return call_and_name(cli, args, &api_kernel_import, err);
}

static void add_local(struct table *table, const json_t *kernel)
{
        char size[SIZE_TEXT_MAX];

        size_human(json_u64(kernel, "bytes", 0), size);
        table_add(table, json_text(kernel, "name"));
        table_add(table, json_text(kernel, "version"));
        table_add(table, json_text(kernel, "distro"));
        table_add(table, size);
        table_add(table, json_text(kernel, "imported_at"));
}

static int list_local(struct cli *cli, const struct cli_args *args, struct err *err)
{
        static const char *const heads[] = { "NAME", "VERSION", "DISTRO", "SIZE", "IMPORTED" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_kernel_list, NULL, &reply, err);
        const json_t *kernel = NULL;
        size_t i;

        if (r < 0)
                return r;
        if (json_flag(args->options, "json")) {
                print_json(json_object_get(reply.result, "kernels"));
                return 0;
        }
        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (json_object_get(reply.result, "kernels"), i, kernel)
                add_local(&table, kernel);
        table_print(&table, stdout);
        return 0;
}

static int list_available(struct cli *cli, const struct cli_args *args, struct err *err)
{
        static const char *const heads[] = { "NAME", "STATE", "SIZE", "DESCRIPTION" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_kernel_catalog, NULL, &reply, err);
        char size[SIZE_TEXT_MAX];
        const json_t *kernel = NULL;
        size_t i;

        if (r < 0)
                return r;
        if (json_flag(args->options, "json")) {
                print_json(json_object_get(reply.result, "kernels"));
                return 0;
        }
        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (json_object_get(reply.result, "kernels"), i, kernel) {
                table_add(&table, json_text(kernel, "name"));
                table_add(&table, json_flag(kernel, "pulled") ? "pulled" : "available");
                size_human(json_u64(kernel, "bundle_bytes", 0), size);
                table_add(&table,
                          json_u64(kernel, "bundle_bytes", 0) > 0 ? size : NULL); /* apt knows its own */
                table_add(&table, json_text(kernel, "doc"));
        }
        table_print(&table, stdout);
        return 0;
}

int cmd_kernel_list(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return json_flag(args->options, "available") ? list_available(cli, args, err)
                                                     : list_local(cli, args, err);
}

int cmd_kernel_show(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return call_and_print(cli, args, &api_kernel_show, err);
}

int cmd_kernel_delete(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_kernel_delete, json_incref(args->params), &reply, err);

        if (r == 0 && json_flag(args->options, "json"))
                print_json(args->params);
        return r;
}
