#include "daemon/daemon_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"

#define SESSIONS_MAX     256
#define SILENT_MS        10000      /* a connection without a request, when others want in */
#define OUTPUT_QUEUE_MAX (4U << 20) /* bytes a client may leave unread */

struct daemon_session {
        struct daemon_session *next;
        struct daemon_context context;
        int sock;                /* owned */
        sd_event_source *source; /* owned */
        struct rpc_reader reader;
        struct rpc_call call;
        struct text out;
        size_t n_sent;     /* of out */
        bool asked;        /* the request has come */
        bool answered;     /* the answer is queued: close when it is sent */
        uint64_t begun_ms; /* connected; then: asked */
        void (*gone)(void *userdata);
        void *userdata;
};

static void session_free(struct daemon_session *session)
{
        struct daemon_session **link = &session->context.daemon->sessions;

        while (*link && *link != session)
                link = &(*link)->next;
        if (*link)
                *link = session->next;
        sd_event_source_disable_unref(session->source);
        (void) close(session->sock);
        rpc_reader_done(&session->reader);
        rpc_call_done(&session->call);
        text_done(&session->out);
        free(session);
}

static void session_end(struct daemon_session *session)
{
        void (*gone)(void *userdata) = session->gone;
        void *userdata = session->userdata;

        if (gone && !session->answered)
                log_debug("daemon request canceled", "{s:s, s:s}", "method",
                          session->call.method ? session->call.method->name : "", "op_id",
                          session->call.op_id);
        session->gone = NULL;
        session_free(session);
        if (gone)
                gone(userdata);
}

/* Sends what fits. False when the session is over and freed. */
static bool session_flush(struct daemon_session *session)
{
        while (session->n_sent < session->out.n) {
                ssize_t n = send(session->sock, session->out.s + session->n_sent,
                                 session->out.n - session->n_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        (void) sd_event_source_set_io_events(session->source, EPOLLIN | EPOLLOUT);
                        return true;
                }
                if (n < 0) {
                        session_end(session);
                        return false;
                }
                session->n_sent += (size_t) n;
        }
        text_done(&session->out);
        session->n_sent = 0;
        if (session->answered) {
                session_end(session);
                return false;
        }
        (void) sd_event_source_set_io_events(session->source, EPOLLIN);
        return true;
}

static void session_queue(struct daemon_session *session, const json_t *message)
{
        struct err err = { 0 };

        if (session->out.n - session->n_sent > OUTPUT_QUEUE_MAX) {
                log_warn("a client does not read its events; dropped", NULL);
                session_end(session);
                return;
        }
        if (rpc_encode(message, &session->out, &err) < 0) {
                json_auto_t *refusal = rpc_error_message(&err, session->call.op_id);
                struct err again = { 0 };

                (void) rpc_encode(refusal, &session->out, &again);
        }
        (void) session_flush(session);
}

void daemon_session_event(struct daemon_session *session, const json_t *event)
{
        json_auto_t *message = NULL;

        if (!session || session->answered)
                return;
        message = json_pack("{s:O}", "event", event);
        session_queue(session, message);
}

static void log_outcome(const struct daemon_session *session, int r, const struct err *err)
{
        const char *method = session->call.method ? session->call.method->name : "";
        json_int_t duration = (json_int_t) (clock_monotonic_ms() - session->begun_ms);

        if (r < 0)
                log_warn("daemon request failed", "{s:s, s:s, s:I, s:s, s:s}", "op_id", session->call.op_id,
                         "method", method, "duration_ms", duration, "code", err_code_to_name(err->code),
                         "error", err->message);
        else
                log_write(session->call.method->is_quiet ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
                          "daemon request completed", "{s:s, s:s, s:I}", "op_id", session->call.op_id,
                          "method", method, "duration_ms", duration);
}

void daemon_session_answer(struct daemon_session *session, int r, json_t *owned_result, const struct err *err)
{
        json_auto_t *message = NULL;

        if (!session) {
                json_decref(owned_result);
                return;
        }
        log_outcome(session, r, err);
        message = rpc_answer(&session->call, r, owned_result, err);
        session->gone = NULL;
        if (r == 0 && session->call.n_reply_fds > 0 && session->out.n == 0) {
                struct err send_err = { 0 };

                /* a fresh socket's buffer takes a message of this size at once */
                (void) rpc_send(session->sock, message, session->call.reply_fds, session->call.n_reply_fds,
                                &send_err);
                session->answered = true;
                session_end(session);
                return;
        }
        session->answered = true;
        session_queue(session, message);
}

void daemon_session_on_gone(struct daemon_session *session, void (*gone)(void *userdata), void *userdata)
{
        if (!session)
                return;
        session->gone = gone;
        session->userdata = userdata;
}

const char *daemon_session_op_id(const struct daemon_session *session)
{
        return session ? session->call.op_id : "";
}

/* The request is whole: run it. */
static void session_run(struct daemon_session *session, json_t *owned_message)
{
        json_t *result = NULL;
        struct err err = { 0 };
        int r;

        session->asked = true;
        session->begun_ms = clock_monotonic_ms();
        session->call.message = owned_message;
        session->call.n_fds = rpc_reader_take_fds(&session->reader, session->call.fds);
        session->call.context = &session->context;
        r = rpc_dispatch(&session->call, daemon_bindings, false, &result, &err);
        if (r != RPC_LATER)
                daemon_session_answer(session, r, result, &err);
}

/* Nothing more is expected: end of file, or a client that breaks the rules and is told so. What it asked for ends. */
static void session_after_request(struct daemon_session *session)
{
        void (*gone)(void *userdata) = session->gone;
        void *userdata = session->userdata;
        struct err err = { 0 };
        char byte;

        if (session->answered || recv(session->sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) {
                session_end(session);
                return;
        }
        (void) err_set(&err, EPROTO, "daemon.session",
                       "a second request on a connection; one connection carries one request");
        (void) recv(session->sock, &byte, 1, MSG_DONTWAIT);
        daemon_session_answer(session, -EPROTO, NULL, &err);
        if (gone)
                gone(userdata);
}

static void session_readable(struct daemon_session *session)
{
        json_t *message = NULL;
        struct err err = { 0 };
        int r;

        if (session->asked) {
                session_after_request(session);
                return;
        }
        r = rpc_reader_read(&session->reader, session->sock, &message, &err);
        if (r == 1) {
                session_run(session, message);
        } else if (r == -ENODATA) {
                session_end(session);
        } else if (r < 0) {
                session->asked = true;
                session->begun_ms = clock_monotonic_ms();
                rpc_op_id_new(session->call.op_id);
                daemon_session_answer(session, r, NULL, &err);
        }
}

static int on_session(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon_session *session = userdata;

        (void) source;
        (void) fd;
        if ((events & EPOLLOUT) && !session_flush(session))
                return 0;
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                session_readable(session);
        return 0;
}

/* Makes room: whoever connected and has asked nothing for long. */
static void drop_silent(struct daemon *daemon)
{
        for (struct daemon_session *s = daemon->sessions, *next; s; s = next) {
                next = s->next;
                if (!s->asked && clock_monotonic_ms() - s->begun_ms > SILENT_MS) {
                        log_debug("a connection that asked nothing is closed", NULL);
                        session_end(s);
                }
        }
}

static unsigned count_sessions(const struct daemon *daemon)
{
        unsigned n = 0;

        for (const struct daemon_session *s = daemon->sessions; s; s = s->next)
                n++;
        return n;
}

/* Refuses a stranger with an answer, so that he learns why (S-027). */
static int check_client(struct daemon *daemon, int sock, struct ucred *ret_peer)
{
        struct err err = { 0 }, send_err = { 0 };
        int r = rpc_check_peer(sock, daemon->layout.owner_uid, ret_peer, &err);

        if (r == 0 && count_sessions(daemon) >= SESSIONS_MAX)
                drop_silent(daemon);
        if (r == 0 && count_sessions(daemon) >= SESSIONS_MAX)
                r = err_set(&err, EBUSY, "daemon.accept",
                            "%d requests are in progress; try again when some have ended", SESSIONS_MAX);
        if (r < 0) {
                char op_id[RPC_OP_ID_MAX];
                json_auto_t *message = NULL;

                rpc_op_id_new(op_id);
                message = rpc_error_message(&err, op_id);
                log_warn("connection refused", "{s:s, s:s}", "op_id", op_id, "error", err.message);
                (void) rpc_send(sock, message, NULL, 0, &send_err);
        }
        return r;
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon *daemon = userdata;
        scoped_close int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct daemon_session *session;
        struct ucred peer;

        (void) source;
        (void) events;
        if (sock < 0 || check_client(daemon, sock, &peer) < 0)
                return 0;
        session = xcalloc(1, sizeof(*session));
        session->context = (struct daemon_context){ .daemon = daemon, .session = session };
        session->call.peer = peer;
        session->begun_ms = clock_monotonic_ms();
        if (sd_event_add_io(daemon->event, &session->source, sock, EPOLLIN, on_session, session) < 0) {
                free(session);
                return 0;
        }
        session->sock = take_fd(&sock);
        session->next = daemon->sessions;
        daemon->sessions = session;
        return 0;
}

int daemon_sessions_listen(struct daemon *daemon, int owned_socket, struct err *err)
{
        sd_event_source *source = NULL;
        int r = fd_set_nonblocking(owned_socket, true);

        if (r == 0)
                r = sd_event_add_io(daemon->event, &source, owned_socket, EPOLLIN, on_connection, daemon);
        if (r < 0) {
                (void) close(owned_socket);
                return err_set(err, -r, "daemon.listen", "watch the socket: %s", strerror(-r));
        }
        (void) sd_event_source_set_io_fd_own(source, 1);
        (void) sd_event_source_set_floating(source, 1);
        sd_event_source_unref(source);
        return 0;
}

void daemon_sessions_done(struct daemon *daemon)
{
        while (daemon->sessions)
                session_free(daemon->sessions);
}
