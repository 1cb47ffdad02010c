#include "privileged/helper/helper_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "privileged/helper/helper_confine.h"
#include "privileged/helper/helper_firewall.h"

#define OP "priv.listen"

#define REQUESTS_MAX       64
#define BACKLOG            128
#define RECEIVE_TIMEOUT_MS 5000
#define REQUEST_LIMIT_S    30
#define FOLDER_MODE        0711

struct listener {
        const struct listen_options *options;
        int sock;    /* owned */
        int signals; /* owned; signalfd */
        int folder;  /* owned; O_PATH of the socket's folder */
        char *name;  /* owned; the socket in it */
        unsigned n_requests;
        uint64_t idle_since_ms;
        bool is_ending;
};

/* The folder is root's and nobody else can write it, so names in it are ours and stay what they are. */
static int open_folder(const char *path, int *ret_folder, struct err *err)
{
        scoped_close int folder = FD_NONE;
        struct stat st;

        if (mkdir(path, FOLDER_MODE) < 0 && errno != EEXIST)
                return err_errno(err, OP, "create '%s'", path);
        folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (folder < 0 || fstat(folder, &st) < 0)
                return err_errno(err, OP, "open '%s'", path);
        if (st.st_uid != 0)
                return err_set(err, EPERM, OP, "folder '%s' belongs to uid %u, not to root; remove it", path,
                               (unsigned) st.st_uid);
        if (fchmod(folder, FOLDER_MODE) < 0)
                return err_errno(err, OP, "set the mode of '%s'", path);
        *ret_folder = take_fd(&folder);
        return 0;
}

/* A socket that nobody listens on is left over from a helper that was killed. */
static bool is_abandoned(const char *path)
{
        scoped_close int sock = fd_unix_connect(path);

        return sock == -ECONNREFUSED;
}

static int open_socket(struct listener *l, struct err *err)
{
        const struct helper_config *config = &l->options->config;
        scoped_free char *path = xasprintf("/proc/self/fd/%d/%s", l->folder, l->name);

        l->sock = fd_unix_listen(path, 0600, BACKLOG);
        if (l->sock == -EADDRINUSE) {
                if (!is_abandoned(path))
                        return err_set(err, EADDRINUSE, OP, "another bangerd-root listens on '%s'",
                                       l->options->socket);
                (void) unlinkat(l->folder, l->name, 0);
                l->sock = fd_unix_listen(path, 0600, BACKLOG);
        }
        if (l->sock < 0)
                return err_set(err, -l->sock, OP, "listen on '%s': %s", l->options->socket,
                               strerror(-l->sock));
        if (fchownat(l->folder, l->name, config->owner_uid, config->owner_gid, AT_SYMLINK_NOFOLLOW) < 0)
                return err_errno(err, OP, "hand '%s' to uid %u", l->options->socket,
                                 (unsigned) config->owner_uid);
        return 0;
}

static int open_signals(struct listener *l, struct err *err)
{
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return err_errno(err, OP, "block signals");
        l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return l->signals < 0 ? err_errno(err, OP, "signalfd") : 0;
}

static void listener_done(struct listener *l)
{
        if (l->sock >= 0) {
                (void) unlinkat(l->folder, l->name, 0);
                (void) close(l->sock);
        }
        if (l->signals >= 0)
                (void) close(l->signals);
        if (l->folder >= 0)
                (void) close(l->folder);
        free(l->name);
}

static void listener_done_at_scope_end(struct listener *l)
{
        listener_done(l);
}

static int listener_init(struct listener *l, struct err *err)
{
        const char *slash = strrchr(l->options->socket, '/');
        scoped_free char *folder = NULL;
        int r;

        if (!slash || slash == l->options->socket || slash[1] == '\0')
                return err_set(err, EINVAL, OP, "'%s' is not an absolute path in a folder",
                               l->options->socket);
        folder = strndup(l->options->socket, (size_t) (slash - l->options->socket));
        l->name = xstrdup(slash + 1);
        r = open_folder(folder, &l->folder, err);
        if (r == 0)
                r = open_socket(l, err);
        if (r == 0)
                r = open_signals(l, err);
        if (r == 0)
                r = firewall_init(err);
        return r == 0 ? confine_listener(err) : r;
}

/* The one line of a call (S-098, S-099). */
static void log_call(const struct rpc_call *call, int r, uint64_t started_ms, const struct err *err)
{
        const char *method = call->method ? call->method->name : "";
        json_int_t duration = (json_int_t) (clock_monotonic_ms() - started_ms);

        log_set_op_id(call->op_id);
        if (r >= 0)
                log_debug("helper rpc completed", "{s:s, s:I}", "method", method, "duration_ms", duration);
        else
                log_warn("helper rpc failed", "{s:s, s:I, s:s, s:s, s:I}", "method", method, "duration_ms",
                         duration, "code", err_code_to_name(err->code), "error", err->message, "peer_uid",
                         (json_int_t) call->peer.uid);
}

/* In a process of its own. SIGTERM is for the listener: what has begun is finished. */
static int serve(int sock, const struct helper_config *config)
{
        struct helper_config own = *config;
        struct rpc_call call = { .context = &own };
        uint64_t started_ms = clock_monotonic_ms();
        struct err err = { 0 };
        int r = confine_request(REQUEST_LIMIT_S, &err);

        if (r == 0)
                r = rpc_serve_one(sock, config->owner_uid, helper_bindings, RECEIVE_TIMEOUT_MS, &call, &err);
        if (r == -ECONNRESET && !call.message)
                log_debug("connection without a request", NULL);
        else
                log_call(&call, r, started_ms, &err);
        rpc_call_done(&call);
        return r < 0;
}

static void run_request(struct listener *l, int conn)
{
        sigset_t none;
        int status;

        (void) signal(SIGTERM, SIG_IGN);
        (void) signal(SIGINT, SIG_IGN);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) close(l->sock);
        (void) close(l->signals);
        (void) close(l->folder);
        status = serve(conn, &l->options->config);
        _exit(status);
}

static void accept_one(struct listener *l)
{
        scoped_close int conn = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC);
        pid_t pid;

        if (conn < 0)
                return;
        l->idle_since_ms = clock_monotonic_ms();
        pid = fork();
        if (pid == 0)
                run_request(l, conn);
        if (pid < 0)
                log_warn("no process for a request", "{s:s}", "error", strerror(errno));
        else
                l->n_requests++;
}

static void reap(struct listener *l)
{
        int status;
        pid_t pid;

        for (;;) {
                pid = waitpid(-1, &status, WNOHANG);
                if (pid <= 0)
                        return;
                l->n_requests--;
                l->idle_since_ms = clock_monotonic_ms();
                if (WIFSIGNALED(status))
                        log_warn("helper rpc failed", "{s:i, s:i}", "pid", (int) pid, "signal",
                                 WTERMSIG(status));
        }
}

static void take_signals(struct listener *l)
{
        struct signalfd_siginfo info;

        while (read(l->signals, &info, sizeof(info)) == (ssize_t) sizeof(info)) {
                if (info.ssi_signo == SIGCHLD)
                        reap(l);
                else
                        l->is_ending = true;
        }
}

/* Until idleness ends the program: -1 never. */
static int idle_left_ms(const struct listener *l)
{
        if (l->options->idle_exit_s == 0 || l->n_requests > 0)
                return -1;
        return clock_left_ms(l->idle_since_ms + l->options->idle_exit_s * 1000);
}

int listen_serve(const struct listen_options *options, struct err *err)
{
        scoped(listener_done) struct listener l = {
                .options = options, .sock = FD_NONE, .signals = FD_NONE, .folder = FD_NONE
        };
        int r = listener_init(&l, err);

        if (r < 0)
                return r;
        log_info("helper ready", "{s:s, s:I}", "socket", options->socket, "owner_uid",
                 (json_int_t) options->config.owner_uid);
        l.idle_since_ms = clock_monotonic_ms();
        while (!l.is_ending) {
                struct pollfd polled[2] = {
                        {.fd = l.signals,                                       .events = POLLIN},
                        { .fd = l.n_requests < REQUESTS_MAX ? l.sock : FD_NONE, .events = POLLIN},
                };
                int n = poll(polled, 2, idle_left_ms(&l));

                if (n < 0 && errno != EINTR)
                        return err_errno(err, OP, "poll");
                if (n == 0 && idle_left_ms(&l) == 0)
                        break;
                if (n > 0 && polled[0].revents)
                        take_signals(&l);
                if (n > 0 && polled[1].revents)
                        accept_one(&l);
        }
        return 0;
}
