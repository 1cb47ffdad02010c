/* bangerd on demand: where systemd does not start it, the command line does. */
#pragma once

#include "base/err.h"
#include "base/layout.h"

/*
 * Makes the runtime folders, starts the root helper and bangerd where they do not answer, says so on standard error, and
 * waits until bangerd does. EAGAIN with the way out where systemd is responsible.
 */
int daemon_start(const struct layout *layout, struct err *err);
