/* Stream addresses as text: "tcp:127.0.0.1:80", "tcp:[::1]:80", "unix:/run/x.sock". Numbers only; nothing is resolved. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define ADDRESS_MAX 128

/* -EINVAL for everything else, -ENAMETOOLONG for a path beyond sun_path (unix(7)). */
int address_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_n);
/* The port of an address, 0 for a path. */
unsigned address_port(const struct sockaddr_storage *address);
/* A connected stream socket, close-on-exec; waits for at most timeout_ms. Or -errno. */
int address_connect(const struct sockaddr_storage *address, socklen_t n, int timeout_ms);
/* A listening one; *address becomes what was bound (port 0: a free one). A socket file gets mode 0600. Or -errno. */
int address_listen(struct sockaddr_storage *address, socklen_t n);
