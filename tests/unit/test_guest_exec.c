/* Time and user of a command: the host's client against the agent's own code, with real commands in a child. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_serve.h"
#include "guest/agent/agent_user.h"
#include "guest/client/guest_client.h"
#include "unit.h"

static pid_t agent_start(int *ret_fd)
{
        int fds[2];
        pid_t pid;

        assert_int_equal(fd_unix_pair(fds), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) close(fds[0]);
                agent_serve(fds[1], NULL, NULL);
                _exit(0);
        }
        (void) close(fds[1]);
        *ret_fd = fds[0];
        return pid;
}

struct ended {
        int status;
        enum guest_timeout timeout;
        uint64_t ms;
        struct err err;
        char out[256];
};

/* stdout_fd FD_NONE: into ended->out. */
static void run_exec(struct guest_exec exec, int stdout_fd, struct ended *ended)
{
        scoped_close int memory = memfd_create("out", MFD_CLOEXEC);
        scoped_close int fd = FD_NONE;
        pid_t pid = agent_start(&fd);
        uint64_t begun_ms = clock_monotonic_ms();
        ssize_t n;

        *ended = (struct ended){ 0 };
        exec.stdin_fd = exec.signal_fd = FD_NONE;
        exec.stdout_fd = stdout_fd < 0 ? memory : stdout_fd;
        exec.stderr_fd = memory;
        exec.ret_timeout = &ended->timeout;
        ended->status = guest_exec(fd, &exec, &ended->err);
        ended->ms = clock_monotonic_ms() - begun_ms;
        (void) close(take_fd(&fd));
        (void) waitpid(pid, NULL, 0);
        n = pread(memory, ended->out, sizeof(ended->out) - 1, 0);
        ended->out[n < 0 ? 0 : n] = '\0';
}

#define SHELL(command)                                                                    \
        (struct guest_exec)                                                               \
        {                                                                                 \
                .argv = (const char *const[]){ "sh", "-c", command, NULL }, .folder = "/" \
        }

static bool lives(const char *pid)
{
        scoped_free char *path = xasprintf("/proc/%ld/stat", strtol(pid, NULL, 10));
        scoped_free char *text = NULL;
        struct err err = { 0 };

        /* a dead one that its parent has not looked at yet does not count */
        return file_read(path, 4096, &text, NULL, &err) == 0 && !strstr(text, ") Z ");
}

static void a_timeout_takes_what_ignores_it_and_what_has_left_the_group(void **state)
{
        struct guest_exec exec =
                SHELL("trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & "
                      "while :; do sleep 1; done");
        struct ended ended;

        (void) state;
        exec.timeout_ms = 500;
        run_exec(exec, FD_NONE, &ended);
        assert_int_equal(ended.status, GUEST_TIMEOUT_STATUS);
        assert_int_equal(ended.timeout, GUEST_TIMEOUT_ENDED);
        assert_in_range(ended.ms, 2400, 4500);
        assert_in_range(strtol(ended.out, NULL, 10), 2, INT32_MAX);
        assert_false(lives(ended.out));
}

static void a_command_that_heeds_sigterm_is_not_waited_for(void **state)
{
        struct guest_exec exec = SHELL("sleep 100 & echo $!; wait");
        struct ended ended;

        (void) state;
        exec.timeout_ms = 300;
        run_exec(exec, FD_NONE, &ended);
        assert_int_equal(ended.status, GUEST_TIMEOUT_STATUS);
        assert_in_range(ended.ms, 290, 1900);
        assert_false(lives(ended.out));
}

static void a_command_in_time_keeps_its_status_and_what_it_left_running(void **state)
{
        struct guest_exec exec = SHELL("setsid sleep 100 >/dev/null 2>&1 & echo $!; exit 7");
        struct ended ended;

        (void) state;
        exec.timeout_ms = 20000;
        run_exec(exec, FD_NONE, &ended);
        assert_int_equal(ended.status, 7);
        assert_int_equal(ended.timeout, GUEST_TIMEOUT_NONE);
        assert_true(lives(ended.out));
        (void) kill((pid_t) strtol(ended.out, NULL, 10), SIGKILL);
}

static void a_reader_that_stalls_does_not_hold_up_a_timeout(void **state)
{
        struct guest_exec exec = SHELL("yes");
        struct ended ended;
        int out[2];

        (void) state;
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        exec.timeout_ms = 500;
        run_exec(exec, out[1], &ended);
        assert_int_equal(ended.status, GUEST_TIMEOUT_STATUS);
        assert_in_range(ended.ms, 490, 4000);
        (void) close(out[0]);
        (void) close(out[1]);
}

static void a_deaf_guest_does_not_hold_up_a_timeout(void **state)
{
        struct guest_exec exec = SHELL("true");
        struct err err = { 0 };
        enum guest_timeout timeout = GUEST_TIMEOUT_NONE;
        uint64_t begun_ms = clock_monotonic_ms();
        int fds[2];

        (void) state;
        assert_int_equal(fd_unix_pair(fds), 0);
        exec.stdin_fd = exec.signal_fd = FD_NONE;
        exec.stdout_fd = exec.stderr_fd = STDERR_FILENO;
        exec.timeout_ms = 100;
        exec.ret_timeout = &timeout;
        assert_int_equal(guest_exec(fds[0], &exec, &err), GUEST_TIMEOUT_STATUS);
        assert_int_equal(timeout, GUEST_TIMEOUT_SILENT);
        assert_in_range(clock_monotonic_ms() - begun_ms, 5000, 7000);
        (void) close(fds[0]);
        (void) close(fds[1]);
}

static void write_etc(const char *folder, const char *name, const char *content)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        struct err err = { 0 };

        assert_int_equal(file_replace_unsynced(path, content, strlen(content), 0644, &err), 0);
}

static const struct {
        const char *wanted;
        int r; /* 0, or what it fails with */
        uid_t uid;
        gid_t gid;
        size_t n_groups;
        const char *home, *says;
} users[] = {
        {"root",         0,       0,    0,    1, "/root",     NULL                },
        { "ann",         0,       1000, 1001, 3, "/home/ann", NULL                },
        { "1000",        0,       1000, 1001, 3, "/home/ann", NULL                },
        { "77",          0,       2000, 77,   1, "/",         NULL                }, /* a name of digits */
        { "4242",        0,       4242, 0,    1, "/",         NULL                },
        { "ann:staff",   0,       1000, 50,   1, "/home/ann", NULL                },
        { "4242:12",     0,       4242, 12,   1, "/",         NULL                },
        { "bob",         -ENOENT, 0,    0,    0, NULL,        "no user 'bob'"     },
        { "ann:nogroup", -ENOENT, 0,    0,    0, NULL,        "no group 'nogroup'"},
        { "-1",          -ENOENT, 0,    0,    0, NULL,        "no user '-1'"      },
        { "4294967295",  -ENOENT, 0,    0,    0, NULL,        "no user"           },
        { ":staff",      -EINVAL, 0,    0,    0, NULL,        "names no user"     },
        { "",            -EINVAL, 0,    0,    0, NULL,        "names no user"     },
        { "ann:",        -ENOENT, 0,    0,    0, NULL,        "no group ''"       },
};

static void users_are_found_by_name_and_number(void **state)
{
        char folder[] = "/tmp/banger-etc-XXXXXX";
        struct err cleaning = { 0 };

        (void) state;
        assert_non_null(mkdtemp(folder));
        write_etc(folder, "passwd",
                  "root:x:0:0:root:/root:/bin/sh\nbroken line\n77:x:2000:77::relative:\n"
                  "ann:x:1000:1001:Ann,,,:/home/ann:/bin/bash\n");
        write_etc(folder, "group",
                  "root:x:0:\nann:x:1001:\nstaff:x:50:bob,ann\naudio:x:29:ann\nvideo:x:44:bob\n");
        for (size_t i = 0; i < N_ELEMENTS(users); i++) {
                scoped(agent_user_done) struct agent_user user = { 0 };
                struct err err = { 0 };
                int r = agent_user_find(users[i].wanted, folder, &user, &err);

                if (r != users[i].r)
                        fail_msg("'%s': %d %s", users[i].wanted, r, err.message);
                if (r < 0) {
                        assert_non_null(strstr(err.message, users[i].says));
                        continue;
                }
                assert_int_equal(user.uid, users[i].uid);
                assert_int_equal(user.gid, users[i].gid);
                assert_int_equal(user.n_groups, users[i].n_groups);
                assert_string_equal(user.home, users[i].home);
        }
        assert_int_equal(file_remove_tree(folder, &cleaning), 0);
}

static void a_command_has_its_users_rights_and_nothing_else(void **state)
{
        struct guest_exec exec = SHELL("id -u; id -g; id -G; echo $HOME $USER; cat /etc/shadow; cat "
                                       "/dev/stdin; echo open > /dev/stdout");
        struct ended ended;

        (void) state;
        if (geteuid() != 0)
                skip();
        exec.user = "12345:54321";
        run_exec(exec, FD_NONE, &ended);
        assert_string_equal(ended.err.message, "");
        assert_non_null(strstr(ended.out, "12345\n54321\n54321\n/ 12345\n"));
        assert_non_null(strstr(ended.out, "/etc/shadow: Permission denied\n"));
        assert_non_null(strstr(ended.out, "open\n"));
        exec.user = "no-such-user";
        run_exec(exec, FD_NONE, &ended);
        assert_int_equal(ended.status, -ENOENT);
        assert_non_null(strstr(ended.err.message, "no user 'no-such-user'"));
        exec.user = "12345";
        exec.folder = "/root";
        if (access("/root/.", X_OK) == 0) {
                struct stat st;

                assert_int_equal(stat("/root", &st), 0);
                run_exec(exec, FD_NONE, &ended);
                if ((st.st_mode & 0001) == 0)
                        assert_int_equal(ended.status, -EACCES);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_timeout_takes_what_ignores_it_and_what_has_left_the_group),
                cmocka_unit_test(a_command_that_heeds_sigterm_is_not_waited_for),
                cmocka_unit_test(a_command_in_time_keeps_its_status_and_what_it_left_running),
                cmocka_unit_test(a_reader_that_stalls_does_not_hold_up_a_timeout),
                cmocka_unit_test(a_deaf_guest_does_not_hold_up_a_timeout),
                cmocka_unit_test(users_are_found_by_name_and_number),
                cmocka_unit_test(a_command_has_its_users_rights_and_nothing_else),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
