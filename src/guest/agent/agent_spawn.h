/* Starting a command as the leader of a session of its own, on pipes or on a terminal. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest/agent/agent_user.h"

struct agent_spawn {
        const char *file;
        const char *const *argv, *const *env;
        int fds[3];                    /* borrowed, above 2: its standard input, output, error */
        bool terminal;                 /* fds[0] becomes the controlling terminal */
        bool fixed_layout;             /* without address space randomization: docs/decisions/0008 */
        const struct agent_user *user; /* borrowed; NULL: as this process */
};

/* QEMU's emulator and not a processor runs this machine. */
bool agent_is_emulated(void);
/* The pid, or -errno of what failed in the child up to its exec. */
pid_t agent_spawn(const struct agent_spawn *spawn);

/* A terminal: *ret_master and *ret_slave owned by the caller, close-on-exec, the master not blocking. 0 or -errno. */
int agent_open_terminal(uint16_t rows, uint16_t columns, int *ret_master, int *ret_slave);
int agent_resize_terminal(int master, uint16_t rows, uint16_t columns);
