/* A client's connection: one request, events, one answer. When the client goes away, what it asked for is cancelled. */
#pragma once

#include "daemon/daemon.h"

/* Accepts on the daemon's socket from now on. The descriptor is owned. */
int daemon_sessions_listen(struct daemon *daemon, int owned_socket, struct err *err);

/* Queues an event for the client; a client that does not read is dropped. NULL session: nobody is there any more. */
void daemon_session_event(struct daemon_session *session, const json_t *event);
/* The answer of a request whose handler returned RPC_LATER. Takes result. */
void daemon_session_answer(struct daemon_session *session, int r, json_t *owned_result,
                           const struct err *err);

/* Called once when the client goes away before its answer. At most one; NULL removes it. */
void daemon_session_on_gone(struct daemon_session *session, void (*gone)(void *userdata), void *userdata);
const char *daemon_session_op_id(const struct daemon_session *session);

void daemon_sessions_done(struct daemon *daemon);
