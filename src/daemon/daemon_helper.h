/* Requests to the root helper that the loop does not wait for. */
#pragma once

#include "daemon/daemon.h"
#include "privileged/client/priv_client.h"
#include "rpc/rpc_client.h"

/* Told once, from the loop. reply is NULL when it failed; its descriptors may be taken (then n_fds is set to 0). */
typedef void daemon_helper_then(void *userdata, struct rpc_reply *reply, const struct err *err);

/* Takes the request's params. A failure to reach the helper is returned, and then is not called. */
int daemon_helper_ask(struct daemon *daemon, struct priv_request *owned_request, daemon_helper_then *then,
                      void *userdata, struct err *err);
/* At the daemon's end: nobody is told. */
void daemon_helper_done(struct daemon *daemon);
