#include "cli/cli_parse.h"

#include <inttypes.h>
#include <string.h>

#include "base/size.h"
#include "base/text.h"
#include "cli/cli_suggest.h"

char *path_absolute(const char *path)
{
        scoped_free char *here = NULL;

        if (path[0] == '/' || path[0] == '\0')
                return xstrdup(path);
        here = getcwd(NULL, 0);
        if (!here)
                return xstrdup(path); /* whoever opens it will say that the working folder is gone */
        while (text_starts_with(path, "./"))
                path += 2;
        return strcmp(path, ".") == 0 || !*path ? take_ptr(here) : xasprintf("%s/%s", here, path);
}

static int refuse_number(const struct rpc_field *field, const char *shown, const char *value, struct err *err)
{
        if (field->sense == RPC_BYTES || field->sense == RPC_MIB)
                return err_set(err, EINVAL, "cli.parse",
                               "%s: '%s' is not a size; write it as 4GiB, 512M or 1024 (MiB)", shown, value);
        return err_set(err, EINVAL, "cli.parse", "%s: '%s' is not a number", shown, value);
}

static int parse_number(const struct rpc_field *field, const char *shown, const char *value, json_t **ret,
                        struct err *err)
{
        bool is_size = field->sense == RPC_BYTES || field->sense == RPC_MIB;
        uint64_t number;
        int r = is_size ? size_parse(value, &number) : text_parse_u64(value, UINT32_MAX, &number);

        if (r < 0 || number > INT64_MAX)
                return refuse_number(field, shown, value, err);
        if (field->sense == RPC_MIB) {
                if (number % MIB != 0)
                        return err_set(err, EINVAL, "cli.parse", "%s: '%s' is not a whole number of MiB",
                                       shown, value);
                number /= MIB;
        }
        if (number < field->min || (field->max > 0 && number > field->max)) {
                uint64_t unit = field->sense == RPC_MIB ? MIB : 1;
                char least[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX];

                if (!is_size)
                        return err_set(err, EINVAL, "cli.parse",
                                       "%s must be %" PRIu64 " to %" PRIu64 ", not %s", shown, field->min,
                                       field->max, value);
                size_format(field->min * unit, least);
                size_format(field->max * unit, most);
                return err_set(err, EINVAL, "cli.parse", "%s must be %s to %s, not %s", shown, least, most,
                               value);
        }
        *ret = json_integer((json_int_t) number);
        return 0;
}

/* "oci:DIR", "oci-archive:FILE" and "docker-archive:FILE" with the path made absolute; NULL: it is none of them. */
static char *place_absolute(const char *value)
{
        static const char *const places[] = { "oci:", "oci-archive:", "docker-archive:" };

        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
                if (text_starts_with(value, places[i])) {
                        scoped_free char *path = path_absolute(value + strlen(places[i]));

                        return xasprintf("%s%s", places[i], path);
                }
        return NULL;
}

/* The typed value as the method wants it. */
static int parse_value(const struct rpc_field *field, const char *shown, const char *value, json_t **ret,
                       struct err *err)
{
        scoped_free char *path = NULL;

        if (field->kind == RPC_KIND_U32 || field->kind == RPC_KIND_U64)
                return parse_number(field, shown, value, ret, err);
        if (field->sense == RPC_HOST_PATH)
                path = path_absolute(value);
        if (field->sense == RPC_IMAGE_REF)
                path = place_absolute(value);
        if (field->sense == RPC_VM_NAME && !rpc_vm_name_is_valid(value))
                return err_set(
                        err, EINVAL, "cli.parse",
                        "%s: '%s' is not a name for a vm: 1 to 63 of a-z, 0-9 and '-', no '-' at either end",
                        shown, value);
        *ret = json_string(path ? path : value);
        if (!*ret)
                return err_set(err, EINVAL, "cli.parse", "%s: '%s' is not UTF-8", shown, value);
        return 0;
}

struct parsing {
        const struct cli_command *command;
        char *const *at; /* the next word */
        struct cli_args *args;
};

static int refuse_option(const struct cli_command *command, const char *name, struct err *err)
{
        struct suggest suggest = { .typed = name };
        const struct rpc_field *field;
        char *names[64];
        size_t n = 0;
        bool is_param;
        int r;

        while (n < sizeof(names) / sizeof(names[0]) && (field = command_option_at(command, n, &is_param))) {
                names[n] = option_name(field);
                suggest_offer(&suggest, names[n++]);
        }
        if (suggest.best)
                r = err_set(err, EINVAL, "cli.parse",
                            "'banger %s' has no option '--%s'; did you mean '--%s'?", command->words, name,
                            suggest.best);
        else
                r = err_set(err, EINVAL, "cli.parse",
                            "'banger %s' has no option '--%s'; 'banger %s --help' lists them", command->words,
                            name, command->words);
        while (n > 0)
                free(names[--n]);
        return r;
}

/* The last one counts, or all of them. */
static void keep_option(json_t *kept, const struct rpc_field *field, json_t *owned_value)
{
        json_t *list = json_object_get(kept, field->name);

        if (!field->repeats) {
                (void) json_object_set_new(kept, field->name, owned_value);
                return;
        }
        if (!list)
                (void) json_object_set_new(kept, field->name, list = json_array());
        (void) json_array_append_new(list, owned_value);
}

static int take_option(struct parsing *parsing, const struct rpc_field *field, bool is_param,
                       const char *shown, const char *value, struct err *err)
{
        json_t *parsed = NULL;
        int r;

        if (strcmp(field->name, "help") == 0) {
                parsing->args->wants_help = true;
                return 0;
        }
        if (field->kind == RPC_KIND_BOOL) {
                if (value)
                        return err_set(err, EINVAL, "cli.parse", "%s takes no value", shown);
                parsed = json_true();
        } else {
                if (!value && *parsing->at)
                        value = *parsing->at++;
                if (!value)
                        return err_set(err, EINVAL, "cli.parse", "%s wants a value: %s", shown, field->doc);
                r = parse_value(field, shown, value, &parsed, err);
                if (r < 0)
                        return r;
        }
        keep_option(is_param ? parsing->args->params : parsing->args->options, field, parsed);
        return 0;
}

/* --name, --name=value, --name value */
static int take_long(struct parsing *parsing, const char *word, struct err *err)
{
        const char *equals = strchr(word, '=');
        scoped_free char *name = equals ? strndup(word + 2, (size_t) (equals - word - 2)) : xstrdup(word + 2);
        scoped_free char *shown = xasprintf("--%s", name);
        bool is_param;
        const struct rpc_field *field = command_option(parsing->command, name, &is_param);

        if (!field)
                return refuse_option(parsing->command, name, err);
        return take_option(parsing, field, is_param, shown, equals ? equals + 1 : NULL, err);
}

/* One letter a word: -d, -f; none of them takes a value joined to it. */
static int take_short(struct parsing *parsing, const char *word, struct err *err)
{
        const struct rpc_field *field;
        bool is_param;

        for (size_t i = 0; (field = command_option_at(parsing->command, i, &is_param)); i++)
                if (field->short_option == word[1] && word[2] == '\0')
                        return take_option(parsing, field, is_param, word, NULL, err);
        return err_set(err, EINVAL, "cli.parse",
                       "'banger %s' has no option '%s'; 'banger %s --help' lists them",
                       parsing->command->words, word, parsing->command->words);
}

static size_t operands_max(const struct cli_command *command)
{
        size_t n = 0;

        while (n < COMMAND_OPERANDS_MAX && command->operands[n])
                n++;
        return command->takes_many ? ARGS_OPERANDS_MAX : n;
}

static int take_operand(struct parsing *parsing, const char *word, struct err *err)
{
        const struct cli_command *command = parsing->command;
        struct cli_args *args = parsing->args;

        if (args->n_operands == operands_max(command)) {
                if (command->takes_command)
                        return err_set(err, EINVAL, "cli.parse",
                                       "'%s' is one word too many; a command for the guest goes after '--': "
                                       "banger %s ... -- %s",
                                       word, command->words, word);
                return err_set(err, EINVAL, "cli.parse", "'banger %s' cannot use the word '%s'",
                               command->words, word);
        }
        args->operands[args->n_operands++] = word;
        return 0;
}

/* Operands that the method knows are parameters like any other. */
static int operands_to_params(struct parsing *parsing, struct err *err)
{
        const struct cli_command *command = parsing->command;

        for (size_t i = 0; i < parsing->args->n_operands && i < COMMAND_OPERANDS_MAX && command->operands[i];
             i++)
                for (const struct rpc_field *f = command->method ? command->method->params : NULL;
                     f && f->name; f++) {
                        json_t *value = NULL;
                        int r;

                        if (strcmp(f->name, command->operands[i]) != 0)
                                continue;
                        r = parse_value(f, f->name, parsing->args->operands[i], &value, err);
                        if (r < 0)
                                return r;
                        (void) json_object_set_new(parsing->args->params, f->name, value);
                }
        return 0;
}

static int check_required(const struct parsing *parsing, struct err *err)
{
        const struct cli_command *command = parsing->command;
        bool is_param;
        const struct rpc_field *field;

        if (parsing->args->n_operands < command->n_required)
                return err_set(err, EINVAL, "cli.parse", "'banger %s' wants <%s>; see 'banger %s --help'",
                               command->words, command->operands[parsing->args->n_operands], command->words);
        for (size_t i = 0; (field = command_option_at(command, i, &is_param)); i++)
                if (is_param && field->required && !json_object_get(parsing->args->params, field->name)) {
                        scoped_free char *name = option_name(field);

                        return err_set(err, EINVAL, "cli.parse", "'banger %s' wants --%s: %s", command->words,
                                       name, field->doc);
                }
        return 0;
}

int parse_args(const struct cli_command *command, char *const *argv, struct cli_args *ret_args,
               struct err *err)
{
        struct parsing parsing = { .command = command, .at = argv, .args = ret_args };
        int r = 0;

        *ret_args = (struct cli_args){ .params = json_object(), .options = json_object() };
        while (r == 0 && *parsing.at && !ret_args->wants_help) {
                const char *word = *parsing.at++;

                if (strcmp(word, "--") == 0 && command->takes_command) {
                        ret_args->command = *parsing.at ? parsing.at : NULL;
                        break;
                }
                if (text_starts_with(word, "--") && word[2])
                        r = take_long(&parsing, word, err);
                else if (word[0] == '-' && word[1] && word[1] != '-')
                        r = take_short(&parsing, word, err);
                else if (strcmp(word, "--") != 0)
                        r = take_operand(&parsing, word, err);
        }
        if (r < 0 || ret_args->wants_help)
                return r;
        r = operands_to_params(&parsing, err);
        return r < 0 ? r : check_required(&parsing, err);
}

void parse_args_done(struct cli_args *args)
{
        json_decref(args->params);
        json_decref(args->options);
        *args = (struct cli_args){ 0 };
}
