/* vm.start, stop, restart, kill, delete, and what follows when a VMM ends by itself. One operation a VM at a time. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/signal_name.h"
#include "daemon/daemon_admission.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_vm.h"
#include "daemon/daemon_watch.h"

#define KILL_WAIT_USEC (10 * UINT64_C(1000000)) /* spec 7.8: wait of a signal-based kill */

struct change {
        struct store_vm vm; /* as the store has it; owned strings */
        bool start_again;   /* restart */
        bool force;         /* starts whether it is admitted or not */
        sd_event_source *timer;
};

static void change_free(void *state)
{
        struct change *change = state;

        sd_event_source_disable_unref(change->timer);
        store_vm_done(&change->vm);
        free(change);
}

static void set_text(char **slot, const char *value)
{
        free(*slot);
        *slot = xstrdup(value);
}

static int begin(struct rpc_call *call, const char *reference, struct daemon_operation **ret_operation,
                 struct err *err)
{
        struct daemon *daemon = daemon_of(call);
        struct store_vm vm = { 0 };
        struct change *change;
        int r = store_vm_find(daemon->store, reference, &vm, err);

        if (r < 0)
                return r;
        r = daemon_operation_check_idle(daemon, vm.id, vm.name, err);
        if (r < 0) {
                store_vm_done(&vm);
                return r;
        }
        change = xcalloc(1, sizeof(*change));
        change->vm = vm;
        *ret_operation = daemon_operation_new(daemon, call, call->method->name);
        (*ret_operation)->state = change;
        (*ret_operation)->free_state = change_free;
        (*ret_operation)->vm_id = xstrdup(vm.id);
        set_text(&(*ret_operation)->vm_name, vm.name);
        return 0;
}

static void swap_text(char **a, char **b)
{
        char *kept = *a;

        *a = *b;
        *b = kept;
}

/*
 * What others may have written into the row since it was read: a workspace's record, or a vm.set that was at work when the
 * VMM ended. None of it is this operation's to change.
 */
static void take_in(const struct daemon *daemon, struct store_vm *vm)
{
        struct store_vm now = { 0 };
        struct err err = { 0 };

        if (store_vm_find(daemon->store, vm->id, &now, &err) < 0)
                return; /* the update that follows says so */
        swap_text(&vm->name, &now.name);
        swap_text(&vm->labels, &now.labels);
        swap_text(&vm->workspace, &now.workspace);
        vm->nat = now.nat;
        vm->vcpu = now.vcpu;
        vm->memory_mib = now.memory_mib;
        vm->disk_bytes = now.disk_bytes;
        vm->disk_iops = now.disk_iops;
        vm->disk_bandwidth = now.disk_bandwidth;
        vm->net_bandwidth = now.net_bandwidth;
        store_vm_done(&now);
}

static void save(struct daemon_operation *operation)
{
        struct change *change = operation->state;
        struct err err = { 0 };

        take_in(operation->daemon, &change->vm);
        if (store_vm_update(operation->daemon->store, &change->vm, &err) < 0) {
                log_warn("recording a vm's state failed", "{s:s, s:s, s:s, s:s}", "op_id", operation->id,
                         "vm_id", change->vm.id, "state", vm_state_name(change->vm.state), "error",
                         err.message);
                (void) daemon_operation_fail(operation, &err);
        }
}

static void end_with_object(struct daemon_operation *operation)
{
        const struct change *change = operation->state;

        operation->done = true; /* so that the object does not tell of it as in progress */
        operation->answer = daemon_vm_object(operation->daemon, &change->vm);
        daemon_operation_end(operation);
}

static void run_job(struct daemon_operation *operation, const char *method, bool remove,
                    daemon_operation_then *then)
{
        const struct change *change = operation->state;
        scoped_free char *key = daemon_vm_key(change->vm.id);
        json_t *params = daemon_vm_job_params(operation->daemon, &change->vm);

        if (remove)
                (void) json_object_set_new(params, "remove", json_true());
        daemon_operation_job(operation, key, method, params, then);
}

/* ---- start ---- */

/* S-169: the VM is recorded in state error; the error told is the start's own. */
static void start_undone(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct change *change = operation->state;

        if (!end->result)
                err_join(&operation->failure, end->err);
        change->vm.state = operation->cancelled && end->result ? VM_STOPPED : VM_ERROR;
        set_text(&change->vm.last_error, operation->cancelled ? "" : operation->failure.message);
        save(operation);
        end_with_object(operation);
}

static void started(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct change *change = operation->state;
        struct err err = { 0 };
        pid_t pid;
        int pidfd;

        if (!end->result) {
                (void) daemon_operation_fail(operation, end->err);
                run_job(operation, "job.vm.clean", false, start_undone);
                return;
        }
        pid = (pid_t) json_u64(end->result, "pid", 0);
        pidfd = fd_pidfd_open(pid);
        if (pidfd < 0)
                (void) err_set(&err, ESRCH, "vm.start", "vm '%s' ended as soon as it had started",
                               change->vm.name);
        if (pidfd < 0 || daemon_guard_add(operation->daemon, change->vm.id, pid, pidfd, &err) < 0) {
                (void) daemon_operation_fail(operation, &err);
                run_job(operation, "job.vm.clean", false, start_undone);
                return;
        }
        change->vm.state = VM_RUNNING;
        set_text(&change->vm.pending, "");
        change->vm.touched_ns = clock_real_ns();
        set_text(&change->vm.vmm, json_text(end->result, "vmm"));
        set_text(&change->vm.boot_id, json_text(end->result, "boot_id"));
        set_text(&change->vm.last_error, "");
        save(operation);
        end_with_object(operation);
}

/* False: the host has not the memory, and the operation has ended with that. */
static bool is_admitted(struct daemon_operation *operation)
{
        const struct change *change = operation->state;
        struct err err = { 0 };

        if (change->force || daemon_admit_memory(operation->daemon, &change->vm, &err) == 0)
                return true;
        (void) daemon_operation_fail(operation, &err);
        daemon_operation_end(operation);
        return false;
}

static void have_kernel(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct store_vm *vm = &((struct change *) operation->state)->vm;

        if (!end->result || operation->cancelled) {
                struct err cancelled = { 0 };

                (void) err_set(&cancelled, ECANCELED, "vm.start", "cancelled");
                (void) daemon_operation_fail(operation, end->result ? &cancelled : end->err);
                daemon_operation_end(operation);
                return;
        }
        if (!is_admitted(operation))
                return;
        daemon_vm_start_job(operation, vm, "job.vm.start", daemon_vm_job_params(operation->daemon, vm),
                            started);
}

DAEMON_HANDLER(daemon_vm_start)
{
        const struct vm_start_params *p = params;
        struct daemon_operation *operation = NULL;
        struct change *change;
        int r = begin(call, p->vm, &operation, err);

        (void) ret_result;
        if (r < 0)
                return r;
        change = operation->state;
        change->force = p->force;
        if (change->vm.state == VM_RUNNING) {
                struct err running = { 0 };

                (void) err_set(&running, EEXIST, "vm.start", "vm '%s' is %s", change->vm.name,
                               daemon_vm_state(operation->daemon, &change->vm));
                (void) daemon_operation_fail(operation, &running);
                daemon_operation_end(operation);
                return RPC_LATER;
        }
        if (!is_admitted(operation)) /* before anything is pulled, and again after it */
                return RPC_LATER;
        daemon_provide_kernel(operation, change->vm.kernel, have_kernel);
        return RPC_LATER;
}

/* ---- stop, restart ---- */

static void now_stopped(struct daemon_operation *operation)
{
        struct change *change = operation->state;

        change->vm.state = VM_STOPPED;
        set_text(&change->vm.boot_id, "");
        set_text(&change->vm.pending, "");
        save(operation);
        operation->keep_going = false; /* the second half of a restart is a start: it ends with its client */
        if (change->start_again && operation->failure.code == 0 && operation->session)
                daemon_provide_kernel(operation, change->vm.kernel, have_kernel);
        else
                end_with_object(operation);
}

static void stop_cleaned(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct change *change = operation->state;

        if (!end->result) {
                (void) daemon_operation_fail(operation, end->err);
                change->vm.state = VM_ERROR;
                set_text(&change->vm.last_error, end->err->message);
                save(operation);
                end_with_object(operation);
                return;
        }
        now_stopped(operation);
}

static void stopped(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        if (end->result) {
                now_stopped(operation);
                return;
        }
        /* The stop itself broke off: half-way is no state to be in, so it is cleaned to its end. */
        (void) daemon_operation_fail(operation, end->err);
        run_job(operation, "job.vm.clean", false, stop_cleaned);
}

static int stop_with(struct rpc_call *call, const char *reference, bool start_again, struct err *err)
{
        struct daemon_operation *operation = NULL;
        struct change *change;
        int r = begin(call, reference, &operation, err);

        if (r < 0)
                return r;
        change = operation->state;
        change->start_again = start_again;
        change->force = true;               /* it ran; a refusal would come when it is down already */
        operation->keep_going = true;       /* a guest is not left half-told because somebody was impatient */
        if (change->vm.state == VM_ERROR) { /* what it has left on the host goes */
                run_job(operation, "job.vm.clean", false, stop_cleaned);
                return RPC_LATER;
        }
        if (change->vm.state != VM_RUNNING) { /* what was asked for is so already */
                if (start_again) {
                        operation->keep_going = false;
                        daemon_provide_kernel(operation, change->vm.kernel, have_kernel);
                } else {
                        end_with_object(operation);
                }
                return RPC_LATER;
        }
        daemon_guard_remove(operation->daemon, change->vm.id);
        run_job(operation, "job.vm.stop", false, stopped);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_vm_stop)
{
        (void) ret_result;
        return stop_with(call, ((const struct vm_ref_params *) params)->vm, false, err);
}

DAEMON_HANDLER(daemon_vm_restart)
{
        (void) ret_result;
        return stop_with(call, ((const struct vm_ref_params *) params)->vm, true, err);
}

/* ---- kill ---- */

static int on_kill_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon_operation *operation = userdata;
        struct change *change = operation->state;
        struct err err = { 0 };

        (void) source;
        (void) usec;
        (void) err_set(&err, ETIMEDOUT, "vm.kill",
                       "vm '%s' did not end within 10 s; 'banger vm kill %s' without --signal ends it",
                       change->vm.name, change->vm.name);
        (void) daemon_operation_fail(operation, &err);
        change->timer = sd_event_source_disable_unref(change->timer);
        daemon_operation_end(operation);
        return 0;
}

DAEMON_HANDLER(daemon_vm_kill)
{
        const struct vm_kill_params *p = params;
        int signal = SIGKILL, r;
        struct daemon_operation *operation = NULL;
        struct change *change;

        (void) ret_result;
        r = begin(call, p->vm, &operation, err);
        if (r < 0)
                return r;
        (void) signal_from_name(p->signal ? p->signal : "KILL",
                                &signal); /* the decoder has let no other word in */
        change = operation->state;
        if (change->vm.state != VM_RUNNING) {
                end_with_object(operation);
                return RPC_LATER;
        }
        r = daemon_guard_signal(operation->daemon, change->vm.id, signal);
        if (r < 0) {
                struct err failed = { 0 };

                (void) err_set(&failed, -r, "vm.kill", "signal the VMM of vm '%s': %s", change->vm.name,
                               strerror(-r));
                (void) daemon_operation_fail(operation, &failed);
                daemon_operation_end(operation);
                return RPC_LATER;
        }
        /* daemon_vm_ended() goes on when the process is gone */
        r = sd_event_add_time_relative(operation->daemon->event, &change->timer, CLOCK_MONOTONIC,
                                       KILL_WAIT_USEC, 0, on_kill_timeout, operation);
        if (r < 0)
                log_warn("no timer for a kill", "{s:s}", "error", strerror(-r));
        return RPC_LATER;
}

/* ---- delete ---- */

static void deleted(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct change *change = operation->state;
        struct err err = { 0 };

        if (!end->result) {
                (void) daemon_operation_fail(operation, end->err);
                change->vm.state = VM_ERROR;
                set_text(&change->vm.last_error, end->err->message);
                save(operation);
        } else if (store_vm_delete(operation->daemon->store, change->vm.id, &err) < 0) {
                (void) daemon_operation_fail(operation, &err);
        }
        end_with_object(operation);
}

/* Deleting goes on when the client goes away: half a VM is worth nothing to anybody. */
DAEMON_HANDLER(daemon_vm_delete)
{
        const struct vm_ref_params *p = params;
        struct daemon_operation *operation = NULL;
        int r = begin(call, p->vm, &operation, err);

        (void) ret_result;
        if (r < 0)
                return r;
        operation->keep_going = true;
        daemon_guard_remove(operation->daemon, operation->vm_id);
        run_job(operation, "job.vm.clean", true, deleted);
        return RPC_LATER;
}

/* ---- a VMM that ended ---- */

static void ended_cleaned(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        struct change *change = operation->state;

        if (!end->result)
                (void) daemon_operation_fail(operation, end->err);
        change->vm.state = end->result ? VM_STOPPED : VM_ERROR;
        set_text(&change->vm.boot_id, "");
        set_text(&change->vm.pending, "");
        if (!end->result)
                set_text(&change->vm.last_error, end->err->message);
        save(operation);
        end_with_object(operation);
}

static void removed_stale(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        deleted(operation, end);
}

static struct daemon_operation *unasked(struct daemon *daemon, const char *kind, const struct store_vm *vm)
{
        struct daemon_operation *operation = daemon_operation_new(daemon, NULL, kind);
        struct change *change = xcalloc(1, sizeof(*change));
        struct err err = { 0 };

        operation->state = change;
        operation->free_state = change_free;
        operation->vm_id = xstrdup(vm->id);
        set_text(&operation->vm_name, vm->name);
        if (store_vm_find(daemon->store, vm->id, &change->vm, &err) < 0)
                log_warn("a vm without a row", "{s:s, s:s}", "vm_id", vm->id, "error", err.message);
        return operation;
}

void daemon_vm_clean_stale(struct daemon *daemon, const struct store_vm *vm, bool remove)
{
        struct daemon_operation *operation = unasked(daemon, "vm.clean", vm);
        struct change *change = operation->state;

        if (!change->vm.id) {
                daemon_operation_end(operation);
                return;
        }
        run_job(operation, "job.vm.clean", remove, remove ? removed_stale : ended_cleaned);
}

void daemon_vm_stop_unasked(struct daemon *daemon, const char *vm_id)
{
        const struct store_vm by_id = { .id = (char *) (uintptr_t) vm_id, .name = (char *) (uintptr_t) "" };
        struct daemon_operation *operation;
        struct change *change;
        struct err busy = { 0 };

        if (daemon_operation_check_idle(daemon, vm_id, "", &busy) < 0)
                return;
        operation = unasked(daemon, "vm.stop", &by_id);
        change = operation->state;
        if (!change->vm.id || change->vm.state != VM_RUNNING) {
                daemon_operation_end(operation);
                return;
        }
        set_text(&operation->vm_name, change->vm.name);
        daemon_guard_remove(daemon, change->vm.id);
        run_job(operation, "job.vm.stop", false, stopped);
}

static struct daemon_operation *killing_of(struct daemon *daemon, const char *vm_id)
{
        for (struct daemon_operation *o = daemon->operations; o; o = o->next)
                if (!o->done && !o->job && o->vm_id && strcmp(o->vm_id, vm_id) == 0 &&
                    strcmp(o->kind, "vm.kill") == 0)
                        return o;
        return NULL;
}

void daemon_vm_ended(struct daemon *daemon, const char *vm_id)
{
        struct daemon_operation *operation = killing_of(daemon, vm_id);
        const struct store_vm by_id = { .id = (char *) (uintptr_t) vm_id, .name = (char *) (uintptr_t) "" };

        if (operation) {
                struct change *change = operation->state;

                change->timer = sd_event_source_disable_unref(change->timer);
                operation->keep_going = true;
                run_job(operation, "job.vm.clean", false, ended_cleaned);
                return;
        }
        daemon_vm_clean_stale(daemon, &by_id, false);
}
