#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "rpc/rpc_client.h"
#include "rpc/rpc_server.h"
#include "unit.h"

struct echo_params {
        const char *text;
        bool fail;
};

static const struct rpc_field echo_fields[] = {
        RPC_FIELD(struct echo_params, text, "what to say", .required = true),
        RPC_FIELD(struct echo_params, fail, "refuse"),
        RPC_END,
};
static const struct rpc_method echo_method = {
        .name = "test.echo",
        .doc = "Say it.",
        .params_size = sizeof(struct echo_params),
        .params = echo_fields,
        .n_fds_out = 1,
};

static int echo(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct echo_params *p = params;

        if (p->fail)
                return err_set(err, EEXIST, "test.echo", "'%s' is there", p->text);
        call->reply_fds[call->n_reply_fds++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        *ret_result = json_pack("{s:s, s:i}", "text", p->text, "n_fds", (int) call->n_fds);
        return 0;
}

static const struct rpc_binding bindings[] = {
        {&echo_method, echo},
        { NULL,        NULL},
};

/* A server process for one request; the client's end of the socket. */
static int serve(uid_t owner, pid_t *ret_pid)
{
        int ends[2];

        assert_int_equal(fd_unix_pair(ends), 0);
        *ret_pid = fork();
        assert_true(*ret_pid >= 0);
        if (*ret_pid == 0) {
                struct rpc_call call = { 0 };
                struct err err = { 0 };
                int r;

                (void) close(ends[0]);
                r = rpc_serve_one(ends[1], owner, bindings, 2000, &call, &err);
                rpc_call_done(&call);
                _exit(r < 0 ? 1 : 0);
        }
        (void) close(ends[1]);
        return ends[0];
}

static int call(const char *method, json_t *owned_params, const char *op_id, struct rpc_reply *reply,
                struct err *err)
{
        json_auto_t *params = owned_params;
        struct rpc_request request = {
                .method = method, .params = params, .op_id = op_id, .timeout_ms = 2000
        };
        pid_t pid;
        scoped_close int sock = serve(geteuid(), &pid);
        int r = rpc_call_on(sock, &request, reply, err);

        (void) waitpid(pid, NULL, 0);
        return r;
}

static void answers_with_result_descriptor_and_adopted_op_id(void **state)
{
        __attribute__((__cleanup__(rpc_reply_done_at_scope_end))) struct rpc_reply reply = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(call("test.echo", json_pack("{s:s}", "text", "hi"), "op-0123456789ab", &reply, &err),
                         0);
        assert_string_equal(json_text(reply.result, "text"), "hi");
        assert_int_equal(reply.n_fds, 1);
        assert_string_equal(reply.op_id, "op-0123456789ab");
}

static void refusals_are_typed_and_carry_an_op_id(void **state)
{
        static const struct {
                const char *method, *params, *code, *message;
        } cases[] = {
                {"test.echo",  "{\"text\":\"a\",\"fail\":true}", "already_exists", "'a' is there"         },
                { "test.echo", "{}",                             "bad_request",    "text: missing"        },
                { "test.nope", "{}",                             "unknown_method", "no method 'test.nope'"},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct rpc_reply reply = { 0 };
                struct err err = { 0 };
                json_t *params = json_loads(cases[i].params, 0, NULL);

                assert_true(call(cases[i].method, params, NULL, &reply, &err) < 0);
                assert_string_equal(reply.code, cases[i].code);
                assert_string_equal(err.message, cases[i].message);
                assert_true(rpc_op_id_is_valid(reply.op_id));
                rpc_reply_done(&reply);
        }
}

/* Sends bytes as they are and takes the answer. */
static void refuses(const void *bytes, size_t n, uid_t owner, const char *code)
{
        json_auto_t *answer = NULL;
        int fds[FD_PASS_MAX];
        struct err err = { 0 };
        size_t n_fds = 0;
        pid_t pid;
        scoped_close int sock = serve(owner, &pid);

        (void) fd_write_full(sock, bytes, n);
        assert_int_equal(rpc_receive(sock, clock_monotonic_ms() + 2000, &answer, fds, &n_fds, &err), 0);
        assert_string_equal(json_text(json_object_get(answer, "error"), "code"), code);
        assert_true(rpc_op_id_is_valid(json_text(json_object_get(answer, "error"), "op_id")));
        (void) waitpid(pid, NULL, 0);
}

static void other_versions_and_broken_messages_are_refused(void **state)
{
        static const char too_long[4] = { 1, 0, 0x10, 0 };
        scoped_text struct text other = { 0 };
        json_auto_t *message = json_pack("{s:i, s:s}", "version", 2, "method", "test.echo");
        struct err err = { 0 };

        (void) state;
        assert_int_equal(rpc_encode(message, &other, &err), 0);
        refuses(other.s, other.n, geteuid(), "bad_version");
        refuses(too_long, sizeof(too_long), geteuid(), "bad_request");
        refuses("\5\0\0\0{bad}", 9, geteuid(), "bad_request");
}

static void strangers_are_refused(void **state)
{
        struct ucred peer;
        struct err err = { 0 };
        int pipe_ends[2];

        (void) state;
        assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
        assert_int_equal(rpc_check_peer(pipe_ends[0], geteuid(), &peer, &err), -EPERM);
        (void) close(pipe_ends[0]);
        (void) close(pipe_ends[1]);
}

static void a_reader_takes_messages_in_pieces(void **state)
{
        scoped_text struct text bytes = { 0 };
        json_auto_t *message = json_pack("{s:s}", "text", "in pieces");
        struct rpc_reader reader = { 0 };
        struct err err = { 0 };
        json_t *got = NULL;
        int ends[2];

        (void) state;
        assert_int_equal(fd_unix_pair(ends), 0);
        assert_int_equal(fd_set_nonblocking(ends[1], true), 0);
        assert_int_equal(rpc_encode(message, &bytes, &err), 0);
        for (size_t i = 0; i < bytes.n; i++) {
                assert_int_equal(rpc_reader_read(&reader, ends[1], &got, &err), 0);
                assert_int_equal(fd_write_full(ends[0], bytes.s + i, 1), 0);
        }
        assert_int_equal(rpc_reader_read(&reader, ends[1], &got, &err), 1);
        assert_string_equal(json_text(got, "text"), "in pieces");
        json_decref(got);
        (void) close(ends[0]);
        assert_int_equal(rpc_reader_read(&reader, ends[1], &got, &err), -ENODATA);
        rpc_reader_done(&reader);
        (void) close(ends[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(answers_with_result_descriptor_and_adopted_op_id),
                cmocka_unit_test(refusals_are_typed_and_carry_an_op_id),
                cmocka_unit_test(other_versions_and_broken_messages_are_refused),
                cmocka_unit_test(strangers_are_refused),
                cmocka_unit_test(a_reader_takes_messages_in_pieces),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
