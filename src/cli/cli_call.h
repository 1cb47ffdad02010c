/* Asking the daemon, from a command. */
#pragma once

#include "cli/cli_command.h"

/*
 * Starts the daemon when it does not run, shows progress, and takes note of code and op id of a refusal for the error line.
 * SIGINT and its like drop the request: ECANCELED, with the signal in cli->signal. owned_params may be NULL.
 */
int cli_call(struct cli *cli, const struct rpc_method *method, json_t *owned_params,
             struct rpc_reply *ret_reply, struct err *err);

/* One of several requests that run at the same time. */
struct cli_one {
        json_t *params; /* owned; {"vm": ...} and more */
        char *label;    /* owned; before each line of progress */
        struct rpc_reply reply;
        struct err err; /* clear: it succeeded */
};

/*
 * Asks for all of them at once, each over a connection of its own, and waits for all. What came of each is in it, owned by the
 * caller. -code only when none could be asked, or ECANCELED as above: what was under way is dropped.
 */
int cli_call_many(struct cli *cli, const struct rpc_method *method, struct cli_one *ones, size_t n_ones,
                  struct err *err);

/* For putting things in order at the end: ends after timeout_ms, not at a signal, starts no daemon, shows nothing. */
int cli_call_at_end(struct cli *cli, const struct rpc_method *method, json_t *owned_params,
                    uint64_t timeout_ms, struct err *err);

/* Before a VM is started: bangerd runs, and so does the root helper. */
int cli_need_helper(struct cli *cli, struct err *err);

/* The layout, found once. */
int cli_need_layout(struct cli *cli, struct err *err);

/* {"vm": name}, owned by the caller. */
json_t *vm_params(const char *vm);
