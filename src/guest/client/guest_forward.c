#include "guest/client/guest_forward.h"

#include <errno.h>

#include "base/json.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_internal.h"
#include "guest/contract/guest_relay.h"

#define OP_FORWARD "guest.forward"
#define WHAT       "forward a connection"
#define ASK_MS     UINT64_C(20000) /* the guest gives a connect 10 s */

/* A number of the guest's answer, which is 0 to max or no answer of ours. */
static int take_number(const json_t *answer, const char *key, uint64_t max, unsigned *ret_value,
                       struct err *err)
{
        uint64_t value = json_u64(answer, key, UINT64_MAX);

        if (value > max)
                return guest_transport_error(-EBADMSG, OP_FORWARD, WHAT, err);
        *ret_value = (unsigned) value;
        return 0;
}

int guest_dial(int fd, const char *address, struct err *err)
{
        const struct guest_request request = { .op = GUEST_OP_DIAL, .path = address };

        return guest_ask(fd, &request, ASK_MS, NULL, err);
}

int guest_carry(int fd, int sock)
{
        return guest_relay(fd, sock);
}

int guest_listen(int fd, const char *address, struct guest_listener *ret_listener, struct err *err)
{
        const struct guest_request request = { .op = GUEST_OP_LISTEN, .path = address };
        json_auto_t *answer = NULL;
        int r;

        guest_channel_init(&ret_listener->channel, fd);
        r = guest_ask(fd, &request, ASK_MS, &answer, err);
        return r < 0 ? r : take_number(answer, "port", UINT16_MAX, &ret_listener->port, err);
}

static int take_accepted(const struct guest_frame *frame, unsigned *ret_port, struct err *err)
{
        json_auto_t *json = NULL;
        int r;

        if (frame->type == GUEST_FRAME_ERROR)
                return guest_error_take(frame, OP_FORWARD, err);
        if (frame->type != GUEST_FRAME_ANSWER)
                return guest_transport_error(-EBADMSG, OP_FORWARD, WHAT, err);
        r = json_parse((const char *) frame->body, frame->n, "the guest's answer", &json, err);
        return r < 0 ? r : take_number(json, "accept", UINT32_MAX, ret_port, err);
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
        r = take_accepted(&frame, ret_port, err);
        return r < 0 ? r : 1;
}

void guest_listener_done(struct guest_listener *listener)
{
        guest_channel_done(&listener->channel);
}
