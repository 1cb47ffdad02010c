/* Descriptors: whole reads and writes, UNIX sockets, descriptor passing. Returns 0 or -errno, never speaks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/scoped.h"

/* Exactly n bytes from a blocking descriptor. -ENODATA at end of file before the first byte, -EBADMSG after it. */
int fd_read_full(int fd, void *buffer, size_t n);
/* All n bytes to a blocking descriptor. Raises no SIGPIPE on sockets. */
int fd_write_full(int fd, const void *data, size_t n);
/* Like fd_read_full, but waits at most until the monotonic deadline in ms: -ETIMEDOUT. */
int fd_read_until(int fd, void *buffer, size_t n, uint64_t deadline_ms);

int fd_set_nonblocking(int fd, bool nonblocking);
int fd_set_cloexec(int fd, bool cloexec);
/* Waits until fd has one of the poll(2) events: 0, -ETIMEDOUT, -errno. timeout_ms < 0 waits for ever. */
int fd_wait(int fd, short events, int timeout_ms);

/*
 * A close-on-exec stream socket at path, which may be longer than the 107 bytes of sun_path
 * (unix(7)): the directory is opened and /proc/self/fd/N/name is used. Listening fails with
 * -EADDRINUSE when the path exists. The socket file gets `mode` exactly. Returns a descriptor or -errno.
 */
int fd_unix_listen(const char *path, mode_t mode, int backlog);
int fd_unix_connect(const char *path);
/* Without waiting for room in the listener's backlog (-EAGAIN when it is full). The descriptor is non-blocking. */
int fd_unix_connect_now(const char *path);
int fd_unix_pair(int ret_fds[2]);

/* SO_PEERCRED. -ENOTSOCK or -EOPNOTSUPP when it is not a UNIX socket (S-027). */
int fd_peer(int fd, struct ucred *ret_peer);

#define FD_PASS_MAX 8
/* Sends n >= 1 bytes with descriptors (borrowed); blocking, whole. */
int fd_send_with(int sock, const void *data, size_t n, const int *fds, size_t n_fds);
/*
 * Receives at most n bytes and at most FD_PASS_MAX descriptors, close-on-exec, owned by the
 * caller. Returns the number of bytes (0: end) or -errno; descriptors beyond the limit are closed
 * and the call fails with -EMFILE.
 */
ssize_t fd_receive_with(int sock, void *buffer, size_t n, int *ret_fds, size_t *ret_n_fds);

int fd_pidfd_open(pid_t pid);
int fd_pidfd_signal(int pidfd, int signal);
