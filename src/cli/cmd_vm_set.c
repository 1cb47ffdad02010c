/* vm set. */
#include <stdio.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"

/* Not on standard output: a program that reads the name is not surprised by it. */
static void tell_pending(const json_t *vm)
{
        const json_t *pending = json_object_get(vm, "pending"), *word;
        scoped_text struct text words = { 0 };
        size_t i;

        json_array_foreach (pending, i, word)
                text_appendf(&words, "%s%s", i > 0 ? ", " : "", json_string_value(word));
        if (words.n > 0)
                (void) fprintf(stderr, "from the next start on: %s; 'banger vm restart %s' does it now\n",
                               words.s, json_text(vm, "name"));
}

int cmd_vm_set(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(cli, &api_vm_set, json_incref(args->params), &reply, err);

        if (r < 0)
                return r;
        if (json_flag(args->options, "json"))
                print_json(reply.result);
        else
                (void) printf("%s\n", json_text(reply.result, "name"));
        tell_pending(reply.result);
        return 0;
}
