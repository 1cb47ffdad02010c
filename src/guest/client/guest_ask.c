/* Requests with one answer: sync, power off, clock, health, stats, ports. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_internal.h"

#define CLOCK_TIMEOUT_MS 5000

static int ask(int fd, const struct guest_request *request, uint64_t timeout_ms, json_t **ret_answer,
               struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
        scoped_free uint8_t *answer = NULL;
        scoped_text struct text body = { 0 };
        struct guest_frame frame;
        int r = guest_request_encode(request, &body, err);

        if (r < 0)
                return r;
        r = guest_frame_send(fd, GUEST_FRAME_REQUEST, body.s, body.n, deadline_ms);
        if (r == 0)
                r = guest_frame_receive(fd, deadline_ms, &frame, &answer);
        if (r == 0 && frame.type == GUEST_FRAME_ERROR)
                return guest_error_take(&frame, "guest.ask", err);
        if (r == 0 && frame.type != GUEST_FRAME_ANSWER)
                r = -EBADMSG;
        if (r < 0)
                return guest_transport_error(r, "guest.ask", "ask the guest's agent", err);
        if (!ret_answer)
                return 0;
        r = json_parse((const char *) answer, frame.n, "the guest's answer", ret_answer, err);
        if (r == 0 && !json_is_object(*ret_answer)) {
                json_decref(take_ptr(*ret_answer));
                return err_set(err, EBADMSG, "guest.ask", "the guest's answer is not an object");
        }
        return r;
}

int guest_sync(int fd, uint64_t timeout_ms, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_SYNC };

        return ask(fd, &request, timeout_ms, NULL, err);
}

int guest_power_off(int fd, uint64_t timeout_ms, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_POWER_OFF };

        return ask(fd, &request, timeout_ms, NULL, err);
}

int guest_set_clock(int fd, uint64_t real_ns, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_SET_CLOCK, .real_ns = real_ns };

        return ask(fd, &request, CLOCK_TIMEOUT_MS, NULL, err);
}

int guest_health(int fd, uint64_t timeout_ms, json_t **ret_health, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_HEALTH };

        return ask(fd, &request, timeout_ms, ret_health, err);
}

int guest_stats(int fd, uint64_t timeout_ms, json_t **ret_stats, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_STATS };

        return ask(fd, &request, timeout_ms, ret_stats, err);
}

int guest_ports(int fd, uint64_t timeout_ms, json_t **ret_ports, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_PORTS };

        return ask(fd, &request, timeout_ms, ret_ports, err);
}
