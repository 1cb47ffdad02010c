#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"

void print_json(const json_t *json)
{
        (void) json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
        (void) putchar('\n');
}

/* A line's end in JSON is between its words, never in one. */
void add_json_member(struct text *array, const char *object)
{
        text_append(array, array->n == 0 ? "[\n" : ",\n");
        for (const char *line = object, *end; *line != '\0'; line = end) {
                end = strchrnul(line, '\n');
                end += *end == '\n';
                text_append_bytes(array, "  ", 2);
                text_append_bytes(array, line, (size_t) (end - line));
        }
}

void print_json_members(const struct text *array)
{
        (void) fwrite(array->s, 1, array->n, stdout);
        (void) puts(array->n == 0 ? "[]" : "\n]");
}

int call_and_print(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                   struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, method, json_incref(args->params), &reply, err);

        if (r == 0)
                print_json(reply.result);
        return r;
}

int call_and_name(struct cli *cli, const struct cli_args *args, const struct rpc_method *method,
                  struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, method, json_incref(args->params), &reply, err);

        if (r < 0)
                return r;
        if (json_flag(args->options, "json"))
                print_json(reply.result);
        else
                (void) printf("%s\n", json_text(reply.result, "name"));
        return 0;
}
