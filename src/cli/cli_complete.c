#include "cli/cli_complete.h"

#include <stdio.h>
#include <string.h>

#include "api/api_image.h"
#include "api/api_kernel.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_vms.h"

#define ASK_TIMEOUT_MS 1000

static void offer(const char *candidate, const char *typed)
{
        if (text_starts_with(candidate, typed))
                (void) printf("%s\n", candidate);
}

/* Never starts a daemon; false when it is down. */
static bool ask(struct cli *cli, const struct rpc_method *method, struct rpc_reply *ret_reply)
{
        struct rpc_request request = { .method = method->name,
                                       .cancel_fd = FD_NONE,
                                       .timeout_ms = ASK_TIMEOUT_MS };
        struct err ignored = { 0 };

        return cli_need_layout(cli, &ignored) == 0 &&
               rpc_call(cli->layout.daemon_socket, &request, ret_reply, &ignored) == 0;
}

/* Names of the objects that a method lists. */
static void offer_names(struct cli *cli, const struct rpc_method *method, const char *key, const char *typed)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        const json_t *object;
        size_t i;

        if (!ask(cli, method, &reply))
                return;
        json_array_foreach (json_object_get(reply.result, key), i, object)
                offer(json_text(object, "name"), typed);
}

static void offer_vms(struct cli *cli, const char *typed)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        scoped(vms_done) struct vms vms = { 0 };
        scoped(vms_one_done) struct vms_one vm = { 0 };
        struct err ignored = { 0 };
        size_t at = 0;

        if (!ask(cli, &api_vm_rows, &reply) || vms_map(&reply, 0, &vms, &ignored) < 0)
                return;
        while (vms_next(&vms, &at, &vm))
                offer(vm.cells[VM_ROW_NAME], typed);
}

/* S-075 - S-077: what is pulled comes from the catalog, everything else from what is here. */
static void offer_values(struct cli *cli, const struct cli_command *command, enum rpc_sense sense,
                         const char *typed)
{
        bool is_pull = strcmp(command_word(command), "pull") == 0;

        if (sense == RPC_VM_REF)
                offer_vms(cli, typed);
        else if (sense == RPC_IMAGE_NAME || sense == RPC_IMAGE_REF)
                offer_names(cli, is_pull ? &api_image_catalog : &api_image_list, "images", typed);
        else if (sense == RPC_KERNEL_NAME)
                offer_names(cli, is_pull ? &api_kernel_catalog : &api_kernel_list, "kernels", typed);
        else if (sense == RPC_HOST_PATH)
                (void) puts(COMPLETE_FILES);
}

static void offer_operand(struct cli *cli, const struct cli_command *command, size_t at, const char *typed)
{
        static const char *const shells[] = { "bash", "zsh", "fish" };
        const char *name;

        if (command->takes_many && at > 0) /* the last one repeats */
                at = command->operands[1] ? 1 : 0;
        name = at < COMMAND_OPERANDS_MAX ? command->operands[at] : NULL;
        if (!name)
                return;
        if (strcmp(name, "vm") == 0)
                offer_values(cli, command, RPC_VM_REF, typed);
        else if (strcmp(name, "path") == 0)
                offer_values(cli, command, RPC_HOST_PATH, typed);
        else if (strcmp(name, "image") == 0)
                offer_values(cli, command, RPC_IMAGE_NAME, typed);
        else if (strcmp(name, "kernel") == 0 && strcmp(command_word(command), "import") != 0)
                offer_values(cli, command, RPC_KERNEL_NAME, typed);
        for (size_t i = 0; strcmp(name, "shell") == 0 && i < sizeof(shells) / sizeof(shells[0]); i++)
                offer(shells[i], typed);
}

static void offer_options(const struct cli_command *command, const char *typed)
{
        const struct rpc_field *field;
        bool is_param;

        for (size_t i = 0; (field = command_option_at(command, i, &is_param)); i++) {
                scoped_free char *name = option_name(field);
                scoped_free char *shown = xasprintf("--%s", name);

                offer(shown, typed);
        }
}

static void complete_command(struct cli *cli, const struct cli_command *command, char *const *words)
{
        const struct rpc_field *pending = NULL; /* an option whose value comes next */
        size_t n_operands = 0;
        bool is_param;

        for (; words[0] && words[1]; words++) {
                if (strcmp(words[0], "--") == 0)
                        return; /* the guest's own words */
                if (pending)
                        pending = NULL;
                else if (text_starts_with(words[0], "--"))
                        pending = command_option(command, words[0] + 2, &is_param);
                else if (words[0][0] != '-')
                        n_operands++;
                if (pending && pending->kind == RPC_KIND_BOOL)
                        pending = NULL;
        }
        if (!words[0])
                return;
        if (pending)
                offer_values(cli, command, pending->sense, words[0]);
        else if (words[0][0] == '-')
                offer_options(command, words[0]);
        else
                offer_operand(cli, command, n_operands, words[0]);
}

void complete_words(struct cli *cli, char *const *words)
{
        const struct cli_command *group = NULL;

        for (; words[0] && words[1]; words++) {
                const struct cli_command *c = command_next(group, NULL);

                while (c && strcmp(command_word(c), words[0]) != 0)
                        c = command_next(group, c);
                if (!c)
                        return;
                if (!command_is_group(c)) {
                        complete_command(cli, c, words + 1);
                        return;
                }
                group = c;
        }
        for (const struct cli_command *c = command_next(group, NULL); c && words[0];
             c = command_next(group, c))
                offer(command_word(c), words[0]);
}
