#include <stdio.h>

#include "api/api_image.h"
#include "base/json.h"
#include "base/size.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/render_table.h"

int cmd_image_pull(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_image_pull, json_incref(args->params), &reply, err);

        if (r == 0)
                (void) printf("%s\n", json_text(reply.result, "name"));
        return r;
}

static void add_local(struct table *table, const json_t *image)
{
        char size[SIZE_TEXT_MAX], used[SIZE_TEXT_MAX];

        size_human(json_u64(image, "size_bytes", 0), size);
        size_human(json_u64(image, "real_bytes", 0), used);
        table_add(table, json_text(image, "name"));
        table_add(table, "local");
        table_add(table, json_text(image, "kernel"));
        table_add(table, size);
        table_add(table, used);
        table_add(table, json_text(image, "created_at"));
}

static void add_pullable(struct table *table, const json_t *image)
{
        if (json_flag(image, "pulled"))
                return;
        table_add(table, json_text(image, "name"));
        table_add(table, "available");
        table_add(table, json_text(image, "kernel"));
        table_add(table, NULL);
        table_add(table, NULL);
        table_add(table, NULL);
}

/* What is here, and what 'image pull' could bring. */
int cmd_image_list(struct cli *cli, const struct cli_args *args, struct err *err)
{
        static const char *const heads[] = { "NAME", "STATE", "KERNEL", "SIZE", "ON DISK", "CREATED" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        scoped(rpc_reply_done) struct rpc_reply local = { 0 }, catalog = { 0 };
        bool only_catalog = json_flag(args->options, "available");
        const json_t *image = NULL;
        size_t i;
        int r = cli_call(cli, &api_image_list, NULL, &local, err);

        if (r < 0)
                return r;
        r = cli_call(cli, &api_image_catalog, NULL, &catalog, err);
        if (r < 0)
                return r;
        if (json_flag(args->options, "json")) {
                print_json(json_object_get(only_catalog ? catalog.result : local.result, "images"));
                return 0;
        }
        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (json_object_get(local.result, "images"), i, image)
                add_local(&table, image);
        json_array_foreach (json_object_get(catalog.result, "images"), i, image)
                add_pullable(&table, image);
        table_print(&table, stdout);
        return 0;
}

int cmd_image_show(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return call_and_print(cli, args, &api_image_show, err);
}

int cmd_image_delete(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };

        return cli_call(cli, &api_image_delete, json_incref(args->params), &reply, err);
}
