#include "guest/client/guest_call.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/client/guest_internal.h"
#include "guest/client/guest_report.h"

#define OP          "guest.call"
#define OK_LINE_MAX 32

enum stage {
        STAGE_CONNECT, /* saying CONNECT */
        STAGE_OK,      /* waiting for OK */
        STAGE_ASK,     /* saying the request */
        STAGE_HEADER,
        STAGE_BODY,
        STAGE_ANSWERED,
};

struct guest_call {
        int fd; /* owned */
        enum guest_question question;
        enum stage stage;
        struct text out;
        size_t n_sent;
        char in[OK_LINE_MAX]; /* the line of OK, then the header of the answer */
        size_t n_in;
        uint8_t *body; /* owned */
        size_t n_body;
        struct guest_frame frame;
        int64_t shift_ns;
        bool slew;
        uint64_t sent_ns, answered_ns;
};

static const enum guest_op ops[] = {
        [GUEST_ASK_HEALTH] = GUEST_OP_HEALTH,         [GUEST_ASK_STATS] = GUEST_OP_STATS,
        [GUEST_ASK_PORTS] = GUEST_OP_PORTS,           [GUEST_ASK_SYSTEM] = GUEST_OP_SYSTEM,
        [GUEST_ASK_SHIFT_CLOCK] = GUEST_OP_SET_CLOCK,
};

struct guest_call *guest_call_new(int owned_fd, enum guest_question question, int64_t shift_ns, bool slew)
{
        struct guest_call *call = xcalloc(1, sizeof(*call));

        *call = (struct guest_call){
                .fd = owned_fd, .question = question, .shift_ns = shift_ns, .slew = slew
        };
        text_appendf(&call->out, "CONNECT %u\n", GUEST_AGENT_PORT); /* Firecracker docs/vsock.md */
        return call;
}

void guest_call_free(struct guest_call *call)
{
        if (!call)
                return;
        close_at_scope_end(&call->fd);
        text_done(&call->out);
        free(call->body);
        free(call);
}

int guest_call_fd(const struct guest_call *call)
{
        return call->fd;
}

short guest_call_events(const struct guest_call *call)
{
        return call->stage == STAGE_CONNECT || call->stage == STAGE_ASK ? POLLOUT : POLLIN;
}

void guest_call_times(const struct guest_call *call, uint64_t *ret_sent_ns, uint64_t *ret_answered_ns)
{
        *ret_sent_ns = call->sent_ns;
        *ret_answered_ns = call->answered_ns;
}

/* 1: all is sent, 0: the rest must wait, -errno. */
static int send_out(struct guest_call *call)
{
        while (call->n_sent < call->out.n) {
                ssize_t n = send(call->fd, call->out.s + call->n_sent, call->out.n - call->n_sent,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -errno;
                call->n_sent += (size_t) n;
        }
        return 1;
}

/* 1: buffer holds n bytes, 0: the rest must come, -errno. */
static int receive(struct guest_call *call, void *buffer, size_t n, size_t *n_have)
{
        while (*n_have < n) {
                ssize_t got = recv(call->fd, (char *) buffer + *n_have, n - *n_have, MSG_DONTWAIT);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return errno == EAGAIN ? 0 : -errno;
                if (got == 0)
                        return -ENODATA;
                *n_have += (size_t) got;
        }
        return 1;
}

/* Byte by byte: what follows the line belongs to the protocol. */
static int receive_ok(struct guest_call *call)
{
        while (call->n_in < sizeof(call->in)) {
                int r = receive(call, call->in, call->n_in + 1, &call->n_in);

                if (r <= 0)
                        return r == -ENODATA || r == -ECONNRESET ? -ECONNREFUSED : r;
                if (call->in[call->n_in - 1] == '\n')
                        return call->n_in > 4 && memcmp(call->in, "OK ", 3) == 0 ? 1 : -EBADMSG;
        }
        return -EBADMSG;
}

static int compose(struct guest_call *call, struct err *err)
{
        const struct guest_request request = { .op = ops[call->question],
                                               .shift_ns = call->shift_ns,
                                               .slew = call->slew };
        scoped_text struct text body = { 0 };
        uint8_t header[GUEST_FRAME_HEADER];
        int r = guest_request_encode(&request, &body, err);

        if (r < 0)
                return r;
        guest_frame_pack(header, GUEST_FRAME_REQUEST, (uint32_t) body.n);
        text_done(&call->out);
        text_append_bytes(&call->out, header, sizeof(header));
        text_append_bytes(&call->out, body.s, body.n);
        call->n_sent = 0;
        call->n_in = 0;
        call->sent_ns = clock_real_ns();
        return 1;
}

static int take_header(struct guest_call *call)
{
        int r = receive(call, call->in, GUEST_FRAME_HEADER, &call->n_in);

        if (r <= 0)
                return r;
        r = guest_frame_unpack((const uint8_t *) call->in, &call->frame);
        if (r < 0)
                return r;
        if (call->frame.n > GUEST_CALL_ANSWER_MAX ||
            (call->frame.type != GUEST_FRAME_ANSWER && call->frame.type != GUEST_FRAME_ERROR))
                return -EBADMSG;
        call->body = xcalloc(1, (size_t) call->frame.n + 1);
        call->frame.body = call->body;
        return 1;
}

static int step(struct guest_call *call, struct err *err)
{
        switch (call->stage) {
        case STAGE_CONNECT:
        case STAGE_ASK:
                return send_out(call);
        case STAGE_OK: {
                int r = receive_ok(call);

                return r == 1 ? compose(call, err) : r;
        }
        case STAGE_HEADER:
                return take_header(call);
        case STAGE_BODY:
                return receive(call, call->body, call->frame.n, &call->n_body);
        case STAGE_ANSWERED:
                break;
        }
        return 0;
}

int guest_call_run(struct guest_call *call, struct err *err)
{
        while (call->stage != STAGE_ANSWERED) {
                int r = step(call, err);

                if (r == 0)
                        return 0;
                if (err->code != 0)
                        return -err->code;
                if (r == -ECONNREFUSED)
                        return err_set(err, ECONNREFUSED, OP, "the guest's agent does not take calls");
                if (r < 0)
                        return guest_transport_error(r, OP, "ask the guest's agent", err);
                call->stage++;
        }
        call->answered_ns = clock_real_ns();
        return call->frame.type == GUEST_FRAME_ERROR ? guest_error_take(&call->frame, OP, err) : 1;
}

int guest_call_take(struct guest_call *call, json_t **ret_answer, struct err *err)
{
        json_auto_t *raw = NULL;
        int r = json_parse((const char *) call->body, call->frame.n, "the guest's answer", &raw, err);

        if (r < 0)
                return r;
        *ret_answer = guest_report_check(call->question, raw);
        return *ret_answer ? 0 : err_set(err, EBADMSG, OP, "the guest's answer is not an object");
}
