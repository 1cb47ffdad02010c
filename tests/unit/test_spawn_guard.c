#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/scoped.h"
#include "base/spawn_guard.h"
#include "unit.h"

#define SOON_MS 10000 /* on a busy machine */

/* One that stays, and one that has left its group and session: both write nothing, and hold their output until they end. */
#define FAMILY "trap '' TERM HUP; setsid sleep 300 & echo up; sleep 300; :"

static int make_file(void **state)
{
        static char path[] = "/tmp/banger-guard-XXXXXX";
        int fd = mkostemp(path, O_CLOEXEC);

        *state = path;
        return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
        return unlink(*state);
}

static const struct spawn silent = { .stdin_fd = FD_NONE, .stdout_fd = FD_NONE, .stderr_fd = FD_NONE };

static int start_shell(const char *script, int stdout_fd, int held_fd, struct spawn_guard *ret_guard,
                       struct err *err)
{
        const char *const argv[] = { "sh", "-c", script, NULL };
        struct spawn spawn = silent;

        spawn.argv = argv;
        spawn.stdout_fd = stdout_fd;
        return spawn_guard_start(&spawn, held_fd, ret_guard, err);
}

static void the_status_comes_through(void **state)
{
        static const struct {
                const char *script;
                int status;
        } cases[] = {
                {"exit 0",       0            },
                { "exit 7",      7            },
                { "kill -9 $$",  128 + SIGKILL},
                { "sleep 300 &", 0            }, /* nobody waits for what it left */
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct spawn_guard guard = SPAWN_GUARD_NONE;
                struct err err = { 0 };

                assert_int_equal(start_shell(cases[i].script, FD_NONE, FD_NONE, &guard, &err), 0);
                assert_int_equal(fd_wait(guard.pidfd, POLLIN, SOON_MS), 0);
                assert_int_equal(spawn_guard_wait(&guard, &err), cases[i].status);
        }
}

static void a_missing_program_is_reported_by_name(void **state)
{
        const char *const argv[] = { "banger-no-such-program", NULL };
        struct spawn_guard guard = SPAWN_GUARD_NONE;
        struct spawn spawn = silent;
        struct err err = { 0 };

        (void) state;
        spawn.argv = argv;
        assert_int_equal(spawn_guard_start(&spawn, FD_NONE, &guard, &err), -ENOENT);
        assert_non_null(strstr(err.message, "banger-no-such-program"));
        assert_int_equal(guard.pid, 0);
}

/* The reading end of what the family says, once it is up; its end is the end of the last that could say anything. */
static int start_family(int held_fd, struct spawn_guard *guard)
{
        struct err err = { 0 };
        char said[3];
        int ends[2];

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(start_shell(FAMILY, ends[1], held_fd, guard, &err), 0);
        (void) close(ends[1]);
        assert_int_equal(fd_read_full(ends[0], said, sizeof(said)), 0);
        return ends[0];
}

static void assert_ended(int said_fd)
{
        char rest;

        assert_int_equal(fd_read_until(said_fd, &rest, 1, clock_monotonic_ms() + SOON_MS), -ENODATA);
}

static void all_of_them_end_when_it_is_given_up(void **state)
{
        struct spawn_guard guard = SPAWN_GUARD_NONE;
        scoped_close int said = start_family(FD_NONE, &guard);

        (void) state;
        spawn_guard_end(&guard);
        assert_int_equal(fd_wait(said, POLLHUP, 0), 0); /* at once: it has waited for them */
        assert_ended(said);
        spawn_guard_end(&guard); /* there is none any more */
}

/* The starter, in a group that is killed as a whole. */
static pid_t start_starter(int held_fd, int *ret_said)
{
        int ends[2];
        pid_t pid;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct spawn_guard guard = SPAWN_GUARD_NONE;
                struct err err = { 0 };

                (void) setpgid(0, 0);
                (void) close(ends[0]);
                if (start_shell(FAMILY, ends[1], held_fd, &guard, &err) < 0)
                        _exit(1);
                (void) close(ends[1]);
                (void) pause();
        }
        (void) close(ends[1]);
        *ret_said = ends[0];
        return pid;
}

static void all_of_them_end_with_a_starter_that_is_killed_and_hold_the_lock_until_then(void **state)
{
        const char *path = *state;
        int held = open(path, O_RDONLY | O_CLOEXEC), said_fd = FD_NONE;
        scoped_close int other = open(path, O_RDONLY | O_CLOEXEC);
        scoped_close int said = FD_NONE;
        char up[3];
        pid_t pid;

        assert_int_equal(flock(held, LOCK_EX | LOCK_NB), 0);
        pid = start_starter(held, &said_fd);
        said = said_fd;
        (void) close(held);
        assert_int_equal(fd_read_until(said, up, sizeof(up), clock_monotonic_ms() + SOON_MS), 0);
        assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
        assert_int_equal(kill(-pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(flock(other, LOCK_EX), 0);
        assert_int_equal(fd_wait(said, POLLHUP, 0), 0); /* none is left at the moment the lock is free */
        assert_ended(said);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_status_comes_through),
                cmocka_unit_test(a_missing_program_is_reported_by_name),
                cmocka_unit_test(all_of_them_end_when_it_is_given_up),
                cmocka_unit_test_setup_teardown(
                        all_of_them_end_with_a_starter_that_is_killed_and_hold_the_lock_until_then, make_file,
                        remove_file),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
