/*
 * Forwarded connections. Dial: the host has a connection and wants its other end in the guest. Listen: the other way; for each
 * connection that the guest's side makes, the host is told a vsock port at which a child of this process hands it over.
 */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "guest/agent/agent_serve.h"
#include "guest/contract/guest_frame.h"
#include "guest/contract/guest_relay.h"

#define OP_FORWARD "agent.forward"
#define DIAL_MS    10000
#define HAND_MS    10000
#define ANSWER_MS  10000

static int say(int fd, json_t *owned_json)
{
        scoped_free char *text = json_dumps(owned_json, JSON_COMPACT);

        json_decref(owned_json);
        return guest_frame_send(fd, GUEST_FRAME_ANSWER, text, strlen(text), clock_monotonic_ms() + ANSWER_MS);
}

static int parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_n, struct err *err)
{
        int r = address_parse(text, ret_address, ret_n);

        return r < 0 ? err_set(err, -r, OP_FORWARD, "'%.200s' is not an address", text) : 0;
}

int agent_dial(int fd, const char *address_text, struct err *err)
{
        struct sockaddr_storage address;
        scoped_close int sock = FD_NONE;
        socklen_t n;
        int r = parse(address_text, &address, &n, err);

        if (r < 0)
                return r;
        sock = address_connect(&address, n, DIAL_MS);
        if (sock < 0) {
                errno = -sock;
                return err_errno(err, OP_FORWARD, "connect to %s", strchr(address_text, ':') + 1);
        }
        r = say(fd, json_object());
        if (r == 0)
                (void) guest_relay(fd, sock); /* its failure is the connection's */
        return 0;
}

/* A listening vsock socket of a port that nobody has, for one connection. */
static int listen_any(unsigned *ret_port)
{
        struct sockaddr_vm address = { .svm_family = AF_VSOCK,
                                       .svm_cid = VMADDR_CID_ANY,
                                       .svm_port = VMADDR_PORT_ANY };
        socklen_t n = sizeof(address);
        scoped_close int sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (sock < 0 || bind(sock, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(sock, 1) < 0 || getsockname(sock, (struct sockaddr *) &address, &n) < 0)
                return -errno;
        *ret_port = address.svm_port;
        return take_fd(&sock);
}

/* Waits for the host at the port it was told, and no longer than it needs. */
__attribute__((noreturn)) static void hand_over(int listener, int sock)
{
        scoped_close int fd = FD_NONE;
        char waste[256];

        if (fd_wait(listener, POLLIN, HAND_MS) == 0)
                fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && guest_relay(fd, sock) == 0)
                (void) fd_read_until(fd, waste, sizeof(waste), clock_monotonic_ms() + HAND_MS);
        _exit(0);
}

static int accept_one(int fd, int listener)
{
        scoped_close int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC), hand = FD_NONE;
        unsigned port = 0;
        pid_t pid;

        if (sock < 0)
                return errno == ECONNABORTED || errno == EAGAIN || errno == EINTR ? 0 : -errno;
        hand = listen_any(&port);
        if (hand < 0)
                return 0; /* this connection is closed; the next may fare better */
        pid = fork();
        if (pid == 0) {
                (void) close(fd);
                (void) close(listener);
                hand_over(hand, sock);
        }
        return pid < 0 ? 0 : say(fd, json_pack("{s:I}", "accept", (json_int_t) port));
}

static int serve_listener(int fd, int listener)
{
        for (;;) {
                struct pollfd p[2] = {
                        {.fd = listener, .events = POLLIN},
                        { .fd = fd,      .events = POLLIN}
                };
                int r = 0;

                if (poll(p, 2, -1) < 0 && errno != EINTR)
                        return -errno;
                if (p[1].revents != 0) /* the host has nothing to say here: this is its end */
                        return 0;
                if (p[0].revents != 0)
                        r = accept_one(fd, listener);
                if (r < 0)
                        return r;
        }
}

int agent_listen_for_host(int fd, const char *address_text, struct err *err)
{
        struct sockaddr_storage address;
        scoped_close int listener = FD_NONE;
        socklen_t n;
        int r = parse(address_text, &address, &n, err);

        if (r < 0)
                return r;
        listener = address_listen(&address, n);
        if (listener < 0) {
                errno = -listener;
                return err_errno(err, OP_FORWARD, "listen on %s", strchr(address_text, ':') + 1);
        }
        (void) signal(SIGCHLD, SIG_IGN); /* children are not waited for */
        r = say(fd, json_pack("{s:i}", "port", (int) address_port(&address)));
        if (r == 0)
                (void) serve_listener(fd, listener);
        if (address.ss_family == AF_UNIX)
                (void) unlink(((const struct sockaddr_un *) &address)->sun_path);
        return 0;
}
