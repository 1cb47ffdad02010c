#include <errno.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/job.h"

static int job_sock = -1;

int job_report(const char *stage, const char *state, uint64_t done, uint64_t total, uint64_t elapsed_ms)
{
        json_auto_t *message = json_pack("{s:{s:s, s:s, s:I, s:I, s:I}}", "event", "stage", stage, "state",
                                         state, "done", (json_int_t) done, "total", (json_int_t) total,
                                         "elapsed_ms", (json_int_t) elapsed_ms);
        struct err err = { 0 };

        return rpc_send(job_sock, message, NULL, 0, &err) < 0 ? -ECANCELED : 0;
}

int job_main(int sock, const struct rpc_binding *bindings)
{
        struct rpc_call call = { 0 };
        struct err err = { 0 };
        json_auto_t *answer = NULL;
        json_t *result = NULL;
        int r, fds[FD_PASS_MAX];
        size_t n_fds = 0;

        job_sock = sock;
        r = rpc_receive(sock, UINT64_MAX, &call.message, fds, &n_fds, &err);
        if (r == 0) {
                log_set_op_id(json_string_value(json_object_get(call.message, "op_id")));
                r = rpc_dispatch(&call, bindings, true, &result, &err);
        }
        answer = rpc_answer(&call, r, result, &err);
        err = (struct err){ 0 };
        (void) rpc_send(sock, answer, NULL, 0, &err);
        rpc_call_done(&call);
        return r < 0 ? 1 : 0;
}
