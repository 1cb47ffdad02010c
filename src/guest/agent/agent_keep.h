/*
 * Commands that run detached. Each has a keeper, a process that plays the host towards the ordinary session of the command: it
 * takes all output into a ring, so that the command never waits for a reader, and passes it on to hosts that attach. It
 * listens in a folder of root's; the connection of a host that attaches is handed to it.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "guest/contract/guest_request.h"

/* Starts it, answers with its id, and returns when it has ended and been forgotten: call it in a process of its own. */
int agent_keep(int fd, const struct guest_request *request, void (*on_started)(void *), void *context,
               struct err *err);

/* {"sessions": [...]}, the oldest first; NULL never. */
json_t *agent_sessions(void);
/* Hands fd to the keeper of request->path: 1, and this process must not touch fd any more. -ENOENT: there is none. */
int agent_attach(int fd, const struct guest_request *request, struct err *err);
int agent_session_kill(const struct guest_request *request, struct err *err);
