/* What a command in a guest may be given: variables, a folder, a user, a time. One set for vm exec and vm run. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"
#include "rpc/rpc_table.h"

struct cli_exec {
        const char **env;    /* owned array, NULL-terminated, no name twice; the strings are below */
        const char *workdir; /* borrowed from the options, as the two below; NULL: not given */
        const char *user;
        const char *timeout; /* as it was typed */
        uint64_t timeout_ms; /* 0: none */
        struct text strings; /* owned: "NAME=VALUE", each with its NUL */
};

/* The rows of an options table: --env, --env-file, --workdir, --user, --timeout. */
#define CLI_EXEC_OPTIONS                                                                                     \
        { .name = "env",                                                                                     \
          .kind = RPC_KIND_STRING,                                                                           \
          .repeats = true,                                                                                   \
          .short_option = 'e',                                                                               \
          .doc = "variable for the command, NAME=VALUE; NAME alone: with its value here; may be repeated" }, \
                { .name = "env_file",                                                                        \
                  .kind = RPC_KIND_STRING,                                                                   \
                  .sense = RPC_HOST_PATH,                                                                    \
                  .repeats = true,                                                                           \
                  .doc = "file of such lines; # begins a comment" },                                         \
                { .name = "workdir",                                                                         \
                  .kind = RPC_KIND_STRING,                                                                   \
                  .sense = RPC_GUEST_PATH,                                                                   \
                  .short_option = 'w',                                                                       \
                  .doc = "folder in the guest to run in" },                                                  \
                { .name = "user",                                                                            \
                  .kind = RPC_KIND_STRING,                                                                   \
                  .short_option = 'u',                                                                       \
                  .doc = "user in the guest to run as: NAME or UID, also with :GROUP (default root)" },      \
        {                                                                                                    \
                .name = "timeout", .kind = RPC_KIND_STRING,                                                  \
                .doc = "end it, and all it started, after this time (30, 30s, 5m, 1h); status 124"           \
        }

/* EINVAL names the option and what is wrong with it. */
int cli_exec_read(const json_t *options, struct cli_exec *ret_exec, struct err *err);
/* Any of them was given. */
bool cli_exec_is_given(const json_t *options);
void cli_exec_done(struct cli_exec *exec);
/* One line on standard error; is_sure: the agent said that nothing of it is left. */
void cli_exec_tell_timeout(const struct cli_exec *exec, bool is_sure);

static inline void cli_exec_done_at_scope_end(struct cli_exec *exec)
{
        cli_exec_done(exec);
}
