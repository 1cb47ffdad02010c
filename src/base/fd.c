#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/clock.h"

int fd_wait(int fd, short events, int timeout_ms)
{
        uint64_t deadline = timeout_ms < 0 ? 0 : clock_monotonic_ms() + (uint64_t) timeout_ms;

        for (;;) {
                struct pollfd p = { .fd = fd, .events = events };
                int n = poll(&p, 1, timeout_ms < 0 ? -1 : clock_left_ms(deadline));

                if (n > 0)
                        return 0;
                if (n == 0)
                        return -ETIMEDOUT;
                if (errno != EINTR)
                        return -errno;
        }
}

int fd_read_full(int fd, void *buffer, size_t n)
{
        return fd_read_until(fd, buffer, n, UINT64_MAX);
}

int fd_read_until(int fd, void *buffer, size_t n, uint64_t deadline_ms)
{
        size_t done = 0;

        while (done < n) {
                ssize_t got;

                if (deadline_ms != UINT64_MAX) {
                        int r = fd_wait(fd, POLLIN, clock_left_ms(deadline_ms));

                        if (r < 0)
                                return r;
                }
                got = read(fd, (char *) buffer + done, n - done);
                if (got == 0)
                        return done == 0 ? -ENODATA : -EBADMSG;
                if (got > 0) {
                        done += (size_t) got;
                } else if (errno == EAGAIN && deadline_ms == UINT64_MAX) {
                        int r = fd_wait(fd, POLLIN, -1);

                        if (r < 0)
                                return r;
                } else if (errno != EINTR && errno != EAGAIN) {
                        return -errno;
                }
        }
        return 0;
}

int fd_write_full(int fd, const void *data, size_t n)
{
        size_t done = 0;

        while (done < n) {
                ssize_t put = send(fd, (const char *) data + done, n - done, MSG_NOSIGNAL);

                if (put < 0 && errno == ENOTSOCK)
                        put = write(fd, (const char *) data + done, n - done);
                if (put >= 0) {
                        done += (size_t) put;
                } else if (errno == EAGAIN) {
                        int r = fd_wait(fd, POLLOUT, -1);

                        if (r < 0)
                                return r;
                } else if (errno != EINTR) {
                        return -errno;
                }
        }
        return 0;
}

int fd_set_nonblocking(int fd, bool nonblocking)
{
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0)
                return -errno;
        flags = nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
        return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int fd_set_cloexec(int fd, bool cloexec)
{
        return fcntl(fd, F_SETFD, cloexec ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

/* Fills an address for path; for a long one, through the directory left open in *ret_dir. */
static int unix_address(const char *path, struct sockaddr_un *ret_address, int *ret_dir)
{
        const char *slash = strrchr(path, '/');
        scoped_free char *folder = NULL;
        int n;

        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (path[0] == '\0') /* would be an abstract address, unix(7) */
                return -EINVAL;
        if (strlen(path) < sizeof(ret_address->sun_path)) {
                memcpy(ret_address->sun_path, path, strlen(path) + 1);
                return 0;
        }
        if (!slash || slash == path)
                return -ENAMETOOLONG;

        folder = strndup(path, (size_t) (slash - path));
        if (!folder)
                return -ENOMEM;
        *ret_dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*ret_dir < 0)
                return -errno;
        n = snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d/%s", *ret_dir,
                     slash + 1);
        return n < (int) sizeof(ret_address->sun_path) ? 0 : -ENAMETOOLONG;
}

int fd_unix_listen(const char *path, mode_t mode, int backlog)
{
        scoped_close int dir = FD_NONE, sock = FD_NONE;
        struct sockaddr_un address;
        int r = unix_address(path, &address, &dir);
        mode_t old_mask;

        if (r < 0)
                return r;
        sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (sock < 0)
                return -errno;
        old_mask = umask(0777 & ~mode);
        r = bind(sock, (const struct sockaddr *) &address, sizeof(address)) < 0 ? -errno : 0;
        (void) umask(old_mask);
        if (r < 0)
                return r;
        if (listen(sock, backlog) < 0)
                return -errno;
        return take_fd(&sock);
}

static int unix_connect(const char *path, int flags)
{
        scoped_close int dir = FD_NONE, sock = FD_NONE;
        struct sockaddr_un address;
        int r = unix_address(path, &address, &dir);

        if (r < 0)
                return r;
        sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
        if (sock < 0)
                return -errno;
        if (connect(sock, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return take_fd(&sock);
}

int fd_unix_connect(const char *path)
{
        return unix_connect(path, 0);
}

int fd_unix_connect_now(const char *path)
{
        return unix_connect(path, SOCK_NONBLOCK);
}

int fd_unix_pair(int ret_fds[2])
{
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds) < 0 ? -errno : 0;
}

int fd_peer(int fd, struct ucred *ret_peer)
{
        socklen_t n = sizeof(int);
        int domain = 0;

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0)
                return -errno;
        if (domain != AF_UNIX)
                return -EOPNOTSUPP;
        n = sizeof(*ret_peer);
        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &n) < 0 ? -errno : 0;
}

int fd_send_with(int sock, const void *data, size_t n, const int *fds, size_t n_fds)
{
        char control[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)] = { 0 };
        struct iovec part = { .iov_base = (void *) (uintptr_t) data, .iov_len = n };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
        ssize_t sent;

        if (n_fds > FD_PASS_MAX)
                return -E2BIG;
        if (n_fds > 0) {
                struct cmsghdr *c = (struct cmsghdr *) (void *) control;

                message.msg_control = control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        do {
                sent = sendmsg(sock, &message, MSG_NOSIGNAL);
                if (sent < 0 && errno == EAGAIN && fd_wait(sock, POLLOUT, -1) == 0)
                        errno = EINTR;
        } while (sent < 0 && errno == EINTR);
        if (sent < 0)
                return -errno;
        return fd_write_full(sock, (const char *) data + sent, n - (size_t) sent);
}

static void close_all(int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++)
                (void) close(fds[i]);
}

/* False when there is no place left; the descriptor is closed then. */
static bool keep_fd(int fd, int *fds, size_t *n_fds)
{
        if (*n_fds == FD_PASS_MAX) {
                (void) close(fd);
                return false;
        }
        fds[(*n_fds)++] = fd;
        return true;
}

/* Moves every descriptor of the message into fds; the surplus is closed. */
static bool collect_fds(struct msghdr *message, int *fds, size_t *n_fds)
{
        bool fits = (message->msg_flags & MSG_CTRUNC) == 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        fits = keep_fd(fd, fds, n_fds) && fits;
                }
        }
        return fits;
}

ssize_t fd_receive_with(int sock, void *buffer, size_t n, int *ret_fds, size_t *ret_n_fds)
{
        char control[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)] = { 0 };
        struct iovec part = { .iov_base = buffer, .iov_len = n };
        struct msghdr message = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
        };
        ssize_t got;

        *ret_n_fds = 0;
        do
                got = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
        while (got < 0 && errno == EINTR);
        if (got < 0)
                return -errno;
        if (!collect_fds(&message, ret_fds, ret_n_fds)) {
                close_all(ret_fds, *ret_n_fds);
                *ret_n_fds = 0;
                return -EMFILE;
        }
        return got;
}

int fd_pidfd_open(pid_t pid)
{
        int fd = (int) syscall(SYS_pidfd_open, pid, 0);

        return fd < 0 ? -errno : fd;
}

int fd_pidfd_signal(int pidfd, int signal)
{
        return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}
