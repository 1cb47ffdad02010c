#include "guest/client/guest_forward.h"

#include <errno.h>

#include "base/clock.h"
#include "base/json.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_internal.h"
#include "guest/contract/guest_relay.h"

#define OP_FORWARD "guest.forward"
#define WHAT       "forward a connection"
#define ASK_MS     UINT64_C(20000) /* the guest gives a connect 10 s */

static int take_answer(const struct guest_frame *frame, const char *key, uint64_t max, unsigned *ret_value,
                       struct err *err)
{
        struct err ignored = { 0 };
        json_t *json = NULL;
        uint64_t value = UINT64_MAX;

        if (frame->type == GUEST_FRAME_ERROR)
                return guest_error_take(frame, OP_FORWARD, err);
        if (frame->type != GUEST_FRAME_ANSWER)
                return guest_transport_error(-EBADMSG, OP_FORWARD, WHAT, err);
        if (!key)
                return 0;
        if (json_parse((const char *) frame->body, frame->n, "the answer", &json, &ignored) == 0)
                value = json_u64(json, key, UINT64_MAX);
        json_decref(json);
        if (value > max)
                return guest_transport_error(-EBADMSG, OP_FORWARD, WHAT, err);
        *ret_value = (unsigned) value;
        return 0;
}

static int ask(int fd, const struct guest_request *request, const char *key, unsigned *ret_value,
               struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + ASK_MS;
        scoped_free uint8_t *answer = NULL;
        scoped_text struct text body = { 0 };
        struct guest_frame frame;
        int r = guest_request_encode(request, &body, err);

        if (r < 0)
                return r;
        r = guest_frame_send(fd, GUEST_FRAME_REQUEST, body.s, body.n, deadline_ms);
        if (r == 0)
                r = guest_frame_receive(fd, deadline_ms, &frame, &answer);
        if (r < 0)
                return guest_transport_error(r, OP_FORWARD, WHAT, err);
        return take_answer(&frame, key, UINT16_MAX, ret_value, err);
}

int guest_dial(int fd, const char *address, struct err *err)
{
        return ask(fd, &(struct guest_request){ .op = GUEST_OP_DIAL, .path = address }, NULL, NULL, err);
}

int guest_carry(int fd, int sock)
{
        return guest_relay(fd, sock);
}

int guest_listen(int fd, const char *address, struct guest_listener *ret_listener, struct err *err)
{
        guest_channel_init(&ret_listener->channel, fd);
        return ask(fd, &(struct guest_request){ .op = GUEST_OP_LISTEN, .path = address }, "port",
                   &ret_listener->port, err);
}

int guest_listener_next(struct guest_listener *listener, unsigned *ret_port, struct err *err)
{
        struct guest_frame frame;
        int r = guest_channel_next(&listener->channel, &frame);

        if (r == 0) {
                r = guest_channel_read(&listener->channel);
                if (r == -EAGAIN)
                        return 0;
                if (r == 0)
                        r = guest_channel_next(&listener->channel, &frame);
        }
        if (r < 0)
                return guest_transport_error(r, OP_FORWARD, "listen in the guest", err);
        if (r == 0)
                return 0;
        r = take_answer(&frame, "accept", UINT32_MAX, ret_port, err);
        return r < 0 ? r : 1;
}

void guest_listener_done(struct guest_listener *listener)
{
        guest_channel_done(&listener->channel);
}
