#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/job.h"

#define NAME_WAITING "bangerd-spare" /* daemon_process.h */

static int job_sock = -1;
static char *folder_to_remove; /* owned; NULL: none */

static int send_event(json_t *owned_event)
{
        json_auto_t *message = json_pack("{s:o}", "event", owned_event);
        struct err err = { 0 };

        return rpc_send(job_sock, message, NULL, 0, &err) < 0 ? -ECANCELED : 0;
}

int job_report(const char *stage, const char *state, uint64_t done, uint64_t total, uint64_t elapsed_ms)
{
        return send_event(json_pack("{s:s, s:s, s:I, s:I, s:I}", "stage", stage, "state", state, "done",
                                    (json_int_t) done, "total", (json_int_t) total, "elapsed_ms",
                                    (json_int_t) elapsed_ms));
}

void job_remove_afterwards(const char *folder)
{
        free(folder_to_remove);
        folder_to_remove = xstrdup(folder);
}

static void remove_folder(void)
{
        struct err err = { 0 };

        if (folder_to_remove && file_remove_tree(folder_to_remove, &err) < 0)
                log_warn("removing a folder failed; the next start of bangerd tries again", "{s:s, s:s}",
                         "folder", folder_to_remove, "error", err.message);
        free(folder_to_remove);
}

int job_report_part(const char *stage, const char *part, uint64_t done, uint64_t total)
{
        return send_event(json_pack("{s:s, s:s, s:s, s:I, s:I}", "stage", stage, "state", "progress", "part",
                                    part, "done", (json_int_t) done, "total", (json_int_t) total));
}

int job_warn(const char *stage, const char *text)
{
        return send_event(json_pack("{s:s, s:s, s:s}", "stage", stage, "state", "warning", "detail", text));
}

int job_main(int sock, const struct rpc_binding *bindings)
{
        struct rpc_call call = { 0 };
        struct err err = { 0 };
        json_auto_t *answer = NULL;
        json_t *result = NULL;
        int r;

        job_sock = sock;
        /* what lists of processes call it: until the request comes it may be one that waits for the next job */
        (void) prctl(PR_SET_NAME, NAME_WAITING);
        r = rpc_receive(sock, UINT64_MAX, &call.message, call.fds, &call.n_fds, &err);
        (void) prctl(PR_SET_NAME, program_invocation_short_name);
        if (r == 0) {
                log_set_op_id(json_string_value(json_object_get(call.message, "op_id")));
                r = rpc_dispatch(&call, bindings, true, &result, &err);
        }
        answer = rpc_answer(&call, r, result, &err);
        err = (struct err){ 0 };
        (void) rpc_send(sock, answer, NULL, 0, &err);
        if (r == 0)
                remove_folder();
        rpc_call_done(&call);
        return r < 0 ? 1 : 0;
}
