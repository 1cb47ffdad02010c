/*
 * Netlink in the manner the helper needs it: a socket per operation, one request, its answer. Everything the helper
 * changes in the kernel's network goes through here (rtnetlink(7), nf_tables); no program is run.
 */
#pragma once

#include <libmnl/libmnl.h>
#include <stddef.h>

#include "base/err.h"
#include "base/scoped.h"

/* bus: NETLINK_ROUTE or NETLINK_NETFILTER. NULL with err filled. */
struct mnl_socket *netlink_open(int bus, struct err *err);
void netlink_close(struct mnl_socket *socket);
SCOPED_FUNC(struct mnl_socket *, netlink_close);

/*
 * Sends one message and reads until its acknowledgement or the end of its dump; every answer goes to take (may be NULL).
 * Returns 0 or the kernel's -errno.
 */
int netlink_talk(struct mnl_socket *socket, struct nlmsghdr *message, mnl_cb_t take, void *userdata);

/* Sends prepared bytes of a batch, which asks for no acknowledgement, and returns the first refusal: 0 or -errno. */
int netlink_send_batch(struct mnl_socket *socket, const void *bytes, size_t n);
