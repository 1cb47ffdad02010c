#include <stdio.h>

#include "api/api_daemon.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/render_table.h"

static void add_bytes(struct table *table, const json_t *object, const char *key)
{
        char size[SIZE_TEXT_MAX];

        size_human(json_u64(object, key, 0), size);
        table_add(table, size);
}

static void add_sizes(struct table *table, const json_t *object)
{
        add_bytes(table, object, "apparent_bytes");
        add_bytes(table, object, "real_bytes");
        add_bytes(table, object, "shareable_bytes");
}

static void print_categories(const json_t *categories)
{
        static const char *const heads[] = { "TYPE",    "COUNT",     "IN USE",     "SIZE",
                                             "ON DISK", "SHAREABLE", "RECLAIMABLE" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        const json_t *category = NULL;
        size_t i;

        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (categories, i, category) {
                scoped_free char *n = xasprintf("%zu", json_array_size(json_object_get(category, "items")));
                scoped_free char *n_used = xasprintf("%u", (unsigned) json_u64(category, "n_used", 0));

                table_add(&table, json_text(category, "type"));
                table_add(&table, n);
                table_add(&table, n_used);
                add_sizes(&table, category);
                add_bytes(&table, category, "reclaimable_bytes");
        }
        table_print(&table, stdout);
}

static void print_items(const json_t *categories)
{
        static const char *const heads[] = { "TYPE", "NAME", "SIZE", "ON DISK", "SHAREABLE", "USED BY" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        const json_t *category = NULL, *item = NULL, *user = NULL;
        size_t i, j, k;

        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (categories, i, category)
                json_array_foreach (json_object_get(category, "items"), j, item) {
                        scoped_text struct text users = { 0 };

                        json_array_foreach (json_object_get(item, "used_by"), k, user)
                                text_appendf(&users, "%s%s", k > 0 ? ", " : "", json_string_value(user));
                        table_add(&table, json_text(category, "type"));
                        table_add(&table, json_text(item, "name"));
                        add_sizes(&table, item);
                        table_add(&table, users.s);
                }
        table_print(&table, stdout);
}

int cmd_df(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_daemon_df, NULL, &reply, err);

        if (r < 0)
                return r;
        if (json_flag(args->options, "json"))
                print_json(json_object_get(reply.result, "categories"));
        else if (json_flag(args->options, "verbose"))
                print_items(json_object_get(reply.result, "categories"));
        else
                print_categories(json_object_get(reply.result, "categories"));
        return 0;
}
