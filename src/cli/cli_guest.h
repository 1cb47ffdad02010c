/* A command in a guest with this process's own terminal, input and outputs. */
#pragma once

#include "cli/cli_command.h"
#include "guest/client/guest_client.h"

struct cli_exec;

struct cli_run {
        const char *const *argv; /* NULL: the login shell */
        const char *folder;      /* NULL: the user's home */
        enum guest_image_use image;
        bool login_shell;               /* wrapped for tools, see guest_exec */
        const struct cli_exec *options; /* NULL: none; the folder above stands unless they name one */
};

/* Asks the daemon for a connection to the agent. Returns the descriptor, or -code; *ret_vm (owned, may be NULL) is the VM. */
int cli_connect(struct cli *cli, const char *vm, json_t **ret_vm, struct err *err);

/*
 * Runs it over a fresh connection (borrowed). Signals reach it, its terminal is the caller's exactly when standard
 * input is one, and that terminal is as before afterwards. Exit status, 128 + signal, or -code.
 */
int cli_run_in_guest(int fd, const struct cli_run *run, struct err *err);

/* Runs something small whose output nobody reads; its exit status or -code. */
int cli_run_quietly(struct cli *cli, const char *vm, const char *script, int output_fd, struct err *err);
