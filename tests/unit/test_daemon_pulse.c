#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "daemon/daemon_logs.h"
#include "daemon/daemon_stale.h"
#include "daemon/daemon_watch.h"
#include "unit.h"

#define SECOND UINT64_C(1000000000)

/* ---- a host that sleeps ---- */

static uint64_t boot_ns, monotonic_ns;

static uint64_t read_boot(void)
{
        return boot_ns;
}

static uint64_t read_monotonic(void)
{
        return monotonic_ns;
}

static const struct daemon_clock_source simulated = { .boot_ns = read_boot, .monotonic_ns = read_monotonic };

static void be_awake(uint64_t ns)
{
        boot_ns += ns;
        monotonic_ns += ns;
}

static void a_sleep_of_the_host_is_seen_once(void **state)
{
        struct daemon_clock_watch watch;
        uint64_t slept_ns = 0;

        (void) state;
        boot_ns = 5000 * SECOND; /* it slept before, which is nothing new */
        monotonic_ns = 1000 * SECOND;
        daemon_clock_watch_init(&watch, &simulated);
        be_awake(3600 * SECOND);
        assert_false(daemon_clock_watch_slept(&watch, &slept_ns));
        boot_ns += 7 * SECOND;
        assert_true(daemon_clock_watch_slept(&watch, &slept_ns));
        assert_true(slept_ns == 7 * SECOND);
        assert_false(daemon_clock_watch_slept(&watch, &slept_ns));
        be_awake(SECOND);
        boot_ns += SECOND;
        assert_true(daemon_clock_watch_slept(&watch, &slept_ns));
        assert_true(slept_ns == SECOND);
}

static void reading_two_clocks_one_after_the_other_is_no_sleep(void **state)
{
        struct daemon_clock_watch watch;
        uint64_t slept_ns;

        (void) state;
        boot_ns = monotonic_ns = 1000 * SECOND;
        daemon_clock_watch_init(&watch, &simulated);
        boot_ns += 100000; /* preempted in between */
        assert_false(daemon_clock_watch_slept(&watch, &slept_ns));
        monotonic_ns = boot_ns + 5; /* the order in which they are read may make it less than nothing */
        assert_false(daemon_clock_watch_slept(&watch, &slept_ns));
}

/* ---- idleness ---- */

static void a_vm_is_stale_when_nothing_used_it_for_long_enough(void **state)
{
        static const struct {
                struct daemon_stale_sample sample;
                bool is_stale;
        } steps[] = {
                {{ .now_ms = 10000, .cpu_ms = 400 },                     false}, /* idle, 10 s */
                { { .now_ms = 20000, .cpu_ms = 2401 },                   false}, /* a fifth of a processor and more */
                { { .now_ms = 30000, .cpu_ms = 2800, .sessions = 1 },    false},
                { { .now_ms = 40000, .cpu_ms = 3200, .connections = 1 }, false},
                { { .now_ms = 50000, .cpu_ms = 5200 },                   false}, /* a fifth exactly is idle */
                { { .now_ms = 69999, .cpu_ms = 5300 },                   false},
                { { .now_ms = 70000, .cpu_ms = 5300 },                   true }, /* 30 s after the last connection */
        };
        struct daemon_guard guard = { 0 };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(steps); i++)
                assert_int_equal(daemon_stale_take(&guard, &steps[i].sample, 30000), steps[i].is_stale);
        assert_false(
                daemon_stale_take(&guard, &(struct daemon_stale_sample){ .now_ms = 9000000 }, 0)); /* off */
}

/* ---- logs ---- */

static void a_log_gives_back_its_front_and_keeps_its_end(void **state)
{
        char path[] = "/var/tmp/log-XXXXXX", block[4096], end[4];
        int fd = mkstemp(path);
        struct stat st;

        (void) state;
        assert_true(fd >= 0);
        (void) unlink(path);
        memset(block, 'x', sizeof(block));
        for (int i = 0; i < 64; i++)
                assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
        assert_int_equal(write(fd, "end", 3), 3);
        (void) fsync(fd);
        assert_int_equal(daemon_log_bound(fd, 1 << 20, 8192), 0); /* below the maximum */
        assert_int_equal(fstat(fd, &st), 0);
        assert_true(st.st_blocks * 512 >= 64 * 4096);

        assert_int_equal(daemon_log_bound(fd, 128 * 1024, 8192), 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 64 * 4096 + 3); /* whoever writes at his place goes on there */
        assert_true(st.st_blocks * 512 <= 16 * 1024);
        assert_int_equal(pread(fd, end, 3, st.st_size - 3), 3);
        assert_memory_equal(end, "end", 3);
        assert_int_equal(lseek(fd, 0, SEEK_DATA), 62 * 4096);
        (void) close(fd);
}

static void the_place_of_a_time_is_found_and_rather_too_early(void **state)
{
        struct daemon_guard guard = {
                .console = {.marks = { { 100, 0 }, { 200, 50 }, { 300, 80 } }, .n = 3}
        };
        static const struct {
                uint64_t since, place;
        } places[] = {
                {99,   0 },
                { 100, 0 },
                { 199, 0 },
                { 200, 50},
                { 299, 50},
                { 999, 80},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(places); i++)
                assert_int_equal(daemon_logs_place(&guard, places[i].since), places[i].place);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_sleep_of_the_host_is_seen_once),
                cmocka_unit_test(reading_two_clocks_one_after_the_other_is_no_sleep),
                cmocka_unit_test(a_vm_is_stale_when_nothing_used_it_for_long_enough),
                cmocka_unit_test(a_log_gives_back_its_front_and_keeps_its_end),
                cmocka_unit_test(the_place_of_a_time_is_found_and_rather_too_early),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
