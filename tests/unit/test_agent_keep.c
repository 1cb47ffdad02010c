/* The keeper of a detached command, between the command's session and those that wait for its end. */
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/agent_keeper.h"
#include "unit.h"

#define WAIT_MS 2000
#define ROUNDS  5000 /* a hundred are enough to see it */

/* A keeper whose session is the other end of *ret_session, with one host at *ret_host, which waits for the end alone or is attached. */
static void keeper_begin(struct keeper *keeper, bool waits, int *ret_session, int *ret_host)
{
        int session[2], host[2];

        assert_int_equal(fd_unix_pair(session), 0);
        assert_int_equal(fd_unix_pair(host), 0);
        *keeper = (struct keeper){ .listener = FD_NONE };
        for (size_t i = 0; i < KEEPER_READERS; i++)
                keeper->readers[i].channel.fd = FD_NONE;
        guest_channel_init(&keeper->session, session[0]);
        reader_begin(keeper, host[0], waits);
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
        keeper_begin(&keeper, true, &session, &host);
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

/* Takes little at a time, so that the connection is now full and now not. */
static pid_t drain(int fd)
{
        uint8_t waste[512];
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid > 0)
                return pid;
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (read(fd, waste, sizeof(waste)) > 0)
                ;
        _exit(0);
}

static void a_reader_with_credit_is_never_left_behind(void **state)
{
        uint8_t record[1024];
        struct keeper keeper;
        struct reader *reader = &keeper.readers[0];
        int session, host;
        pid_t pid;

        (void) state;
        keeper_begin(&keeper, false, &session, &host);
        memset(record, 'x', sizeof(record));
        for (int i = 0; i < 512; i++)
                ring_put(&keeper.ring, GUEST_STREAM_STDOUT, record, sizeof(record));
        pid = drain(host);
        for (int i = 0; i < ROUNDS; i++) {
                reader->at = keeper.ring.tail;
                reader->credit[GUEST_STREAM_STDOUT] = GUEST_WINDOW;
                keeper_settle(&keeper);
                /* either the connection's room wakes the keeper, or there was not the credit for one record more */
                assert_true(guest_channel_has_output(&reader->channel) ||
                            reader->credit[GUEST_STREAM_STDOUT] < sizeof(record));
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        keeper_done(&keeper, host);
        (void) close(session);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_reader_with_credit_is_never_left_behind),
                cmocka_unit_test(an_end_that_shows_when_credit_is_given_is_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
