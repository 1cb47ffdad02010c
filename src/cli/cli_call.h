/* Asking the daemon, from a command. */
#pragma once

#include "cli/cli_command.h"

/*
 * Starts the daemon when it does not run, shows progress, and takes note of code and op id of a refusal for the error line.
 * SIGINT and its like drop the request: ECANCELED, with the signal in cli->signal. owned_params may be NULL.
 */
int cli_call(struct cli *cli, const struct rpc_method *method, json_t *owned_params,
             struct rpc_reply *ret_reply, struct err *err);

/* For putting things in order at the end: ends after timeout_ms, not at a signal, starts no daemon, shows nothing. */
int cli_call_at_end(struct cli *cli, const struct rpc_method *method, json_t *owned_params,
                    uint64_t timeout_ms, struct err *err);

/* The layout, found once. */
int cli_need_layout(struct cli *cli, struct err *err);

/* {"vm": name}, owned by the caller. */
json_t *vm_params(const char *vm);
