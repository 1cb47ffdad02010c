/*
 * The contract of `vm run -- command` and its neighbours, by the real program and the real agent: a small bangerd of this
 * test's hands out connections to an agent that runs on this host instead of in a guest.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/spawn.h"
#include "base/text.h"
#include "guest/agent/agent_serve.h"
#include "rpc/rpc_message.h"
#include "unit.h"

static char folder[64];
static pid_t server;
static int helper; /* what its socket listens on */

static json_t *a_vm(void)
{
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:n}", "id", "0a1b2c", "name", "web",
                         "state", "running", "image", "debian", "vmm", "fake", "vcpu", 2, "memory_mib", 1024,
                         "disk_bytes", (json_int_t) 1 << 33, "workspace");
}

static json_t *answer_for(const char *method, const json_t *params)
{
        struct err err = { 0 };

        if (strcmp(json_text(params, "name"), "taken") == 0) {
                (void) err_set(&err, EEXIST, "vm.create", "a vm named 'taken' exists");
                return rpc_error_message(&err, "op-0123456789ab");
        }
        if (strcmp(method, "daemon.defaults") == 0)
                return json_pack("{s:b, s:{s:i, s:i, s:I}}", "ok", 1, "result", "vcpu", 2, "memory_mib", 1024,
                                 "disk_bytes", (json_int_t) 1 << 33);
        if (strcmp(method, "doctor.run") == 0) /* the environment of the server does not reach the caller's */
                return json_pack("{s:b, s:{s:[{s:s, s:s, s:[s]}, {s:s, s:s, s:[s]}]}}", "ok", 1, "result",
                                 "checks", "name", "good", "status", "pass", "details", "fine", "name", "bad",
                                 "status", access("all-pass", F_OK) == 0 ? "pass" : "fail", "details",
                                 "broken");
        return json_pack("{s:b, s:o}", "ok", 1, "result", a_vm());
}

/* The VMM's part of a connection, Firecracker's docs/vsock.md: "CONNECT <port>\n", "OK <port>\n". */
static void answer_connect(int fd)
{
        char c = '\0';

        while (c != '\n')
                if (fd_read_full(fd, &c, 1) < 0)
                        _exit(1);
        if (fd_write_full(fd, "OK 1024\n", strlen("OK 1024\n")) < 0)
                _exit(1);
}

static int agent_connection(void)
{
        int pair[2];

        if (fd_unix_pair(pair) < 0)
                _exit(1);
        if (fork() == 0) {
                (void) close(pair[0]);
                answer_connect(pair[1]);
                agent_serve(pair[1], NULL, NULL);
                _exit(0);
        }
        (void) close(pair[1]);
        return pair[0];
}

static int in_memory(const char *text, size_t n)
{
        int fd = memfd_create("rows", MFD_CLOEXEC);

        if (fd < 0 || fd_write_full(fd, text, n) < 0)
                _exit(1);
        return fd;
}

/* The answer's descriptors; how many. */
static size_t rows_of_a_vm(const json_t *params, int ret_fds[2])
{
        static const char row[] =
                "0a1b2c\tweb\trunning\tdebian\t2\t1024\t8589934592\t\t\t\t1764412345\t{}\t\n";
        static const char object[] = "{\n  \"name\": \"web\"\n}";

        ret_fds[0] = in_memory(row, sizeof(row) - 1);
        if (!json_flag(params, "objects"))
                return 1;
        ret_fds[1] = in_memory(object, sizeof(object));
        return 2;
}

static void serve_one(int sock)
{
        int fds[FD_PASS_MAX], reply_fds[2];
        struct err err = { 0 };
        json_auto_t *request = NULL, *answer = NULL;
        size_t n_fds, n_reply_fds = 0;
        const char *method;
        FILE *log = fopen("log", "ae");

        if (!log || rpc_receive(sock, UINT64_MAX, &request, fds, &n_fds, &err) < 0)
                _exit(1);
        method = json_text(request, "method");
        (void) fprintf(log, "%s\n", method);
        (void) fclose(log);
        answer = answer_for(method, json_object_get(request, "params"));
        if (strcmp(method, "vm.rows") == 0)
                n_reply_fds = rows_of_a_vm(json_object_get(request, "params"), reply_fds);
        if (strcmp(method, "vm.connect") == 0)
                reply_fds[n_reply_fds++] = agent_connection();
        (void) rpc_send(sock, answer, reply_fds, n_reply_fds, &err);
        _exit(0);
}

static void serve(int listener)
{
        struct sigaction reap = { .sa_handler = SIG_IGN };

        (void) sigaction(SIGCHLD, &reap, NULL);
        for (;;) {
                int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

                if (sock >= 0 && fork() == 0) {
                        struct sigaction by_default = { .sa_handler = SIG_DFL };

                        (void) sigaction(SIGCHLD, &by_default, NULL);
                        serve_one(sock);
                }
                (void) close(sock);
        }
}

/* As an ordinary user, whose layout is in the environment. $B is banger. Returns the exit status, checks nothing. */
static int run(const char *script)
{
        scoped_free char *whole =
                xasprintf("cd %s; rm -f log out err; export XDG_RUNTIME_DIR=%s HOME=%s TERM=xterm; "
                          "B='setpriv --reuid=65534 --regid=65534 --clear-groups %s/program'; %s",
                          folder, folder, folder, folder, script);
        const char *const argv[] = { "sh", "-c", whole, NULL };
        struct err err = { 0 };
        scoped_free char *error = NULL;
        int status = spawn_run(argv, 60000, (size_t) 1 << 20, NULL, &error, &err);

        if (error && *error)
                print_message("# %s\n", error);
        return status;
}

static void assert_run(const char *script, int status)
{
        int got = run(script);

        if (got != status)
                fail_msg("%d instead of %d: %s", got, status, script);
}

#define HELPER_FOLDER "/run/banger-root-65534"

/* The root helper is asked for nothing but whether it is there. */
static int start_helper(void)
{
        int r = mkdir(HELPER_FOLDER, 0755);

        if (r < 0 && errno != EEXIST)
                return -errno;
        return fd_unix_listen(HELPER_FOLDER "/bangerd-root.sock", 0666, 64);
}

static int start_server(void)
{
        scoped_free char *path = xasprintf("%s/banger/bangerd.sock", folder);
        int listener = fd_unix_listen(path, 0666, 64);

        if (listener < 0)
                return listener;
        helper = start_helper();
        if (helper < 0)
                return helper;
        server = fork();
        if (server == 0)
                serve(listener);
        (void) close(listener);
        return server < 0 ? -errno : 0;
}

static int setup(void **state)
{
        char self[4096];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        scoped_free char *prepare = NULL;
        struct err err = { 0 };

        (void) state;
        (void) snprintf(folder, sizeof(folder), "/tmp/test-cli-XXXXXX");
        if (n < 0 || !mkdtemp(folder) || chmod(folder, 0777) < 0 || chdir(folder) < 0)
                return -1;
        self[n] = '\0';
        *strrchr(self, '/') = '\0';
        prepare =
                xasprintf("cp '%s/../../src/cli/banger' %s/program && mkdir %s/banger", self, folder, folder);
        if (spawn_run((const char *const[]){ "sh", "-c", prepare, NULL }, 0, 100, NULL, NULL, &err) != 0)
                return -1;
        return start_server();
}

static int teardown(void **state)
{
        struct err err = { 0 };

        (void) state;
        if (server > 0) {
                (void) kill(server, SIGKILL);
                (void) waitpid(server, NULL, 0);
        }
        (void) file_remove_tree(HELPER_FOLDER, &err);
        return chdir("/") < 0 ? -1 : file_remove_tree(folder, &err);
}

static void output_errors_and_status_are_the_commands(void **state)
{
        (void) state;
        assert_run("$B vm run -- sh -c 'echo out; echo err >&2; exit 7' >out 2>err", 7);
        assert_run("$B vm run -- sh -c 'echo out; echo err >&2; exit 7' >out 2>err; "
                   "echo out | cmp - out && grep -qx err err && ! grep -q banger: err",
                   0);
        assert_run("$B vm run -- sh -c 'kill -9 $$' >out 2>err", 137);
        assert_run("$B vm exec web -- sh -c 'kill -TERM $$' >out 2>err", 143);
        assert_run("$B vm run -- no-such-command >out 2>err", 127);
        assert_run("$B vm run -- sh -c 'printf \"%s|\" \"$@\"' x 'a b' \"it's\" '' '$HOME' >out 2>err; "
                   "printf \"a b|it's||\\$HOME|\" | cmp - out",
                   0);
}

static void input_arrives_to_the_byte_and_so_does_its_end(void **state)
{
        (void) state;
        assert_run("head -c 3000000 /dev/urandom >in; $B vm run -- cat <in >out 2>err && cmp in out", 0);
        assert_run("$B vm run -- cat </dev/null >out 2>err && cmp /dev/null out", 0);
        assert_run("head -c 3000000 /dev/urandom >in; $B vm exec web -- sh -c 'cat >&2' <in 2>err >out; "
                   "cmp in err && cmp /dev/null out",
                   0);
}

static void signals_reach_the_command(void **state)
{
        static const char *const names[] = { "INT", "TERM", "HUP", "QUIT" };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(names); i++) {
                scoped_free char *script = xasprintf(
                        "env --default-signal $B vm run --rm -- sh -c 'trap \"echo got; exit 3\" "
                        "%s; echo up; "
                        "while :; do sleep 0.05; done' </dev/null >out 2>err & pid=$!; "
                        "for i in $(seq 200); do grep -qs up out && break; sleep 0.05; done; "
                        "kill -%s $pid; wait $pid; test $? = 3 && grep -qx got out && grep -qx vm.delete log",
                        names[i], names[i]);

                assert_run(script, 0);
        }
}

static void the_vm_goes_with_rm_and_stays_without(void **state)
{
        (void) state;
        assert_run("$B vm run --rm -- false 2>err; test $? = 1 && grep -qx vm.delete log && ! grep -q 'still "
                   "running' err",
                   0);
        assert_run("$B vm run -- true 2>err && ! grep -qx vm.delete log && grep -q \"'web' is still "
                   "running\" err && "
                   "grep -q '^ready in .*fake' err && grep -qx 'spec: 2 vcpu | 1024 MiB | 8G disk' err",
                   0);
        assert_run("$B vm run --rm -- yes 2>err | head -1 >out; grep -qx y out && ! grep -q banger: err && "
                   "grep -qx vm.delete log",
                   0);
}

static void impossible_wishes_are_refused_before_a_vm_is_made(void **state)
{
        static const char *const wishes[] = { "-d --rm",    "-d -- true",   "--branch x",
                                              "--from y .", "/nonexistent", "--vcpu 0" };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(wishes); i++) {
                scoped_free char *script = xasprintf("$B vm run %s 2>err; test $? = 1 && grep -q '^banger: ' "
                                                     "err && ! grep -qsx vm.create log",
                                                     wishes[i]);

                assert_run(script, 0);
        }
}

static void a_refusal_is_told_with_its_operation(void **state)
{
        (void) state;
        assert_run("$B vm run --name taken -- true 2>err; test $? = 1 && "
                   "grep -qx \"banger: already exists: a vm named 'taken' exists (op-0123456789ab)\" err",
                   0);
}

static void a_terminal_is_made_exactly_for_a_terminal(void **state)
{
        (void) state;
        assert_run("$B vm run -- tty </dev/null >out 2>err; grep -qx 'not a tty' out", 0);
        assert_run(
                "script -qefc \"$B vm run -- tty\" /dev/null </dev/null >out 2>err; grep -q '/dev/pts/' out",
                0);
        assert_run("script -qefc \"stty rows 33 cols 99; stty -g >before; $B vm run -- stty size; stty -g "
                   ">after\" /dev/null "
                   "</dev/null >out 2>err; grep -q '33 99' out && cmp before after",
                   0);
}

static void lists_are_tables_or_json(void **state)
{
        (void) state;
        assert_run("$B vm list >out 2>err; printf 'NAME  STATE    IMAGE   VCPU  MEMORY   DISK     ADDRESS  "
                   "WORKSPACE\\n"
                   "web   running  debian  2     1.0 GiB  8.0 GiB  -        -\\n' | cmp - out",
                   0);
        assert_run("$B ps --json >out 2>err; printf '[\n  {\n    \"name\": \"web\"\n  }\n]\n' | cmp - out",
                   0);
        assert_run("$B vm stop web 0a1 nowhere web >out 2>err; test $? = 1 && echo web | cmp - out && "
                   "grep -q \"no vm named 'nowhere'\" err && test $(grep -cx vm.stop log) = 1",
                   0);
}

static void doctor_says_what_matters(void **state)
{
        (void) state;
        assert_run("rm -f all-pass; $B doctor >out 2>err; test $? = 1 && "
                   "printf 'FAIL bad\n  - broken\n2 checks: 1 passed, 0 warnings, 1 failed\n' | cmp - out",
                   0);
        assert_run("rm -f all-pass; $B doctor -v >out 2>err; test $? = 1 && head -2 out | tr '\n' '|' | grep "
                   "-qx 'PASS good|  - fine|'",
                   0);
        assert_run("touch all-pass; $B doctor >out 2>err && echo 'all 2 checks passed' | cmp - out", 0);
}

static void the_daemon_is_found_and_stopped(void **state)
{
        (void) state;
        assert_run("$B daemon socket >out 2>err && echo \"$PWD/banger/bangerd.sock\" | cmp - out", 0);
        assert_run("$B daemon stop 2>err && grep -qx daemon.shutdown log", 0);
        assert_run("XDG_RUNTIME_DIR=/nonexistent $B daemon stop 2>err && grep -qx 'bangerd does not run' err",
                   0);
}

static void completion_offers_what_fits(void **state)
{
        (void) state;
        assert_run("$B internal complete -- vm st >out; printf 'start\nstop\nstats\n' | cmp - out", 0);
        assert_run("$B internal complete -- vm ssh w >out; echo web | cmp - out", 0);
        assert_run("XDG_RUNTIME_DIR=/nonexistent $B internal complete -- vm ssh w >out; cmp /dev/null out",
                   0);
        assert_run("bash -n -c \"$($B completion bash)\"", 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(output_errors_and_status_are_the_commands),
                cmocka_unit_test(input_arrives_to_the_byte_and_so_does_its_end),
                cmocka_unit_test(signals_reach_the_command),
                cmocka_unit_test(the_vm_goes_with_rm_and_stays_without),
                cmocka_unit_test(impossible_wishes_are_refused_before_a_vm_is_made),
                cmocka_unit_test(a_refusal_is_told_with_its_operation),
                cmocka_unit_test(a_terminal_is_made_exactly_for_a_terminal),
                cmocka_unit_test(lists_are_tables_or_json),
                cmocka_unit_test(doctor_says_what_matters),
                cmocka_unit_test(the_daemon_is_found_and_stopped),
                cmocka_unit_test(completion_offers_what_fits),
        };

        if (geteuid() != 0) { /* an agent is root in its guest */
                print_message("1..0 # SKIP needs root\n");
                return 0;
        }
        return cmocka_run_group_tests(tests, setup, teardown);
}
