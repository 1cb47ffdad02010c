/* Requests with one answer: sync, power off, clock, health, stats, ports. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_internal.h"

#define CLOCK_TIMEOUT_MS   5000
#define SESSION_TIMEOUT_MS 30000

int guest_ask(int fd, const struct guest_request *request, uint64_t timeout_ms, json_t **ret_answer,
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

        return guest_ask(fd, &request, timeout_ms, NULL, err);
}

int guest_power_off(int fd, uint64_t timeout_ms, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_POWER_OFF };

        return guest_ask(fd, &request, timeout_ms, NULL, err);
}

int guest_shift_clock(int fd, int64_t shift_ns, bool slew, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_SET_CLOCK, .shift_ns = shift_ns, .slew = slew };

        return guest_ask(fd, &request, CLOCK_TIMEOUT_MS, NULL, err);
}

int guest_health(int fd, uint64_t timeout_ms, json_t **ret_health, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_HEALTH };

        return guest_ask(fd, &request, timeout_ms, ret_health, err);
}

int guest_stats(int fd, uint64_t timeout_ms, json_t **ret_stats, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_STATS };

        return guest_ask(fd, &request, timeout_ms, ret_stats, err);
}

int guest_ports(int fd, uint64_t timeout_ms, json_t **ret_ports, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_PORTS };

        return guest_ask(fd, &request, timeout_ms, ret_ports, err);
}

int guest_sessions(int fd, json_t **ret_sessions, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_SESSIONS };

        return guest_ask(fd, &request, SESSION_TIMEOUT_MS, ret_sessions, err);
}

int guest_session_kill(int fd, const char *id, int signal, struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_SESSION_KILL,
                                         .path = id,
                                         .signal = (uint8_t) signal };

        return guest_ask(fd, &request, SESSION_TIMEOUT_MS, NULL, err);
}

/* An id goes into messages and onto command lines: it is what ids are, or the guest does not keep to the protocol. */
int guest_exec_detached(int fd, const struct guest_exec *exec, char ret_id[GUEST_ID_MAX], struct err *err)
{
        struct guest_request request = { .op = GUEST_OP_EXEC,
                                         .detach = true,
                                         .login_shell = exec->login_shell,
                                         .timeout_ms = exec->timeout_ms,
                                         .user = exec->user,
                                         .path = exec->folder,
                                         .argv = exec->argv,
                                         .env = exec->env };
        json_auto_t *answer = NULL;
        const char *id;
        int r = guest_ask(fd, &request, SESSION_TIMEOUT_MS, &answer, err);

        if (r < 0)
                return r;
        id = json_text(answer, "id");
        if (!*id || strlen(id) >= GUEST_ID_MAX || strspn(id, "0123456789abcdef") != strlen(id))
                return guest_transport_error(-EBADMSG, "guest.exec", "start a command in the guest", err);
        memcpy(ret_id, id, strlen(id) + 1);
        return 0;
}
