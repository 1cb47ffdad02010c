/* bangerd on demand: where systemd does not start it, the command line does. */
#pragma once

#include "base/err.h"
#include "base/layout.h"

/*
 * Makes the runtime folders, starts the root helper (where root calls) and bangerd where they do not answer, says so on
 * standard error, and waits until bangerd does. EAGAIN with the way out where systemd is responsible.
 */
int daemon_start(const struct layout *layout, struct err *err);

/*
 * Starts the root helper unless it answers: directly as root, else by sudo when that asks nothing. ENOTCONN with the command
 * for root in the message when neither works. Without it no VM can be started, so this comes before one is made.
 */
int daemon_need_helper(const struct layout *layout, struct err *err);
