/*
 * HTTP on a UNIX socket: libmicrohttpd without threads, driven from the caller's poll loop, one request at a time. It
 * knows limits and status codes; what requests mean is vm_instance's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vmm/qemu/vm_instance.h"

struct api_server;

/* Binds path, which must not exist (EADDRINUSE); mode 0600. limit: the largest body in bytes. instance is borrowed. */
int api_server_new(const char *path, struct vm_instance *instance, size_t limit,
                   struct api_server **ret_server, struct err *err);
void api_server_free(struct api_server *server);

int api_server_fd(const struct api_server *server); /* for POLLIN */
/* When to call api_server_run() at the latest, in ms; -1: not before the descriptor is ready. */
int api_server_timeout_ms(const struct api_server *server);
void api_server_run(struct api_server *server);
