/*
 * How programs of the image are run, when its configuration says so: its environment, folder, user, entrypoint and command, as
 * `docker run` and `docker exec` take them. The host passes it on; images that banger made itself have none, and there the
 * login of root counts.
 */
#pragma once

#include <jansson.h>

#include "guest/contract/guest_request.h"

/* The "image" of the host's configuration: {"env", "entrypoint", "cmd", "working_dir", "user", "stop_signal"}, each optional. */
void agent_image_set(const json_t *image);

/* A request with what the image adds. All borrowed from the two, but for what done frees. */
struct agent_image_request {
        struct guest_request request;
        const char **argv, **env; /* owned arrays */
};

/*
 * Fills in what request->image asks for; a copy when the image says nothing. Its working folder is made when missing, as
 * containers have it. ENOENT: neither the request nor the image names a command.
 */
int agent_image_fill(const struct guest_request *request, struct agent_image_request *ret_filled,
                     struct err *err);
void agent_image_request_done(struct agent_image_request *filled);

/* What ends its programs: the image's StopSignal, SIGTERM unless it says another. */
int agent_image_stop_signal(void);

static inline void agent_image_request_done_at_scope_end(struct agent_image_request *filled)
{
        agent_image_request_done(filled);
}
