/*
 * Rights shed in stages.
 *
 * confine_listener(), once, when the socket stands:
 *   keeps CAP_NET_ADMIN (links, taps, nftables, ip_forward) and CAP_KILL (VMMs run as the owner), drops every other
 *   capability for good, and sets no_new_privs. The socket's owner is set before, so CAP_CHOWN is not kept.
 * confine_request(), in the process of one request, before its first byte is read:
 *   Landlock: /proc to read, ip_forward and /dev/net/tun to write, nothing else in any file system, nothing executed.
 *   seccomp: only the system calls that the methods need; netlink is the only socket family. Another call ends the process.
 *   A time limit: a request that hangs is ended by SIGALRM.
 */
#pragma once

#include "base/err.h"

int confine_listener(struct err *err);
int confine_request(unsigned limit_seconds, struct err *err);
