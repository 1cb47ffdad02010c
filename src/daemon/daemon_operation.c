#include "daemon/daemon_operation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"
#include "daemon/daemon_session.h"

#define KEEP_ENDED_NS  (UINT64_C(300) * 1000000000U)
#define KEEP_ENDED_MAX 256 /* the oldest go first */

static void operation_free(struct daemon_operation *operation)
{
        if (operation->free_state)
                operation->free_state(operation->state);
        json_decref(operation->answer);
        json_decref(operation->stages);
        free(operation->vm_id);
        free(operation->vm_name);
        free(operation->stage);
        free(operation->error);
        free(operation);
}

static void prune_ended(struct daemon *daemon)
{
        uint64_t now = clock_real_ns();
        unsigned n_ended = 0;

        for (const struct daemon_operation *o = daemon->operations; o; o = o->next)
                n_ended += o->done;
        for (struct daemon_operation **link = &daemon->operations; *link;) {
                struct daemon_operation *operation = *link;

                if (operation->done &&
                    (now - operation->updated_ns > KEEP_ENDED_NS || n_ended > KEEP_ENDED_MAX)) {
                        n_ended--;
                        *link = operation->next;
                        operation_free(operation);
                } else {
                        link = &operation->next;
                }
        }
}

void daemon_operation_cancel(struct daemon_operation *operation)
{
        /* what has failed is on its way back already, and that way is gone to its end */
        if (operation->done || operation->cancelled || operation->failure.code != 0)
                return;
        operation->cancelled = true;
        if (operation->job)
                daemon_job_cancel(operation->job);
}

/* The client is gone: the job in progress is killed, and its end then finds the operation cancelled. */
static void on_gone(void *userdata)
{
        struct daemon_operation *operation = userdata;

        operation->session = NULL;
        if (!operation->keep_going)
                daemon_operation_cancel(operation);
}

struct daemon_operation *daemon_operation_new(struct daemon *daemon, struct rpc_call *call, const char *kind)
{
        struct daemon_operation *operation = xcalloc(1, sizeof(*operation)), **tail = &daemon->operations;

        prune_ended(daemon);
        *operation = (struct daemon_operation){
                .daemon = daemon,
                .kind = kind,
                .vm_name = xstrdup(""),
                .stage = xstrdup(""),
                .error = xstrdup(""),
                .stages = json_array(),
                .started_ns = clock_real_ns(),
                .updated_ns = clock_real_ns(),
        };
        if (call) {
                operation->session = ((struct daemon_context *) call->context)->session;
                (void) snprintf(operation->id, sizeof(operation->id), "%s", call->op_id);
                operation->client = call->peer;
                daemon_session_on_gone(operation->session, on_gone, operation);
        } else {
                rpc_op_id_new(operation->id);
        }
        while (*tail)
                tail = &(*tail)->next;
        *tail = operation;
        log_debug("operation started", "{s:s, s:s}", "op_id", operation->id, "method", kind);
        return operation;
}

static void set_stage(struct daemon_operation *operation, const char *stage)
{
        free(operation->stage);
        operation->stage = xstrdup(stage);
        operation->updated_ns = clock_real_ns();
}

#define STAGES_MAX 64 /* that are remembered of one operation */

static void note_end(struct daemon_operation *operation, const json_t *event)
{
        const char *stage = json_text(event, "stage");
        json_int_t elapsed = (json_int_t) json_u64(event, "elapsed_ms", 0);

        if (json_array_size(operation->stages) < STAGES_MAX)
                (void) json_array_append_new(operation->stages,
                                             json_pack("{s:s, s:I}", "name", stage, "elapsed_ms", elapsed));
        log_debug("stage ended", "{s:s, s:s, s:s, s:s, s:I}", "op_id", operation->id, "method",
                  operation->kind, "vm_name", operation->vm_name, "stage", stage, "duration_ms", elapsed);
}

static void on_job_event(void *userdata, const json_t *event)
{
        struct daemon_operation *operation = userdata;

        set_stage(operation, json_text(event, "stage"));
        if (strcmp(json_text(event, "state"), "end") == 0)
                note_end(operation, event);
        daemon_session_event(operation->session, event);
}

static void on_job_end(void *userdata, const struct daemon_job_end *end)
{
        struct daemon_operation *operation = userdata;

        operation->job = NULL;
        operation->then(operation, end);
}

/* What is done is in the request; who hears of it is filled in here. */
static void add_job(struct daemon_operation *operation, struct daemon_job_request request,
                    daemon_operation_then *then)
{
        request.op_id = operation->id;
        request.event = on_job_event;
        request.end = on_job_end;
        request.userdata = operation;
        operation->then = then;
        operation->job = daemon_job_add(operation->daemon, &request);
}

void daemon_operation_job(struct daemon_operation *operation, const char *key, const char *method,
                          json_t *owned_params, daemon_operation_then *then)
{
        daemon_operation_job_with(operation, key, method, owned_params, FD_NONE, then);
}

void daemon_operation_job_with(struct daemon_operation *operation, const char *key, const char *method,
                               json_t *owned_params, int owned_fd, daemon_operation_then *then)
{
        const struct daemon_job_request request = {
                .key = key,
                .method = method,
                .owned_params = owned_params,
                .owned_fds = { owned_fd },
                .n_fds = owned_fd >= 0 ? 1 : 0,
        };

        add_job(operation, request, then);
}

void daemon_operation_shared_job(struct daemon_operation *operation, const char *key, const char *method,
                                 json_t *owned_params, daemon_operation_then *then)
{
        const struct daemon_job_request request = {
                .key = key,
                .method = method,
                .owned_params = owned_params,
                .may_share = true,
        };

        add_job(operation, request, then);
}

void daemon_operation_stage(struct daemon_operation *operation, const char *stage, const char *detail)
{
        json_auto_t *event = json_pack("{s:s, s:s, s:s}", "stage", stage, "state", "note", "detail", detail);

        set_stage(operation, stage);
        daemon_session_event(operation->session, event);
}

int daemon_operation_fail(struct daemon_operation *operation, const struct err *err)
{
        if (operation->failure.code == 0)
                operation->failure = *err;
        return -operation->failure.code;
}

void daemon_operation_end(struct daemon_operation *operation)
{
        struct daemon_session *session = operation->session;
        json_t *answer = operation->answer;
        int r = operation->failure.code ? -operation->failure.code : 0;

        operation->session = NULL;
        operation->answer = NULL;
        operation->done = true;
        operation->success = r == 0;
        operation->updated_ns = clock_real_ns();
        if (r < 0) {
                free(operation->error);
                operation->error = xstrdup(operation->failure.message);
                if (!session)
                        log_warn("operation failed", "{s:s, s:s, s:s, s:s}", "op_id", operation->id, "method",
                                 operation->kind, "vm_name", operation->vm_name, "error", operation->error);
        }
        daemon_session_answer(session, r, answer, &operation->failure);
}

void daemon_operation_detach(struct daemon_operation *operation)
{
        daemon_session_on_gone(operation->session, NULL, NULL);
        operation->session = NULL;
        operation->keep_going = true;
}

struct daemon_operation *daemon_operation_find(const struct daemon *daemon, const char *id)
{
        for (struct daemon_operation *o = daemon->operations; o; o = o->next)
                if (strcmp(o->id, id) == 0)
                        return o;
        return NULL;
}

const struct daemon_operation *daemon_operation_of_vm(const struct daemon *daemon, const char *vm_id)
{
        for (const struct daemon_operation *o = daemon->operations; o; o = o->next)
                if (!o->done && o->vm_id && strcmp(o->vm_id, vm_id) == 0)
                        return o;
        return NULL;
}

int daemon_operation_check_idle(const struct daemon *daemon, const char *vm_id, const char *vm_name,
                                struct err *err)
{
        const struct daemon_operation *o = daemon_operation_of_vm(daemon, vm_id);

        return o ? err_set(err, EBUSY, "daemon.operation",
                           "vm '%s' is busy: %s is in progress (%s); try again when it has ended", vm_name,
                           o->kind, o->id)
                 : 0;
}

json_t *daemon_operation_object(const struct daemon_operation *o)
{
        char started[CLOCK_TEXT_MAX], updated[CLOCK_TEXT_MAX];
        uint64_t end_ns = o->done ? o->updated_ns : clock_real_ns();
        json_t *object;

        clock_format(o->started_ns, started);
        clock_format(o->updated_ns, updated);
        object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:s, s:s}", "id", o->id, "kind", o->kind,
                           "vm_name", o->vm_name, "stage", o->stage, "detail", "", "done", (int) o->done,
                           "success", (int) o->success, "error", o->error, "started_at", started,
                           "updated_at", updated);
        (void) json_object_update_new(
                object, json_pack("{s:O, s:I, s:i, s:i}", "stages", o->stages, "elapsed_ms",
                                  (json_int_t) ((end_ns - o->started_ns) / 1000000U), "client_pid",
                                  (int) o->client.pid, "client_uid", (int) o->client.uid));
        return object;
}

json_t *daemon_operations_snapshot(const struct daemon *daemon)
{
        json_t *array = json_array();

        for (const struct daemon_operation *o = daemon->operations; o; o = o->next)
                (void) json_array_append_new(array, daemon_operation_object(o));
        return array;
}

void daemon_operations_done(struct daemon *daemon)
{
        while (daemon->operations) {
                struct daemon_operation *operation = daemon->operations;

                daemon->operations = operation->next;
                operation_free(operation);
        }
}
