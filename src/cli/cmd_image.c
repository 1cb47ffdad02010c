#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api_image.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_confirm.h"
#include "cli/cli_signals.h"
#include "cli/cli_spool.h"
#include "cli/render_error.h"
#include "cli/render_table.h"

int cmd_image_pull(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(cli_spool_end) struct cli_spool spool = { 0 };
        int r;

        if (strcmp(json_text(args->params, "image"), "-") != 0)
                return call_and_name(cli, args, &api_image_pull, err);
        if (isatty(STDIN_FILENO) == 1)
                return err_set(err, EINVAL, "image.pull",
                               "'-' reads an archive from standard input, which is a terminal");
        if (*json_text(args->params, "name") == '\0')
                return err_set(err, EINVAL, "image.pull",
                               "an image from standard input needs a name: add --name");
        signals_hold();
        r = cli_spool_begin(cli, &spool, err);
        if (r == 0)
                r = cli_spool_fill(cli, &spool, STDIN_FILENO, err);
        if (r == 0)
                r = cli_spool_hand_over(cli, &spool, err);
        if (r == 0) {
                (void) json_object_set_new(args->params, "input", json_string(spool.path));
                (void) json_object_set_new(args->params, "source", json_string("standard input"));
                r = call_and_name(cli, args, &api_image_pull, err);
        }
        cli_spool_end(&spool);
        signals_release();
        return r;
}

int cmd_image_register(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return call_and_name(cli, args, &api_image_register, err);
}

int cmd_image_promote(struct cli *cli, const struct cli_args *args, struct err *err)
{
        return call_and_name(cli, args, &api_image_promote, err);
}

/* rows as image.rows gives them */
static void add_rows(struct table *table, const char *rows)
{
        scoped_free char *copy = xstrdup(rows);
        char *row = copy;

        while (*row) {
                char *cells = text_cut_cell(&row, API_IMAGE_ROW_END);

                for (unsigned i = 0; i < 3; i++)
                        table_add(table, text_cut_cell(&cells, API_IMAGE_CELL_END));
                for (unsigned i = 0; i < 2; i++)
                        table_add_size(table, text_cut_cell(&cells, API_IMAGE_CELL_END), 1);
                table_add(table, cells);
        }
}

static void add_pullable(struct table *table, const json_t *image)
{
        table_add(table, json_text(image, "name"));
        table_add(table, json_flag(image, "pulled") ? "pulled" : "available");
        table_add(table, json_text(image, "kernel"));
        table_add(table, NULL);
        table_add(table, NULL);
        table_add(table, NULL);
}

static void add_catalog(struct table *table, const json_t *images)
{
        const json_t *image = NULL;
        size_t i;

        json_array_foreach (images, i, image)
                add_pullable(table, image);
}

static int list_as_json(struct cli *cli, const struct rpc_method *method, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, method, NULL, &reply, err);

        if (r == 0)
                print_json(json_object_get(reply.result, "images"));
        return r;
}

/* What is here, and what 'image pull' could bring. */
int cmd_image_list(struct cli *cli, const struct cli_args *args, struct err *err)
{
        static const char *const heads[] = { "NAME", "STATE", "KERNEL", "SIZE", "ON DISK", "CREATED" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        bool only_catalog = json_flag(args->options, "available");
        int r;

        if (json_flag(args->options, "json"))
                return list_as_json(cli, only_catalog ? &api_image_catalog : &api_image_list, err);
        r = cli_call(cli, only_catalog ? &api_image_catalog : &api_image_rows, NULL, &reply, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        if (only_catalog)
                add_catalog(&table, json_object_get(reply.result, "images"));
        else
                add_rows(&table, json_text(reply.result, "rows"));
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
        int r = cli_call(cli, &api_image_delete, json_incref(args->params), &reply, err);

        if (r == 0 && json_flag(args->options, "json"))
                print_json(args->params);
        return r;
}

static void list_unused(const json_t *images, FILE *out)
{
        static const char *const heads[] = { "NAME", "SOURCE", "ON DISK", "CREATED" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        const json_t *image = NULL;
        size_t i;

        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (images, i, image) {
                char used[SIZE_TEXT_MAX];

                size_human(json_u64(image, "real_bytes", 0), used);
                table_add(&table, json_text(image, "name"));
                table_add(&table, json_text(image, "source"));
                table_add(&table, used);
                table_add(&table, json_text(image, "created_at"));
        }
        table_print(&table, out);
}

/* One that a vm was made from meanwhile, or that is gone, is told and passed over. Returns the exit status. */
static int delete_all(struct cli *cli, const json_t *images, json_t *deleted)
{
        const json_t *image = NULL;
        int status = 0;
        size_t i;

        json_array_foreach (images, i, image) {
                scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
                struct err err = { 0 };

                if (cli_call(cli, &api_image_delete, json_pack("{s:s}", "image", json_text(image, "name")),
                             &reply, &err) < 0) {
                        error_print(cli->code, cli->op_id, err.message);
                        status = 1;
                } else {
                        (void) json_array_append_new(deleted, json_string(json_text(image, "name")));
                }
        }
        return status;
}

/* 1: go on; 0: no. */
static int may_delete(const json_t *images, const struct cli_args *args, struct err *err)
{
        if (json_array_size(images) == 0 || json_flag(args->options, "force"))
                return 1;
        list_unused(images, stderr);
        return cli_confirm("Delete these images?", err);
}

int cmd_image_prune(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        json_auto_t *unused = json_array(), *deleted = json_array();
        json_t *image = NULL;
        size_t i;
        int status, r = cli_call(cli, &api_image_list, NULL, &reply, err);

        json_array_foreach (json_object_get(reply.result, "images"), i, image)
                if (json_array_size(json_object_get(image, "used_by")) == 0)
                        (void) json_array_append(unused, image);
        if (r == 0)
                r = may_delete(unused, args, err);
        if (r <= 0)
                return r;
        status = delete_all(cli, unused, deleted);
        if (json_flag(args->options, "json")) {
                print_json(deleted);
                return status;
        }
        json_array_foreach (deleted, i, image)
                (void) printf("%s\n", json_string_value(image));
        if (json_array_size(unused) == 0)
                (void) fputs("no image is without a vm; nothing to delete\n", stderr);
        return status;
}

int cmd_image_cache_prune(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        char size[SIZE_TEXT_MAX];
        int r = cli_call(cli, &api_image_cache_prune, json_incref(args->params), &reply, err);

        if (r < 0)
                return r;
        if (json_flag(args->options, "json")) {
                print_json(reply.result);
                return 0;
        }
        size_human(json_u64(reply.result, "bytes_freed", 0), size);
        (void) printf("%s %s across %" PRIu64 " blob(s) in %s\n",
                      json_flag(reply.result, "dry_run") ? "would free" : "freed", size,
                      json_u64(reply.result, "blobs_freed", 0), json_text(reply.result, "cache_dir"));
        return 0;
}
