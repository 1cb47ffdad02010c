/* vm.pause, vm.resume: operations of one job. The VM stays a running one; that it stands still is kept in its ledger. */
#include <errno.h>
#include <stdlib.h>

#include "api/api_vm.h"
#include "base/text.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_stale.h"
#include "daemon/daemon_vm.h"
#include "daemon/daemon_watch.h"

struct pause {
        struct store_vm vm; /* owned strings */
        bool paused;        /* what is wanted */
};

static void pause_free(void *state)
{
        struct pause *pause = state;

        store_vm_done(&pause->vm);
        free(pause);
}

static void done(struct daemon_operation *operation, const struct daemon_job_end *end)
{
        const struct pause *pause = operation->state;
        struct daemon_guard *guard = daemon_guard_find(operation->daemon, pause->vm.id);

        if (!end->result)
                (void) daemon_operation_fail(operation, end->err);
        else if (guard)
                guard->paused = pause->paused;
        daemon_stale_touch(operation->daemon, pause->vm.id);
        operation->answer = daemon_vm_object(operation->daemon, &pause->vm);
        daemon_operation_end(operation);
}

static int check(const struct daemon *daemon, const struct store_vm *vm, struct err *err)
{
        if (vm->state != VM_RUNNING)
                return err_set(err, EIO, "vm.pause",
                               "vm '%s' is not running (%s); 'banger vm start %s' starts it", vm->name,
                               vm_state_name(vm->state), vm->name);
        return daemon_operation_check_idle(daemon, vm->id, vm->name, err);
}

/* What is so already is done again: the VMM takes it, and the ledger of a job that was killed is put right. */
static int begin(struct rpc_call *call, const char *reference, bool paused, struct err *err)
{
        struct daemon *daemon = daemon_of(call);
        scoped_free char *key = NULL;
        struct daemon_operation *operation;
        struct store_vm vm = { 0 };
        struct pause *pause;
        int r = store_vm_find(daemon->store, reference, &vm, err);

        if (r == 0)
                r = check(daemon, &vm, err);
        if (r < 0) {
                store_vm_done(&vm);
                return r;
        }
        pause = xcalloc(1, sizeof(*pause));
        *pause = (struct pause){ .vm = vm, .paused = paused };
        operation = daemon_operation_new(daemon, call, call->method->name);
        operation->state = pause;
        operation->free_state = pause_free;
        operation->vm_id = xstrdup(vm.id);
        free(operation->vm_name);
        operation->vm_name = xstrdup(vm.name);
        operation->keep_going = true; /* it takes milliseconds, and half-way is no state to be in */
        key = daemon_vm_key(vm.id);
        daemon_operation_job(operation, key, paused ? "job.vm.pause" : "job.vm.resume",
                             daemon_vm_job_params(daemon, &vm), done);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_vm_pause)
{
        (void) ret_result;
        return begin(call, ((const struct vm_ref_params *) params)->vm, true, err);
}

DAEMON_HANDLER(daemon_vm_resume)
{
        (void) ret_result;
        return begin(call, ((const struct vm_ref_params *) params)->vm, false, err);
}
