/* The words after a command, by its table. */
#pragma once

#include "cli/cli_command.h"

/* argv is NULL-terminated and follows the command's words. EINVAL says what is wrong with which word. */
int parse_args(const struct cli_command *command, char *const *argv, struct cli_args *ret_args,
               struct err *err);
void parse_args_done(struct cli_args *args);

static inline void parse_args_done_at_scope_end(struct cli_args *args)
{
        parse_args_done(args);
}

/* S-043: absolute as it is, relative below the working folder, "" as it is. Owned by the caller. */
char *path_absolute(const char *path);
