/*
 * Ports of this host that lead into a guest, and the other way. One process waits; each connection is a child of it, so that what
 * a child does is straight blocking code, and none waits for another's guest to answer.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "api/api_vm.h"
#include "base/address.h"
#include "base/fd.h"
#include "base/json.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_forward.h"
#include "cli/cli_guest.h"
#include "cli/cli_signals.h"
#include "cli/render_error.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_forward.h"

#define OP_FORWARD      "vm.port-forward"
#define FORWARDS_MAX    64
#define CONNECTIONS_MAX 256 /* at once; more wait in the listeners' backlogs */
#define CONNECT_MS      10000
#define REAP_MS         200 /* how soon the end of a connection makes room, when there is none */

struct forward {
        struct cli_forward sides;
        struct sockaddr_storage host; /* of the host's side */
        socklen_t n_host;
        int fd; /* owned: where it listens here, or the connection over which the guest listens */
        struct guest_listener listener; /* with reverse */
};

struct forwarding {
        struct cli *cli;
        const char *vm;
        bool reverse;
        struct forward *list; /* owned */
        size_t n;
        size_t n_connections;
        bool waits;  /* a guest has announced more than there was room for */
        int signals; /* owned */
};

static void forwarding_done(struct forwarding *forwarding)
{
        for (size_t i = 0; i < forwarding->n; i++) {
                struct forward *forward = &forwarding->list[i];

                if (!forwarding->reverse && forward->fd >= 0 && forward->host.ss_family == AF_UNIX)
                        (void) unlink(((const struct sockaddr_un *) &forward->host)->sun_path);
                close_at_scope_end(&forward->fd);
                if (forwarding->reverse)
                        guest_listener_done(&forward->listener);
                cli_forward_done(&forward->sides);
        }
        free(forwarding->list);
        signals_end(forwarding->signals);
}

static inline void forwarding_done_at_scope_end(struct forwarding *forwarding)
{
        forwarding_done(forwarding);
}

static int listen_here(struct forward *forward, struct err *err)
{
        const char *shown = strchr(forward->sides.host, ':') + 1;

        forward->fd = address_listen(&forward->host, forward->n_host);
        if (forward->fd == -EADDRINUSE && forward->host.ss_family == AF_UNIX)
                return err_set(err, EADDRINUSE, OP_FORWARD,
                               "'%s' exists; remove it when nobody listens there any more", shown);
        if (forward->fd == -EADDRINUSE)
                return err_set(err, EADDRINUSE, OP_FORWARD,
                               "%s is in use on this host; take another port, or 0 for a free one", shown);
        if (forward->fd == -EACCES && forward->host.ss_family != AF_UNIX)
                return err_set(err, EACCES, OP_FORWARD,
                               "%s is root's to listen on; take a port of at least 1024, or 0 for a free one",
                               shown);
        if (forward->fd < 0) {
                errno = -forward->fd;
                return err_errno(err, OP_FORWARD, "listen on %s", shown);
        }
        return 0;
}

static int listen_there(struct forwarding *forwarding, struct forward *forward, struct err *err)
{
        int r;

        if (forward->host.ss_family != AF_UNIX && address_port(&forward->host) == 0)
                return err_set(err, EINVAL, OP_FORWARD,
                               "with --reverse the host's side is connected to, and port 0 is none");
        forward->fd = cli_connect(forwarding->cli, forwarding->vm, NULL, err);
        if (forward->fd < 0)
                return forward->fd;
        r = guest_listen(forward->fd, forward->sides.guest, &forward->listener, err);
        return r < 0 ? err_wrap(err, "vm '%s'", forwarding->vm) : 0;
}

static int open_all(struct forwarding *forwarding, const struct cli_args *args, struct err *err)
{
        forwarding->list = xcalloc(args->n_operands, sizeof(*forwarding->list));
        for (size_t i = 1; i < args->n_operands; i++) {
                struct forward *forward = &forwarding->list[forwarding->n++];
                int r = (forward->fd = FD_NONE, cli_forward_parse(args->operands[i], &forward->sides, err));

                if (r == 0)
                        r = address_parse(forward->sides.host, &forward->host, &forward->n_host);
                if (r == 0)
                        r = forwarding->reverse ? listen_there(forwarding, forward, err)
                                                : listen_here(forward, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* "tcp:127.0.0.1:0" with the port that was found, without its kind. Owned by the caller. */
static char *shown_address(const char *side, unsigned port)
{
        const char *text = strchr(side, ':') + 1, *colon = strrchr(text, ':');

        if (port == 0 || !colon)
                return xstrdup(text);
        return xasprintf("%.*s:%u", (int) (colon - text), text, port);
}

static void print_forwards(const struct forwarding *forwarding, bool as_json)
{
        json_auto_t *all = json_array();

        for (size_t i = 0; i < forwarding->n; i++) {
                const struct forward *forward = &forwarding->list[i];
                bool reverse = forwarding->reverse;
                scoped_free char *host =
                        shown_address(forward->sides.host, reverse ? 0 : address_port(&forward->host));
                scoped_free char *guest =
                        shown_address(forward->sides.guest, reverse ? forward->listener.port : 0);

                (void) json_array_append_new(all, json_pack("{s:s, s:s, s:s}", "listens",
                                                            reverse ? "guest" : "host", "host", host, "guest",
                                                            guest));
                if (!as_json)
                        (void) printf(reverse ? "%3$s:%2$s -> %1$s\n" : "%1$s -> %3$s:%2$s\n", host, guest,
                                      forwarding->vm);
        }
        if (as_json)
                print_json(all);
        (void) fflush(stdout);
}

/* In a child of its own: the far ends of one connection, then its bytes. Never returns. */
__attribute__((noreturn)) static void carry(struct forwarding *forwarding, const struct forward *forward,
                                            int sock, unsigned guest_port)
{
        const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        struct err err = { 0 };
        int fd = FD_NONE, r = 0;

        if (guest_port == 0) {
                fd = cli_connect(forwarding->cli, forwarding->vm, NULL, &err);
                r = fd < 0 ? fd : guest_dial(fd, forward->sides.guest, &err);
        } else {
                r = cli_call(forwarding->cli, &api_vm_connect, vm_params(forwarding->vm), &reply, &err);
                fd = r == 0 && reply.n_fds == 1 ? reply.fds[0] : FD_NONE;
                r = fd < 0 ? -ECONNRESET : guest_connect_port_on(fd, guest_port, CONNECT_MS, &err);
                sock = r < 0 ? FD_NONE : address_connect(&forward->host, forward->n_host, CONNECT_MS);
                if (r == 0 && sock < 0) {
                        errno = -sock;
                        r = err_errno(&err, OP_FORWARD, "connect to %s",
                                      strchr(forward->sides.host, ':') + 1);
                }
        }
        if (r < 0) {
                error_print(forwarding->cli->code, forwarding->cli->op_id, err.message);
                if (sock >= 0)
                        (void) setsockopt(sock, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
        } else {
                (void) guest_carry(fd, sock);
        }
        _exit(r < 0);
}

/* sock is owned; FD_NONE with a guest's port. */
static void start_connection(struct forwarding *forwarding, const struct forward *forward, int owned_sock,
                             unsigned guest_port)
{
        scoped_close int sock = owned_sock;
        pid_t parent = getpid(), pid = fork();

        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(1);
                signals_end(forwarding->signals);
                carry(forwarding, forward, take_fd(&sock), guest_port);
        }
        if (pid > 0)
                forwarding->n_connections++;
        if (pid < 0)
                (void) fprintf(stderr, "banger: a connection was dropped: start a process for it: %s\n",
                               strerror(errno));
}

static int take_connection(struct forwarding *forwarding, struct forward *forward, struct err *err)
{
        unsigned port;
        int r, sock;

        if (!forwarding->reverse) {
                sock = accept4(forward->fd, NULL, NULL, SOCK_CLOEXEC);
                if (sock >= 0)
                        start_connection(forwarding, forward, sock, 0);
                return 0;
        }
        for (;;) {
                /* what it has announced is not ours to refuse, but how many processes that makes is not its to choose */
                if (forwarding->n_connections >= CONNECTIONS_MAX) {
                        forwarding->waits = true;
                        return 0;
                }
                r = guest_listener_next(&forward->listener, &port, err);
                if (r != 1)
                        break;
                start_connection(forwarding, forward, FD_NONE, port);
        }
        return r < 0 ? err_wrap(err, "vm '%s'", forwarding->vm) : 0;
}

/* Fills p, one for each forward and the signals last; returns when one of them has something, or when there is room again. */
static int await_event(struct forwarding *forwarding, struct pollfd *p, bool is_full, struct err *err)
{
        int wait_ms = is_full ? REAP_MS : forwarding->waits ? 0 : -1;

        for (size_t i = 0; i < forwarding->n; i++)
                p[i] = (struct pollfd){ .fd = is_full ? FD_NONE : forwarding->list[i].fd, .events = POLLIN };
        p[forwarding->n] = (struct pollfd){ .fd = forwarding->signals, .events = POLLIN };
        if (poll(p, forwarding->n + 1, wait_ms) < 0 && errno != EINTR)
                return err_errno(err, OP_FORWARD, "wait for connections");
        while (waitpid(-1, NULL, WNOHANG) > 0)
                forwarding->n_connections--;
        if (p[forwarding->n].revents == 0)
                return 0;
        forwarding->cli->signal = signals_take(forwarding->signals);
        return err_set(err, ECANCELED, OP_FORWARD, "interrupted");
}

/* Until a signal, or until the guest listens no more. */
static int serve(struct forwarding *forwarding, struct err *err)
{
        struct pollfd p[FORWARDS_MAX + 1];

        for (;;) {
                bool is_full = forwarding->n_connections >= CONNECTIONS_MAX, take_all;
                int r = await_event(forwarding, p, is_full, err);

                take_all = !is_full && forwarding->waits;
                forwarding->waits = forwarding->waits && is_full;
                for (size_t i = 0; r == 0 && i < forwarding->n; i++)
                        if (p[i].revents != 0 || take_all)
                                r = take_connection(forwarding, &forwarding->list[i], err);
                if (r < 0)
                        return r;
        }
}

int cmd_vm_forward(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(forwarding_done) struct forwarding forwarding = { .cli = cli,
                                                                 .vm = args->operands[0],
                                                                 .reverse =
                                                                         json_flag(args->options, "reverse"),
                                                                 .signals = FD_NONE };
        scoped_close int probe = FD_NONE;
        int r;

        if (args->n_operands > FORWARDS_MAX)
                return err_set(err, E2BIG, OP_FORWARD, "at most %d forwards at once", FORWARDS_MAX - 1);
        if (!forwarding.reverse) { /* a vm that does not run is told now, not to the first who connects */
                probe = cli_connect(cli, forwarding.vm, NULL, err);
                if (probe < 0)
                        return probe;
                (void) close(take_fd(&probe));
        }
        r = open_all(&forwarding, args, err);
        if (r < 0)
                return r;
        forwarding.signals = signals_begin(false);
        print_forwards(&forwarding, json_flag(args->options, "json"));
        return serve(&forwarding, err);
}
