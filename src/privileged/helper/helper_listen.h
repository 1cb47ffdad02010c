/*
 * The accept loop: a process for each connection, a bounded number of them, each with one request. The listener
 * itself reads no byte that the daemon sends.
 */
#pragma once

#include "privileged/helper/helper_methods.h"

struct listen_options {
        struct helper_config config;
        const char *socket;   /* borrowed; its folder is made root's, 0711 */
        uint64_t idle_exit_s; /* end after so long without a connection; 0: never */
};

/* Serves until SIGTERM, SIGINT or idleness; requests in flight go on to their end. */
int listen_serve(const struct listen_options *options, struct err *err);
