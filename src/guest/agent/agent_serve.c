#include "guest/agent/agent_serve.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/agent_hold.h"
#include "guest/agent/agent_keep.h"
#include "guest/contract/guest_frame.h"

#define REQUEST_TIMEOUT_MS 10000
#define LINGER_MS          3000

static int answer(int fd, json_t *owned_json)
{
        scoped_free char *text = json_dumps(owned_json, JSON_COMPACT);

        json_decref(owned_json);
        if (!text || strlen(text) > guest_frame_max(GUEST_FRAME_ANSWER))
                return -EOVERFLOW;
        return guest_frame_send(fd, GUEST_FRAME_ANSWER, text, strlen(text),
                                clock_monotonic_ms() + REQUEST_TIMEOUT_MS);
}

void agent_refuse(int fd, const struct err *err)
{
        json_t *json = json_pack("{s:i, s:o}", "code", err->code, "message", json_string(err->message));
        scoped_free char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

        json_decref(json);
        if (!text) /* a message that is not UTF-8 */
                text = xasprintf("{\"code\":%d,\"message\":\"%s\"}", err->code, strerror(err->code));
        (void) guest_frame_send(fd, GUEST_FRAME_ERROR, text, strlen(text),
                                clock_monotonic_ms() + REQUEST_TIMEOUT_MS);
}

/* Requests that have an answer and nothing else. NULL: *err says why. */
static json_t *ask(const struct guest_request *request, struct err *err)
{
        switch (request->op) {
        case GUEST_OP_SYNC:
        case GUEST_OP_POWER_OFF:
                sync();
                return json_object();
        case GUEST_OP_SET_CLOCK:
                return agent_clock_shift(request->shift_ns, request->slew, err) < 0 ? NULL : json_object();
        case GUEST_OP_HEALTH:
                return agent_health();
        case GUEST_OP_STATS:
                return agent_stats();
        case GUEST_OP_PORTS:
                return agent_ports();
        case GUEST_OP_SYSTEM:
                return agent_system();
        case GUEST_OP_SESSIONS:
                return agent_sessions();
        case GUEST_OP_SESSION_KILL:
                return agent_session_kill(request, err) < 0 ? NULL : json_object();
        case GUEST_OP_EXEC:
        case GUEST_OP_TAR_IN:
        case GUEST_OP_TAR_OUT:
        case GUEST_OP_COPY_IN:
        case GUEST_OP_COPY_OUT:
        case GUEST_OP_DIAL:
        case GUEST_OP_LISTEN:
        case GUEST_OP_ATTACH:
        case GUEST_N_OPS:
                break;
        }
        (void) err_set(err, ENOSYS, "agent.serve", "not a request with one answer");
        return NULL;
}

static int serve_ask(int fd, const struct guest_request *request, struct err *err)
{
        json_t *json = ask(request, err);

        if (!json)
                return -err->code;
        (void) answer(fd, json);
        if (request->op == GUEST_OP_POWER_OFF)
                agent_power_off();
        return 0;
}

static bool is_tar(enum guest_op op)
{
        return op == GUEST_OP_TAR_IN || op == GUEST_OP_TAR_OUT || op == GUEST_OP_COPY_IN ||
               op == GUEST_OP_COPY_OUT;
}

static int serve_tar(int fd, const struct guest_request *request, struct err *err)
{
        json_t *counts = NULL;
        int r;

        if (request->op == GUEST_OP_COPY_OUT ? !request->argv : !request->path)
                return err_set(err, EINVAL, "agent.tar", "a tar request without a path");
        if (request->op == GUEST_OP_COPY_IN)
                r = agent_copy_in(fd, request, &counts, err);
        else if (request->op == GUEST_OP_COPY_OUT)
                r = agent_copy_out(fd, request, &counts, err);
        else if (request->op == GUEST_OP_TAR_IN)
                r = agent_tar_in(fd, request->path, err);
        else
                r = agent_tar_out(fd, request->path, err);
        if (r == 0)
                (void) answer(fd, counts ? counts : json_object());
        return r;
}

static int serve_forward(int fd, const struct guest_request *request, struct err *err)
{
        if (!request->path)
                return err_set(err, EINVAL, "agent.forward", "a request without an address");
        return request->op == GUEST_OP_DIAL ? agent_dial(fd, request->path, err)
                                            : agent_listen_for_host(fd, request->path, err);
}

/* All but exec. 1: the connection is another process's now. */
static int serve_request(int fd, const struct guest_request *request, struct err *err)
{
        if (is_tar(request->op))
                return serve_tar(fd, request, err);
        if (request->op == GUEST_OP_DIAL || request->op == GUEST_OP_LISTEN)
                return serve_forward(fd, request, err);
        if (request->op == GUEST_OP_ATTACH)
                return agent_attach(fd, request, err);
        return serve_ask(fd, request, err);
}

static int receive_request(int fd, struct guest_request *request, struct err *err)
{
        scoped_free uint8_t *body = NULL;
        struct guest_frame frame;
        int r = guest_frame_receive(fd, clock_monotonic_ms() + REQUEST_TIMEOUT_MS, &frame, &body);

        if (r < 0) {
                errno = -r;
                return err_errno(err, "agent.serve", "read a request");
        }
        if (frame.type != GUEST_FRAME_REQUEST)
                return err_set(err, EBADMSG, "agent.serve", "a call that does not begin with a request");
        return guest_request_decode(body, frame.n, request, err);
}

/*
 * Closing a connection with bytes unread may destroy what was sent before (a reset overtakes it in the VMM), and the
 * host may still be sending input: take it, until the host closes or the time is over.
 */
static void linger(int fd)
{
        uint64_t deadline_ms = clock_monotonic_ms() + LINGER_MS;
        char waste[4096];

        while (fd_read_until(fd, waste, sizeof(waste), deadline_ms) == 0)
                ;
}

void agent_serve(int fd, void (*on_started)(void *), void *context)
{
        scoped(guest_request_done) struct guest_request request = { 0 };
        struct err err = { 0 };
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGCHLD, SIG_DFL);
        r = receive_request(fd, &request, &err);
        if (r == 0 && request.op == GUEST_OP_EXEC) {
                (void) prctl(PR_SET_NAME, AGENT_SESSION_NAME);
                r = request.detach ? agent_keep(fd, &request, on_started, context, &err)
                                   : agent_exec(fd, &request, on_started, context, &err);
        } else if (r == 0) {
                if (on_started)
                        on_started(context);
                r = serve_request(fd, &request, &err);
        }
        if (r < 0) {
                agent_refuse(fd, &err);
                if (on_started) /* once more at worst, which means nothing new */
                        on_started(context);
        }
        if (r <= 0)
                linger(fd);
        if (request.op == GUEST_OP_EXEC)
                agent_hold_end();
}
