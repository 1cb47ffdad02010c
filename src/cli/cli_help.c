#include "cli/cli_help.h"

#include <assert.h>
#include <string.h>

#define NAME_WIDTH 26

static const char *const sense_words[] = {
        [RPC_PLAIN] = "VALUE",      [RPC_VM_NAME] = "NAME",       [RPC_VM_REF] = "VM",
        [RPC_IMAGE_NAME] = "IMAGE", [RPC_IMAGE_REF] = "IMAGE",    [RPC_KERNEL_NAME] = "KERNEL",
        [RPC_BYTES] = "SIZE",       [RPC_MIB] = "SIZE",           [RPC_HOST_PATH] = "PATH",
        [RPC_GUEST_PATH] = "PATH",  [RPC_SIGNAL_NAME] = "SIGNAL",
};
static_assert(sizeof(sense_words) / sizeof(sense_words[0]) == RPC_N_SENSES, "a word for every sense");

static const char *value_word(const struct rpc_field *field)
{
        if (field->kind == RPC_KIND_BOOL)
                return NULL;
        if (field->kind != RPC_KIND_STRING && field->sense == RPC_PLAIN)
                return "N";
        return sense_words[field->sense];
}

static void write_row(struct text *out, const char *left, const char *right)
{
        if (strlen(left) < NAME_WIDTH)
                text_appendf(out, "  %-*s%s\n", NAME_WIDTH, left, right);
        else
                text_appendf(out, "  %s\n  %*s%s\n", left, NAME_WIDTH, "", right);
}

static void write_option(struct text *out, const struct rpc_field *field)
{
        scoped_free char *name = option_name(field);
        const char *value = value_word(field);
        char letter[] = "-x, ";
        scoped_free char *left = NULL;

        letter[1] = field->short_option;
        left = xasprintf("%s--%s%s%s", field->short_option ? letter : "    ", name, value ? " " : "",
                         value ? value : "");
        write_row(out, left, field->doc);
}

static void write_usage(const struct cli_command *command, struct text *out)
{
        text_appendf(out, "Usage: banger %s", command->words);
        if (command_is_group(command)) {
                text_append(out, " <command>\n");
                return;
        }
        text_append(out, " [option]...");
        for (size_t i = 0; i < COMMAND_OPERANDS_MAX && command->operands[i]; i++)
                text_appendf(out, i < command->n_required ? " <%s>" : " [%s]", command->operands[i]);
        if (command->takes_many)
                text_append(out, "...");
        if (command->takes_command)
                text_append(out, " [-- command...]");
        text_append(out, "\n");
}

static void write_members(const struct cli_command *group, struct text *out)
{
        text_append(out, "\nCommands:\n");
        for (const struct cli_command *c = command_next(group, NULL); c; c = command_next(group, c))
                write_row(out, command_word(c), c->doc);
}

static void write_examples(const char *examples, struct text *out)
{
        text_append(out, "\nExamples:\n");
        while (*examples) {
                size_t n = strcspn(examples, "\n");

                text_appendf(out, "  %.*s\n", (int) n, examples);
                examples += n + (examples[n] == '\n');
        }
}

static void write_top(struct text *out)
{
        text_append(out, "Usage: banger <command>\n\n"
                         "A machine of your own, now, that can be ruined: 'banger vm run ./repo -- make "
                         "test' makes a\n"
                         "virtual machine, puts the repository inside, runs the command and hands back what "
                         "it says.\n");
        write_members(NULL, out);
        write_examples("banger vm run                          a shell in a new vm\n"
                       "banger vm run --rm ./repo -- make      one command, nothing left\n"
                       "banger ps                              what runs\n"
                       "banger doctor                          is this host fit?",
                       out);
        text_append(out, "\n'banger <command> --help' tells more; 'banger --version' prints the version.\n");
}

void help_write(const struct cli_command *command, struct text *ret)
{
        const struct rpc_field *field;
        bool is_param;

        if (!command) {
                write_top(ret);
                return;
        }
        write_usage(command, ret);
        text_appendf(ret, "\n%s.\n", command->doc);
        if (command->details)
                text_appendf(ret, "\n%s\n", command->details);
        if (command_is_group(command)) {
                write_members(command, ret);
        } else {
                text_append(ret, "\nOptions:\n");
                for (size_t i = 0; (field = command_option_at(command, i, &is_param)); i++)
                        write_option(ret, field);
        }
        if (command->examples)
                write_examples(command->examples, ret);
}
