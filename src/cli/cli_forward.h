/* What is forwarded, as it is typed: HOST:GUEST, where each side is a port, an address with a port, or a path. */
#pragma once

#include "base/err.h"

struct cli_forward {
        char *host, *guest; /* owned; base/address.h's forms */
};

/*
 * "8080:80", "127.0.0.1:8080:10.0.0.5:80", "[::1]:0:80", "/tmp/x.sock:/run/docker.sock", "8080" for the same port on both
 * sides. A port alone is on 127.0.0.1; relative host paths become absolute. EINVAL says which side is wrong and why.
 */
int cli_forward_parse(const char *typed, struct cli_forward *ret_forward, struct err *err);
void cli_forward_done(struct cli_forward *forward);
