/* The keeper of a detached command, between the command's session and those that wait for its end. */
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/agent_keeper.h"
#include "unit.h"

#define WAIT_MS 2000

/* A keeper whose session is the other end of *ret_session, with one host that waits for the end at *ret_host. */
static void keeper_begin(struct keeper *keeper, int *ret_session, int *ret_host)
{
        int session[2], host[2];

        assert_int_equal(fd_unix_pair(session), 0);
        assert_int_equal(fd_unix_pair(host), 0);
        *keeper = (struct keeper){ .listener = FD_NONE };
        for (size_t i = 0; i < KEEPER_READERS; i++)
                keeper->readers[i].channel.fd = FD_NONE;
        guest_channel_init(&keeper->session, session[0]);
        reader_begin(keeper, host[0], true);
        *ret_session = session[1];
        *ret_host = host[1];
}

static void keeper_done(struct keeper *keeper, int host)
{
        for (size_t i = 0; i < KEEPER_READERS; i++)
                if (keeper->readers[i].channel.fd >= 0)
                        reader_end(&keeper->readers[i]);
        ring_done(&keeper->ring);
        (void) close(host);
}

static void assert_next_frame(int host, enum guest_frame_type type, uint8_t second)
{
        scoped_free uint8_t *body = NULL;
        struct guest_frame frame;

        assert_int_equal(guest_frame_receive(host, clock_monotonic_ms() + WAIT_MS, &frame, &body), 0);
        assert_int_equal(frame.type, type);
        if (type == GUEST_FRAME_EXIT)
                assert_int_equal(body[1], second);
}

static void an_end_that_shows_when_credit_is_given_is_told(void **state)
{
        static const uint8_t end[] = { GUEST_END_EXITED, 7 };
        struct keeper keeper;
        int session, host;

        (void) state;
        keeper_begin(&keeper, &session, &host);
        keeper_settle(&keeper);
        assert_next_frame(host, GUEST_FRAME_ANSWER, 0);
        /* the session says its last word and goes just after it was listened to */
        assert_int_equal(
                guest_frame_send(session, GUEST_FRAME_EXIT, end, sizeof(end), clock_monotonic_ms() + WAIT_MS),
                0);
        (void) close(session);
        keeper.owed[GUEST_STREAM_STDOUT] = GUEST_WINDOW / 2;
        keeper_settle(&keeper);
        assert_true(keeper.ended);
        assert_next_frame(host, GUEST_FRAME_EXIT, 7);
        keeper_done(&keeper, host);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_end_that_shows_when_credit_is_given_is_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
