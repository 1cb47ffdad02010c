#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "unit.h"

static void a_missing_program_is_reported_by_name(void **state)
{
        const char *const argv[] = { "banger-no-such-program", NULL };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(spawn_run(argv, 0, 100, NULL, NULL, &err), -ENOENT);
        assert_non_null(strstr(err.message, "banger-no-such-program"));
}

static void status_and_the_last_line_of_what_it_said(void **state)
{
        const char *const argv[] = { "sh", "-c", "echo out; echo first >&2; echo last >&2; exit 3", NULL };
        scoped_free char *output = NULL;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(spawn_run(argv, 0, 100, &output, NULL, &err), 3);
        assert_string_equal(output, "out\n");
        assert_non_null(strstr(err.message, "last"));
        assert_null(strstr(err.message, "first"));
}

static void the_deadline_holds(void **state)
{
        static const char *const scripts[] = { "exec sleep 30", "exec sleep 30 >&- 2>&-" };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(scripts); i++) {
                const char *const argv[] = { "sh", "-c", scripts[i], NULL };
                uint64_t start = clock_monotonic_ms();
                struct err err = { 0 };

                assert_int_equal(spawn_run(argv, 100, 100, NULL, NULL, &err), -ETIMEDOUT);
                assert_true(clock_monotonic_ms() - start < 15000);
        }
}

static void output_is_capped(void **state)
{
        const char *const fits[] = { "printf", "%s", "12345", NULL };
        const char *const beyond[] = { "printf", "%s", "123456", NULL };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(spawn_run(fits, 0, 5, NULL, NULL, &err), 0);
        assert_int_equal(spawn_run(beyond, 0, 5, NULL, NULL, &err), -EFBIG);
}

static void only_kept_descriptors_reach_the_child(void **state)
{
        const char *const argv[] = { "sh", "-c", "test -e /proc/self/fd/$1 && ! test -e /proc/self/fd/$2",
                                     "sh", "70", "71",
                                     NULL };
        int keep = 70;
        struct spawn spawn = { .argv = argv,
                               .stdin_fd = FD_NONE,
                               .stdout_fd = FD_NONE,
                               .stderr_fd = FD_NONE,
                               .keep_fds = &keep,
                               .n_keep_fds = 1 };
        struct err err = { 0 };
        pid_t pid;

        (void) state;
        assert_int_equal(dup2(2, 70), 70);
        assert_int_equal(dup2(2, 71), 71);
        assert_int_equal(spawn_start(&spawn, &pid, NULL, &err), 0);
        assert_int_equal(spawn_wait(pid, &err), 0);
        assert_int_equal(close(70), 0);
        assert_int_equal(close(71), 0);
}

static void a_dropped_identity_is_whole(void **state)
{
        const char *const argv[] = { "sh", "-c", "test $(id -u):$(id -g):$(id -G) = 65534:65534:65534",
                                     NULL };
        struct spawn spawn = { .argv = argv,
                               .stdin_fd = FD_NONE,
                               .stdout_fd = FD_NONE,
                               .stderr_fd = FD_NONE,
                               .drop_to = true,
                               .uid = 65534,
                               .gid = 65534 };
        struct err err = { 0 };
        pid_t pid;

        (void) state;
        if (geteuid() != 0)
                skip();
        assert_int_equal(spawn_start(&spawn, &pid, NULL, &err), 0);
        assert_int_equal(spawn_wait(pid, &err), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_missing_program_is_reported_by_name),
                cmocka_unit_test(status_and_the_last_line_of_what_it_said),
                cmocka_unit_test(the_deadline_holds),
                cmocka_unit_test(output_is_capped),
                cmocka_unit_test(only_kept_descriptors_reach_the_child),
                cmocka_unit_test(a_dropped_identity_is_whole),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
