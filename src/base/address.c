#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

#define BACKLOG 128

static int parse_unix(const char *path, struct sockaddr_storage *ret_address, socklen_t *ret_n)
{
        struct sockaddr_un *address = (struct sockaddr_un *) ret_address;

        if (path[0] != '/')
                return -EINVAL;
        if (strlen(path) >= sizeof(address->sun_path))
                return -ENAMETOOLONG;
        address->sun_family = AF_UNIX;
        memcpy(address->sun_path, path, strlen(path) + 1);
        *ret_n = sizeof(*address);
        return 0;
}

static int parse_tcp(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_n)
{
        struct sockaddr_in *v4 = (struct sockaddr_in *) ret_address;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) ret_address;
        const char *colon = strrchr(text, ':');
        bool is_v6 = text[0] == '[';
        char host[64];
        uint64_t port;
        size_t n;

        if (!colon || text_parse_u64(colon + 1, UINT16_MAX, &port) < 0)
                return -EINVAL;
        n = (size_t) (colon - text);
        if (is_v6 && (n < 3 || text[n - 1] != ']'))
                return -EINVAL;
        n -= is_v6 ? 2 : 0;
        if (n >= sizeof(host))
                return -EINVAL;
        memcpy(host, text + is_v6, n);
        host[n] = '\0';
        if (is_v6 ? inet_pton(AF_INET6, host, &v6->sin6_addr) != 1
                  : inet_pton(AF_INET, host, &v4->sin_addr) != 1)
                return -EINVAL;
        if (is_v6) {
                v6->sin6_family = AF_INET6;
                v6->sin6_port = htons((uint16_t) port);
        } else {
                v4->sin_family = AF_INET;
                v4->sin_port = htons((uint16_t) port);
        }
        *ret_n = is_v6 ? sizeof(*v6) : sizeof(*v4);
        return 0;
}

int address_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_n)
{
        *ret_address = (struct sockaddr_storage){ 0 };
        if (text_starts_with(text, "unix:"))
                return parse_unix(text + 5, ret_address, ret_n);
        return text_starts_with(text, "tcp:") ? parse_tcp(text + 4, ret_address, ret_n) : -EINVAL;
}

unsigned address_port(const struct sockaddr_storage *address)
{
        if (address->ss_family == AF_INET)
                return ntohs(((const struct sockaddr_in *) address)->sin_port);
        return address->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *) address)->sin6_port) : 0;
}

/* Small writes of one side are small writes of the other. */
static void set_nodelay(int sock, sa_family_t family)
{
        const int on = 1;

        if (family != AF_UNIX)
                (void) setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int address_connect(const struct sockaddr_storage *address, socklen_t n, int timeout_ms)
{
        scoped_close int sock = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int refused = 0, r;
        socklen_t size = sizeof(refused);

        if (sock < 0)
                return -errno;
        set_nodelay(sock, address->ss_family);
        if (connect(sock, (const struct sockaddr *) address, n) == 0)
                return take_fd(&sock);
        if (errno != EINPROGRESS)
                return -errno;
        r = fd_wait(sock, POLLOUT, timeout_ms);
        if (r < 0)
                return r;
        if (getsockopt(sock, SOL_SOCKET, SO_ERROR, &refused, &size) < 0)
                return -errno;
        return refused != 0 ? -refused : take_fd(&sock);
}

int address_listen(struct sockaddr_storage *address, socklen_t n)
{
        scoped_close int sock = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const int on = 1;
        socklen_t size = sizeof(*address);
        mode_t mask;
        int r;

        if (sock < 0)
                return -errno;
        if (address->ss_family != AF_UNIX)
                (void) setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        mask = umask(0177);
        r = bind(sock, (const struct sockaddr *) address, n);
        (void) umask(mask);
        if (r < 0 || listen(sock, BACKLOG) < 0)
                return -errno;
        if (address->ss_family != AF_UNIX && getsockname(sock, (struct sockaddr *) address, &size) < 0)
                return -errno;
        return take_fd(&sock);
}
