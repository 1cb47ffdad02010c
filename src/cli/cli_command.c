#include "cli/cli_command.h"

#include <string.h>

#include "base/text.h"
#include "cli/cli_suggest.h"

static const struct rpc_field json_option = { .name = "json",
                                              .kind = RPC_KIND_BOOL,
                                              .doc = "print JSON, for programs" };
static const struct rpc_field help_option = {
        .name = "help", .kind = RPC_KIND_BOOL, .short_option = 'h', .doc = "show this help"
};

bool command_is_group(const struct cli_command *command)
{
        return !command->run;
}

const char *command_word(const struct cli_command *command)
{
        const char *space = strrchr(command->words, ' ');

        return space ? space + 1 : command->words;
}

static bool is_member(const struct cli_command *group, const struct cli_command *command)
{
        size_t n = group ? strlen(group->words) : 0;

        if (!group)
                return !strchr(command->words, ' ');
        return strncmp(command->words, group->words, n) == 0 && command->words[n] == ' ' &&
               !strchr(command->words + n + 1, ' ');
}

const struct cli_command *command_next(const struct cli_command *group, const struct cli_command *after)
{
        for (const struct cli_command *c = after ? after + 1 : cli_commands; c->words; c++)
                if (is_member(group, c))
                        return c;
        return NULL;
}

static const struct cli_command *find_member(const struct cli_command *group, const char *word)
{
        for (const struct cli_command *c = command_next(group, NULL); c; c = command_next(group, c))
                if (strcmp(command_word(c), word) == 0 || (c->alias && strcmp(c->alias, word) == 0))
                        return c;
        return NULL;
}

static int refuse_word(const struct cli_command *group, const char *word, struct err *err)
{
        struct suggest suggest = { .typed = word };

        for (const struct cli_command *c = command_next(group, NULL); c; c = command_next(group, c))
                suggest_offer(&suggest, command_word(c));
        if (suggest.best)
                return err_set(err, EINVAL, "cli.command",
                               "no command '%s%s%s'; did you mean 'banger %s%s%s'?",
                               group ? group->words : "", group ? " " : "", word, group ? group->words : "",
                               group ? " " : "", suggest.best);
        return err_set(err, EINVAL, "cli.command", "no command '%s%s%s'; 'banger %s%s--help' lists them",
                       group ? group->words : "", group ? " " : "", word, group ? group->words : "",
                       group ? " " : "");
}

int command_find(char *const *argv, const struct cli_command **ret, size_t *ret_n_words, struct err *err)
{
        const struct cli_command *found = NULL;
        size_t n = 0;

        while (argv[n] && argv[n][0] != '-' && (!found || command_is_group(found))) {
                const struct cli_command *next = find_member(found, argv[n]);

                if (!next)
                        return refuse_word(found, argv[n], err);
                found = next;
                n++;
        }
        *ret = found;
        *ret_n_words = n;
        return 0;
}

static bool is_offered(const struct cli_command *command, const char *name)
{
        for (size_t i = 0; i < COMMAND_OPERANDS_MAX && command->operands[i]; i++)
                if (strcmp(command->operands[i], name) == 0)
                        return false;
        for (size_t i = 0; command->omitted && command->omitted[i]; i++)
                if (strcmp(command->omitted[i], name) == 0)
                        return false;
        return true;
}

const struct rpc_field *command_option_at(const struct cli_command *command, size_t i, bool *ret_is_param)
{
        *ret_is_param = true;
        for (const struct rpc_field *f = command->method ? command->method->params : NULL; f && f->name; f++)
                if (is_offered(command, f->name) && i-- == 0)
                        return f;
        *ret_is_param = false;
        for (const struct rpc_field *f = command->options; f && f->name; f++)
                if (i-- == 0)
                        return f;
        if (command->has_json && i-- == 0)
                return &json_option;
        return i == 0 ? &help_option : NULL;
}

char *option_name(const struct rpc_field *field)
{
        char *name = xstrdup(field->name);

        for (char *c = name; *c; c++)
                if (*c == '_')
                        *c = '-';
        return name;
}

const struct rpc_field *command_option(const struct cli_command *command, const char *name,
                                       bool *ret_is_param)
{
        const struct rpc_field *field;

        for (size_t i = 0; (field = command_option_at(command, i, ret_is_param)); i++) {
                scoped_free char *written = option_name(field);

                if (strcmp(written, name) == 0)
                        return field;
        }
        return NULL;
}
