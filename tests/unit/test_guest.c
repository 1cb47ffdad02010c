/* The host's client against the agent's own code, each on one end of a socket pair; commands run here, in a child. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/agent/agent_serve.h"
#include "guest/client/guest_client.h"
#include "guest/contract/guest_frame.h"
#include "unit.h"

#define BULK (64U << 20)

struct peer {
        int fd;
        pid_t pid;
};

/* An agent that serves one call in a process of its own, as the pool's workers do. */
static struct peer agent_start(void)
{
        struct peer peer;
        int fds[2];

        assert_int_equal(fd_unix_pair(fds), 0);
        peer.pid = fork();
        assert_true(peer.pid >= 0);
        if (peer.pid == 0) {
                (void) close(fds[0]);
                (void) signal(SIGHUP, SIG_DFL); /* which whoever runs the tests may have set to be ignored */
                agent_serve(fds[1], NULL, NULL);
                _exit(0);
        }
        (void) close(fds[1]);
        peer.fd = fds[0];
        return peer;
}

static void peer_end(struct peer *peer)
{
        (void) close(peer->fd);
        assert_int_equal(waitpid(peer->pid, NULL, 0), peer->pid);
}

struct outcome {
        int status;
        struct err err;
        char *out, *errors; /* owned */
        size_t n_out;
};

static char *slurp(int fd, size_t *ret_n)
{
        struct text text = { 0 };
        char buffer[65536];
        ssize_t n;

        assert_true(lseek(fd, 0, SEEK_SET) == 0);
        text_append(&text, "");
        while ((n = read(fd, buffer, sizeof(buffer))) > 0)
                text_append_bytes(&text, buffer, (size_t) n);
        *ret_n = text.n;
        return text_take(&text);
}

/* Runs with output into files; input as given. */
static void run(struct guest_exec exec, struct outcome *outcome)
{
        struct peer peer = agent_start();
        scoped_close int out = memfd_create("out", MFD_CLOEXEC), errors = memfd_create("err", MFD_CLOEXEC);
        size_t n;

        *outcome = (struct outcome){ 0 };
        exec.stdout_fd = out;
        exec.stderr_fd = errors;
        outcome->status = guest_exec(peer.fd, &exec, &outcome->err);
        outcome->out = slurp(out, &outcome->n_out);
        outcome->errors = slurp(errors, &n);
        peer_end(&peer);
}

static void outcome_done(struct outcome *outcome)
{
        free(outcome->out);
        free(outcome->errors);
}

#define SHELL(command)                                                                     \
        (struct guest_exec)                                                                \
        {                                                                                  \
                .argv = (const char *const[]){ "sh", "-c", command, NULL }, .folder = "/", \
                .stdin_fd = FD_NONE, .signal_fd = FD_NONE                                  \
        }

static void statuses_and_streams_arrive_as_they_are(void **state)
{
        static const struct {
                const char *command, *out, *errors;
                int status;
        } cases[] = {
                {"true",                        "",             "",    0  },
                { "exit 7",                     "",             "",    7  },
                { "exit 255",                   "",             "",    255},
                { "printf one; printf two >&2", "one",          "two", 0  },
                { "kill -TERM $$",              "",             "",    143},
                { "kill -KILL $$",              "",             "",    137},
                { "cat; echo end",              "end\n",        "",    0  },
                { "sleep 60 & echo started",    "started\n",    "",    0  },
                { "pwd",                        "/\n",          "",    0  },
                { "echo $HOME $USER",           "/root root\n", "",    0  },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct outcome outcome;

                run(SHELL(cases[i].command), &outcome);
                assert_int_equal(outcome.status, cases[i].status);
                assert_string_equal(outcome.out, cases[i].out);
                assert_string_equal(outcome.errors, cases[i].errors);
                outcome_done(&outcome);
        }
}

static void commands_that_cannot_start_are_told_as_by_a_shell(void **state)
{
        const char *const missing[] = { "no-such-command-here", NULL };
        const char *const folder[] = { "/etc", NULL };
        const char *const text[] = { "/etc/passwd", NULL };
        struct {
                const char *const *argv;
                int status;
        } cases[] = {
                {missing, 127},
                { folder, 126},
                { text,   126}
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct guest_exec exec = { .argv = cases[i].argv, .stdin_fd = FD_NONE, .signal_fd = FD_NONE };
                struct outcome outcome;

                run(exec, &outcome);
                assert_int_equal(outcome.status, cases[i].status);
                assert_non_null(strstr(outcome.errors, cases[i].argv[0]));
                outcome_done(&outcome);
        }
}

static void a_missing_folder_is_an_error_that_names_it(void **state)
{
        struct guest_exec exec = SHELL("true");
        struct outcome outcome;

        (void) state;
        exec.folder = "/no/such/folder";
        run(exec, &outcome);
        assert_int_equal(outcome.status, -ENOENT);
        assert_non_null(strstr(outcome.err.message, "/no/such/folder"));
        outcome_done(&outcome);
}

static void login_shells_wrap_and_keep_arguments_and_status(void **state)
{
        const char *const argv[] = { "sh",    "-c",       "printf '%s|' \"$@\"; exit 3",
                                     "x",     "a b",      "it's",
                                     "$HOME", "\xff\xfe", NULL };
        const char *const env[] = { "MARK=a=b", "HOME=/tmp", NULL };
        struct guest_exec exec = {
                .argv = argv, .env = env, .login_shell = true, .stdin_fd = FD_NONE, .signal_fd = FD_NONE
        };
        struct outcome outcome;

        (void) state;
        run(exec, &outcome);
        assert_int_equal(outcome.status, 3);
        assert_string_equal(outcome.out, "a b|it's|$HOME|\xff\xfe|");
        outcome_done(&outcome);

        exec.argv = (const char *const[]){ "sh", "-c", "echo $MARK $HOME", NULL };
        run(exec, &outcome);
        assert_string_equal(outcome.out, "a=b /tmp\n");
        outcome_done(&outcome);

        exec.argv = (const char *const[]){ "no-such-command-here", NULL };
        run(exec, &outcome);
        assert_int_equal(outcome.status, 127);
        outcome_done(&outcome);
}

/* Writes a pattern that no two blocks share; the reader can tell where a byte was lost. */
static void fill(uint32_t *words, size_t n, uint32_t *counter)
{
        for (size_t i = 0; i < n; i++)
                words[i] = (*counter)++ * 2654435761U;
}

static void bulk_passes_both_ways_unchanged(void **state)
{
        struct guest_exec exec = SHELL("tee /dev/stderr");
        scoped_close int input = memfd_create("in", MFD_CLOEXEC);
        scoped_free uint32_t *all = xmalloc(BULK);
        struct outcome outcome;
        uint32_t counter = 0;

        (void) state;
        fill(all, BULK / sizeof(*all), &counter);
        assert_int_equal(fd_write_full(input, all, BULK), 0);
        assert_true(lseek(input, 0, SEEK_SET) == 0);
        exec.stdin_fd = input;
        run(exec, &outcome);
        assert_int_equal(outcome.status, 0);
        assert_int_equal(outcome.n_out, BULK);
        assert_memory_equal(outcome.out, all, BULK);
        assert_memory_equal(outcome.errors, all, BULK);
        outcome_done(&outcome);
}

/* Runs the client in a child; its standard streams are the given ones. */
static pid_t exec_child(struct guest_exec exec, struct peer *peer, int not_inherited)
{
        pid_t pid = fork();

        if (pid == 0) {
                struct err err = { 0 };
                int r;

                (void) close(not_inherited);
                r = guest_exec(peer->fd, &exec, &err);
                _exit(r < 0 ? 99 : r);
        }
        return pid;
}

static int wait_status(pid_t pid)
{
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

/* Output that nobody reads and input without end: a signal still gets through. */
static void signals_pass_blocked_streams(void **state)
{
        struct guest_exec exec = SHELL("trap 'exit 42' INT; cat /dev/zero & while :; do sleep 0.1; done");
        struct peer peer = agent_start();
        int out[2];
        scoped_close int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        sigset_t mask, old;
        pid_t pid;

        (void) state;
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGINT);
        assert_int_equal(sigprocmask(SIG_BLOCK, &mask, &old), 0);
        exec.stdin_fd = zero;
        exec.stdout_fd = out[1];
        exec.stderr_fd = out[1];
        exec.signal_fd = signalfd(-1, &mask, SFD_CLOEXEC);
        pid = exec_child(exec, &peer, out[0]);
        (void) usleep(500000);
        assert_int_equal(kill(pid, SIGINT), 0);
        (void) close(out[1]);
        (void) usleep(200000);
        /* The command has ended by now; its output is still to be taken. */
        char waste[65536];
        while (read(out[0], waste, sizeof(waste)) > 0)
                ;
        assert_int_equal(wait_status(pid), 42);
        (void) close(out[0]);
        (void) close(exec.signal_fd);
        assert_int_equal(sigprocmask(SIG_SETMASK, &old, NULL), 0);
        peer_end(&peer);
}

static void a_reader_that_goes_ends_the_command_quietly(void **state)
{
        struct guest_exec exec = SHELL("exec yes");
        struct peer peer = agent_start();
        char first[2];
        int out[2];
        pid_t pid;

        (void) state;
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        exec.stdout_fd = out[1];
        exec.stderr_fd = out[1];
        pid = exec_child(exec, &peer, out[0]);
        (void) close(out[1]);
        assert_int_equal(fd_read_full(out[0], first, sizeof(first)), 0);
        (void) close(out[0]);
        assert_int_equal(wait_status(pid), 128 + SIGPIPE);
        peer_end(&peer);
}

static void a_vanished_client_hangs_up_the_command(void **state)
{
        char folder[] = "/tmp/banger-guest-XXXXXX";
        struct peer peer = agent_start();
        struct err err = { 0 };
        pid_t pid;

        (void) state;
        assert_non_null(mkdtemp(folder));
        scoped_free char *mark = xasprintf("%s/hup", folder), *ready = xasprintf("%s/ready", folder);
        scoped_free char *command =
                xasprintf("trap '' PIPE; trap 'touch %s; exit' HUP; touch %s; while :; do sleep 0.05; done",
                          mark, ready);
        struct guest_exec exec = SHELL(command);

        exec.stdout_fd = exec.stderr_fd = STDERR_FILENO;
        pid = exec_child(exec, &peer, FD_NONE);
        for (int i = 0; i < 200 && access(ready, F_OK) < 0; i++)
                (void) usleep(20000);
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void) waitpid(pid, NULL, 0);
        peer_end(&peer);
        for (int i = 0; i < 200 && access(mark, F_OK) < 0; i++)
                (void) usleep(20000);
        assert_int_equal(access(mark, F_OK), 0);
        assert_int_equal(file_remove_tree(folder, &err), 0);
}

static void a_terminal_has_its_size_echo_and_end_of_input(void **state)
{
        struct guest_exec exec =
                SHELL("stty size; tty >/dev/null && echo is-tty; echo $TERM; cat; echo end >&2");
        struct outcome outcome;

        (void) state;
        exec.terminal = true;
        exec.rows = 33;
        exec.columns = 111;
        run(exec, &outcome);
        assert_int_equal(outcome.status, 0);
        assert_string_equal(outcome.out, "33 111\r\nis-tty\r\nxterm-256color\r\nend\r\n");
        assert_string_equal(outcome.errors, "");
        outcome_done(&outcome);
}

static void requests_with_an_answer_are_answered(void **state)
{
        struct err err = { 0 };
        json_t *json = NULL;
        struct peer peer = agent_start();

        (void) state;
        assert_int_equal(guest_health(peer.fd, 5000, &json, &err), 0);
        assert_true(json_u64(json, "protocol", 0) == GUEST_PROTOCOL);
        json_decref(json);
        peer_end(&peer);

        peer = agent_start();
        assert_int_equal(guest_stats(peer.fd, 5000, &json, &err), 0);
        assert_true(json_u64(json_object_get(json, "memory"), "total_bytes", 0) > 0);
        json_decref(json);
        peer_end(&peer);

        peer = agent_start();
        assert_int_equal(guest_ports(peer.fd, 5000, &json, &err), 0);
        assert_true(json_is_array(json_object_get(json, "listeners")));
        json_decref(json);
        peer_end(&peer);
}

static void guests_that_break_the_rules_are_refused(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
                int code;
        } cases[] = {
                {"\x05\0\0\0\xff\xff\xff\xff", 8,  EBADMSG   }, /* an answer of 4 GiB */
                { "\x63\0\0\0\0\0\0\0",        8,  EBADMSG   }, /* unknown type */
                { "\x05\1\0\0\2\0\0\0{}",      10, EBADMSG   }, /* bytes that are not zero */
                { "\x08\0\0\0\0\0\0\0",        8,  EBADMSG   }, /* input, from a guest */
                { "\x05\0\0\0\2\0\0\0{]",      10, EBADMSG   }, /* not JSON */
                { "\x05\0\0\0\2\0\0\0[]",      10, EBADMSG   }, /* not an object */
                { "\x06\0\0\0\2\0\0\0{}",      10, EIO       }, /* an error without a reason */
                { "\x05\0\0\0\x10\0\0\0{",     9,  ECONNRESET}, /* cut: see below */
                { "",                          0,  ETIMEDOUT }, /* silence */
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct err err = { 0 };
                json_t *json = NULL;
                int fds[2], r;

                assert_int_equal(fd_unix_pair(fds), 0);
                assert_int_equal(fd_write_full(fds[1], cases[i].bytes, cases[i].n), 0);
                if (cases[i].code == ECONNRESET)
                        (void) shutdown(fds[1], SHUT_WR);
                r = guest_health(fds[0], 100, &json, &err);
                assert_true(r == -cases[i].code || (cases[i].code == ECONNRESET && r == -EBADMSG));
                (void) close(fds[0]);
                (void) close(fds[1]);
        }
}

static void an_exec_of_a_hostile_guest_ends_with_an_error(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
        } cases[] = {
                {"\x0b\0\0\0\5\0\0\0\0\1\0\0\0",  13}, /* credit beyond the window */
                { "\x0b\0\0\0\5\0\0\0\1\1\0\0\0", 13}, /* credit for an output */
                { "\x0f\0\0\0\2\0\0\0\2\1",       10}, /* neither exited nor killed */
                { "\x0d\0\0\0\4\0\0\0\1\0\1\0",   12}, /* resize, from a guest */
                { "\x09\0\0\0\0\0\0\0",           8 }, /* empty output */
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct guest_exec exec = SHELL("true");
                struct err err = { 0 };
                int fds[2];

                assert_int_equal(fd_unix_pair(fds), 0);
                assert_int_equal(fd_write_full(fds[1], cases[i].bytes, cases[i].n), 0);
                exec.stdout_fd = exec.stderr_fd = STDERR_FILENO;
                assert_int_equal(guest_exec(fds[0], &exec, &err), -EBADMSG);
                (void) close(fds[0]);
                (void) close(fds[1]);
        }
}

static void a_guest_that_floods_beyond_its_window_is_refused(void **state)
{
        static uint8_t frame[GUEST_FRAME_HEADER + GUEST_DATA_MAX];
        struct guest_exec exec = SHELL("true");
        struct err err = { 0 };
        int fds[2], blocked[2];
        pid_t pid;

        (void) state;
        assert_int_equal(fd_unix_pair(fds), 0);
        assert_int_equal(pipe2(blocked, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                (void) close(fds[0]);
                guest_frame_pack(frame, GUEST_FRAME_STDOUT, GUEST_DATA_MAX);
                while (send(fds[1], frame, sizeof(frame), MSG_NOSIGNAL) > 0)
                        ;
                _exit(0);
        }
        (void) close(fds[1]);
        exec.stdout_fd = blocked[1];
        exec.stderr_fd = blocked[1];
        assert_int_equal(guest_exec(fds[0], &exec, &err), -EBADMSG);
        (void) close(fds[0]);
        (void) close(blocked[0]);
        (void) close(blocked[1]);
        (void) waitpid(pid, NULL, 0);
}

/* A guest that boots, played on a real listening socket. */
static void boot_guest(const char *uds, bool speaks)
{
        scoped_free char *path = xasprintf("%s_%u", uds, GUEST_BOOT_PORT);
        scoped_close int fd = fd_unix_connect(path);
        const char *hello = "{\"boot_id\":\"b\",\"version\":\"v\\n\",\"protocol\":1}";
        struct guest_frame frame;
        uint8_t *body = NULL;

        if (!speaks) {
                (void) guest_frame_send(fd, GUEST_FRAME_READY, NULL, 0, UINT64_MAX);
                (void) pause();
        }
        (void) guest_frame_send(fd, GUEST_FRAME_HELLO, hello, strlen(hello), UINT64_MAX);
        if (guest_frame_receive(fd, UINT64_MAX, &frame, &body) == 0 &&
            strstr((const char *) body, "\"hostname\":\"vm\""))
                (void) guest_frame_send(fd, GUEST_FRAME_READY, NULL, 0, UINT64_MAX);
        free(body);
}

static void a_boot_is_accepted_refused_timed_out_or_cancelled(void **state)
{
        const char *const keys[] = { "ssh-ed25519 AAAA me", NULL };
        struct guest_config config = {
                .hostname = "vm", .root_device = "/dev/vda", .authorized_keys = keys, .git_name = "\xff"
        };
        char folder[] = "/tmp/banger-boot-XXXXXX";
        struct guest_hello hello = { 0 };
        struct err err = { 0 };
        int stop[2];

        (void) state;
        assert_non_null(mkdtemp(folder));
        scoped_free char *uds = xasprintf("%s/v.sock", folder);
        scoped_close int listener = guest_listen_boot(uds, &err);

        assert_true(listener >= 0);
        for (int speaks = 1; speaks >= 0; speaks--) {
                pid_t pid = fork();

                if (pid == 0) {
                        boot_guest(uds, speaks == 1);
                        _exit(0);
                }
                err = (struct err){ 0 };
                assert_int_equal(guest_accept_boot(listener, FD_NONE, &config, 5000, &hello, &err),
                                 speaks ? 0 : -EBADMSG);
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
        }
        assert_string_equal(hello.boot_id, "b");
        assert_string_equal(hello.agent_version, "v?");
        err = (struct err){ 0 };
        assert_int_equal(guest_accept_boot(listener, FD_NONE, &config, 50, &hello, &err), -ETIMEDOUT);
        assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
        (void) close(stop[1]);
        err = (struct err){ 0 };
        assert_int_equal(guest_accept_boot(listener, stop[0], &config, 5000, &hello, &err), -ECANCELED);
        (void) close(stop[0]);
        err = (struct err){ 0 };
        assert_int_equal(file_remove_tree(folder, &err), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(statuses_and_streams_arrive_as_they_are),
                cmocka_unit_test(commands_that_cannot_start_are_told_as_by_a_shell),
                cmocka_unit_test(a_missing_folder_is_an_error_that_names_it),
                cmocka_unit_test(login_shells_wrap_and_keep_arguments_and_status),
                cmocka_unit_test(bulk_passes_both_ways_unchanged),
                cmocka_unit_test(signals_pass_blocked_streams),
                cmocka_unit_test(a_reader_that_goes_ends_the_command_quietly),
                cmocka_unit_test(a_vanished_client_hangs_up_the_command),
                cmocka_unit_test(a_terminal_has_its_size_echo_and_end_of_input),
                cmocka_unit_test(requests_with_an_answer_are_answered),
                cmocka_unit_test(guests_that_break_the_rules_are_refused),
                cmocka_unit_test(an_exec_of_a_hostile_guest_ends_with_an_error),
                cmocka_unit_test(a_guest_that_floods_beyond_its_window_is_refused),
                cmocka_unit_test(a_boot_is_accepted_refused_timed_out_or_cancelled),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
