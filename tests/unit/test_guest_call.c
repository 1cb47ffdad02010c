#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/client/guest_call.h"
#include "guest/client/guest_clock.h"
#include "guest/client/guest_report.h"
#include "guest/contract/guest_frame.h"
#include "unit.h"

#define MS INT64_C(1000000)

/* ---- the call ---- */

static void say(int fd, const char *bytes, size_t n)
{
        assert_int_equal(fd_write_full(fd, bytes, n), 0);
}

static void hear(int fd, const char *wanted)
{
        char heard[64];

        assert_int_equal(fd_read_full(fd, heard, strlen(wanted)), 0);
        assert_memory_equal(heard, wanted, strlen(wanted));
}

/* Up to the request having been sent; *ret_guest is the far end. */
static struct guest_call *begin(int *ret_guest)
{
        struct guest_call *call;
        struct err err = { 0 };
        uint8_t header[GUEST_FRAME_HEADER], waste[4096];
        struct guest_frame frame;
        int fds[2];

        assert_int_equal(fd_unix_pair(fds), 0);
        call = guest_call_new(fds[0], GUEST_ASK_HEALTH, 0, false);
        assert_int_equal(guest_call_events(call), POLLOUT);
        assert_int_equal(guest_call_run(call, &err), 0);
        hear(fds[1], "CONNECT 42070\n");
        assert_int_equal(guest_call_events(call), POLLIN);
        say(fds[1], "OK 10", 5); /* in two parts */
        assert_int_equal(guest_call_run(call, &err), 0);
        say(fds[1], "73\n", 3);
        assert_int_equal(guest_call_run(call, &err), 0);
        assert_int_equal(fd_read_full(fds[1], header, sizeof(header)), 0);
        assert_int_equal(guest_frame_unpack(header, &frame), 0);
        assert_int_equal(frame.type, GUEST_FRAME_REQUEST);
        assert_int_equal(fd_read_full(fds[1], waste, frame.n), 0);
        *ret_guest = fds[1];
        return call;
}

static void an_answer_in_pieces_is_put_together(void **state)
{
        int guest = FD_NONE;
        struct guest_call *call = begin(&guest);
        struct err err = { 0 };
        uint64_t sent_ns, answered_ns;
        json_t *json = NULL;

        (void) state;
        say(guest, "\5\0\0\0\x0f\0\0\0{\"sess", 14);
        assert_int_equal(guest_call_run(call, &err), 0);
        say(guest, "ions\":12}", 9);
        assert_int_equal(guest_call_run(call, &err), 1);
        assert_int_equal(guest_call_take(call, &json, &err), 0);
        assert_int_equal(json_u64(json, "sessions", 0), 12);
        guest_call_times(call, &sent_ns, &answered_ns);
        assert_true(sent_ns > 0 && answered_ns >= sent_ns);
        json_decref(json);
        guest_call_free(call);
        (void) close(guest);
}

static void guests_that_break_the_rules_are_refused(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
                int code;
        } broken[] = {
                {"\5\0\0\0\xff\xff\xff\xff", 8,  EBADMSG   }, /* 4 GiB */
                { "\5\0\0\0\1\0\x08\0",      8,
                 EBADMSG                                   }, /* more than an answer to us may have, less than a frame */
                { "\x09\0\0\0\2\0\0\0ab",    10, EBADMSG   }, /* output */
                { "\6\0\0\0\2\0\0\0{}",      10, EIO       }, /* an error without a reason */
                { "",                        0,  ECONNRESET}, /* the end */
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(broken); i++) {
                int guest = FD_NONE;
                struct guest_call *call = begin(&guest);
                struct err err = { 0 };

                say(guest, broken[i].bytes, broken[i].n);
                (void) shutdown(guest, SHUT_WR);
                assert_int_equal(guest_call_run(call, &err), -broken[i].code);
                guest_call_free(call);
                (void) close(guest);
        }
}

static void an_agent_that_takes_no_calls_and_a_vmm_that_babbles_are_told_apart(void **state)
{
        static const struct {
                const char *line;
                int code;
        } lines[] = {
                {"",                                                    ECONNREFUSED},
                { "OK \n",                                              EBADMSG     },
                { "NO 1073\n",                                          EBADMSG     },
                { "OK 10000000000000000000000000000000000000000000000", EBADMSG     },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(lines); i++) {
                struct guest_call *call;
                struct err err = { 0 };
                int fds[2];

                assert_int_equal(fd_unix_pair(fds), 0);
                call = guest_call_new(fds[0], GUEST_ASK_STATS, 0, false);
                say(fds[1], lines[i].line, strlen(lines[i].line));
                (void) shutdown(fds[1], SHUT_WR);
                assert_int_equal(guest_call_run(call, &err), -lines[i].code);
                guest_call_free(call);
                (void) close(fds[1]);
        }
}

/* ---- what is let through ---- */

static char *checked(enum guest_question question, const char *raw)
{
        struct err err = { 0 };
        json_auto_t *json = NULL, *report = NULL;

        assert_int_equal(json_parse(raw, strlen(raw), "a test", &json, &err), 0);
        report = guest_report_check(question, json);
        return report ? json_dumps(report, JSON_COMPACT | JSON_SORT_KEYS) : xstrdup("");
}

/* clang-format 14 dies of this table */
/* clang-format off */
static const struct {
        enum guest_question question;
        const char *raw, *report;
} reports[] = {
        {GUEST_ASK_HEALTH,  "{\"sessions\":3,\"evil\":[1],\"version\":\"v1\"}",                "{\"sessions\":3,\"version\":\"v1\"}"},
        { GUEST_ASK_HEALTH, "{\"sessions\":-1,\"uptime_s\":-2.5,\"ntp\":1}",                   "{}"},
        { GUEST_ASK_HEALTH, "{\"sessions\":1e3,\"connections\":9223372036854775807}",          "{}"},
        { GUEST_ASK_HEALTH, "{\"version\":\"a\\u001b[31m\\u00e9\"}",                           "{\"version\":\"a?[31m\?\?\"}"},
        { GUEST_ASK_HEALTH, "[]",                                                              ""},
        { GUEST_ASK_STATS,  "{\"memory\":7,\"cpu\":{\"load\":[1,2]}}",                         "{\"cpu\":{}}"},
        { GUEST_ASK_STATS,  "{\"io\":{\"vd\\na\":{\"read_bytes\":5,\"x\":6},\"b\":3}}",        "{\"io\":{\"vd?a\":{\"read_bytes\":5}}}"},
        { GUEST_ASK_STATS,  "{\"pressure\":{\"cpu\":{\"some\":1.5},\"gpu\":{\"some\":1}}}",    "{\"pressure\":{\"cpu\":{\"some\":1.5}}}"},
        { GUEST_ASK_SYSTEM, "{\"system\":\"running\",\"disks\":{\"/\":{\"free_bytes\":1}}}",
        "{\"disks\":{\"/\":{\"free_bytes\":1}},\"system\":\"running\"}"},
        { GUEST_ASK_PORTS,
        "{\"listeners\":[{\"protocol\":\"tcp\",\"address\":\"0.0.0.0\",\"port\":80,\"pid\":1,\"process\":\"a\\u0007\"},"
        "{\"protocol\":\"tcp\",\"address\":\"evil.example\",\"port\":80},"
        "{\"protocol\":\"icmp\",\"address\":\"::\",\"port\":80},"
        "{\"protocol\":\"udp\",\"address\":\"::\",\"port\":65536},7]}",
        "{\"listeners\":[{\"address\":\"0.0.0.0\",\"pid\":1,\"port\":80,\"process\":\"a?\",\"protocol\":\"tcp\"}]}"},
};
/* clang-format on */

static void only_what_is_known_and_possible_is_let_through(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(reports); i++) {
                scoped_free char *report = checked(reports[i].question, reports[i].raw);

                assert_string_equal(report, reports[i].report);
        }
}

static void the_number_of_names_is_bounded(void **state)
{
        scoped_text struct text raw = { 0 };
        scoped_free char *report = NULL;
        struct err err = { 0 };
        json_auto_t *json = NULL;

        (void) state;
        text_append(&raw, "{\"network\":{");
        for (int i = 0; i < GUEST_REPORT_NAMES_MAX + 10; i++)
                text_appendf(&raw, "%s\"eth%d\":{}", i > 0 ? "," : "", i);
        text_append(&raw, "}}");
        report = checked(GUEST_ASK_STATS, raw.s);
        assert_int_equal(json_parse(report, strlen(report), "a test", &json, &err), 0);
        assert_int_equal(json_object_size(json_object_get(json, "network")), GUEST_REPORT_NAMES_MAX);
}

/* ---- the clock ---- */

static void a_clock_is_compared_with_the_middle_of_the_round_trip(void **state)
{
        json_auto_t *health = json_pack("{s:I, s:b}", "real_ns", (json_int_t) (2000000 * MS), "ntp", 1);
        struct guest_clock clock;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(
                guest_clock_of(health, (uint64_t) (1999000 * MS), (uint64_t) (1999010 * MS), &clock, &err),
                0);
        assert_true(clock.offset_ns == 995 * MS);
        assert_true(clock.uncertainty_ns == (uint64_t) (5 * MS));
        assert_true(clock.ntp);
        assert_int_equal(guest_clock_of(NULL, 1, 2, &clock, &err), -EBADMSG);
        err = (struct err){ 0 };
        (void) json_object_set_new(health, "real_ns", json_integer(INT64_MAX));
        assert_int_equal(guest_clock_of(health, 1, 2, &clock, &err), -EBADMSG);
}

static void clocks_are_left_slewed_or_stepped(void **state)
{
        enum {
                LEAVE,
                SLEW,
                STEP
        };
        static const struct {
                int64_t offset_ms, uncertainty_ms;
                bool ntp, after_gap;
                int verdict;
        } verdicts[] = {
                {0,         1,  false, false, LEAVE},
                { 6,        1,  false, false, LEAVE}, /* at the limit: 5 and the uncertainty */
                { 7,        1,  false, false, SLEW },
                { -7,       1,  false, false, SLEW },
                { 40,       50, false, false, LEAVE}, /* nobody can know */
                { 50,       1,  false, false, SLEW },
                { 51,       1,  false, false, STEP },
                { -3600000, 1,  false, false, STEP },
                { 51,       1,  true,  false, LEAVE}, /* the guest keeps it */
                { 7,        1,  false, true,  STEP }, /* at once */
                { -5000,    1,  true,  true,  STEP },
                { 4,        1,  true,  true,  LEAVE},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(verdicts); i++) {
                const struct guest_clock clock = { .offset_ns = verdicts[i].offset_ms * MS,
                                                   .uncertainty_ns =
                                                           (uint64_t) (verdicts[i].uncertainty_ms * MS),
                                                   .ntp = verdicts[i].ntp };
                int64_t shift_ns = 0;
                bool slew = false,
                     corrects = guest_clock_correction(&clock, verdicts[i].after_gap, &shift_ns, &slew);

                assert_int_equal(!corrects ? LEAVE : slew ? SLEW : STEP, verdicts[i].verdict);
                if (corrects)
                        assert_true(shift_ns == -clock.offset_ns);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_answer_in_pieces_is_put_together),
                cmocka_unit_test(guests_that_break_the_rules_are_refused),
                cmocka_unit_test(an_agent_that_takes_no_calls_and_a_vmm_that_babbles_are_told_apart),
                cmocka_unit_test(only_what_is_known_and_possible_is_let_through),
                cmocka_unit_test(the_number_of_names_is_bounded),
                cmocka_unit_test(a_clock_is_compared_with_the_middle_of_the_round_trip),
                cmocka_unit_test(clocks_are_left_slewed_or_stepped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
