/*
 * cli/: banger, the command line. A command is a row of a table: its words, its method, its own options, its help. One
 * parser, one help writer and one completion read the rows; a command's file holds only what it does. It owns no state:
 * the daemon does; a guest's bytes go straight between the terminal and its agent.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/layout.h"
#include "rpc/rpc_client.h"

#define COMMAND_OPERANDS_MAX 2
#define ARGS_OPERANDS_MAX    256

/* One invocation. */
struct cli {
        struct layout layout;
        bool has_layout;
        char code[32]; /* wire code of a refused request, "" when it was not the daemon that failed */
        char op_id[RPC_OP_ID_MAX]; /* of that request */
        int signal;                /* what interrupted it; 0: nothing */
};

/* What was typed, taken apart. */
struct cli_args {
        json_t *params;                          /* owned; for the method, named as it names them */
        json_t *options;                         /* owned; the command's own */
        const char *operands[ARGS_OPERANDS_MAX]; /* borrowed from argv */
        size_t n_operands;
        char *const *command; /* what follows "--"; NULL: nothing does. Borrowed from argv */
        bool wants_help;
};

struct cli_command {
        const char *words;               /* "vm run" */
        const char *alias;               /* last word, or NULL */
        const char *doc;                 /* one line, imperative, no full stop */
        const char *details;             /* paragraphs of the help page; NULL: none */
        const char *examples;            /* runnable lines; "\n" between them */
        const struct rpc_method *method; /* its fields are options, but for the omitted; NULL: none */
        const char *const *omitted;      /* NULL-terminated; NULL: none */
        const struct rpc_field *options; /* the command's own, ends with RPC_END; NULL: none */
        const char
                *operands[COMMAND_OPERANDS_MAX]; /* names of the fields (or free words) given without "--" */
        unsigned n_required;                     /* of the operands */
        bool takes_many;                         /* the last operand may be repeated */
        bool takes_command;                      /* "-- cmd args" */
        bool has_json;
        /* Exit status, or -code. */
        int (*run)(struct cli *cli, const struct cli_args *args, struct err *err);
};

/* Groups have run NULL; a group may be in another one. In the order of the help page (S-032); the last one's words are NULL. */
extern const struct cli_command cli_commands[];

bool command_is_group(const struct cli_command *command);
/* Members of a group (or of the top, group NULL), in order: the next after `after` (NULL: the first), or NULL. */
const struct cli_command *command_next(const struct cli_command *group, const struct cli_command *after);
/* The last word of its name. */
const char *command_word(const struct cli_command *command);

/*
 * The longest command that argv (NULL-terminated, without the program's name) begins with; *ret_n_words words are used up.
 * NULL in *ret for none at all. EINVAL, with the nearest word in the message, when a word is no command.
 */
int command_find(char *const *argv, const struct cli_command **ret, size_t *ret_n_words, struct err *err);

/* The option called name (as typed, without hyphens) of this command, or NULL; *ret_is_param tells where it goes. */
const struct rpc_field *command_option(const struct cli_command *command, const char *name,
                                       bool *ret_is_param);
/* All options in the order of the help: the i-th, or NULL. */
const struct rpc_field *command_option_at(const struct cli_command *command, size_t i, bool *ret_is_param);

/* disk_size -> "disk-size"; owned by the caller. */
char *option_name(const struct rpc_field *field);
