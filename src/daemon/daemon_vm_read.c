/* vm.list, show, connect, logs, workspace.record: answered in the loop, from the store and the VM's folders. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/scoped.h"
#include "daemon/daemon_objects.h"
#include "vm/vm_spec.h"

static void store_vm_done_at_scope_end(struct store_vm *vm)
{
        store_vm_done(vm);
}

DAEMON_HANDLER(daemon_vm_list)
{
        const struct vm_list_params *p = params;
        struct daemon *daemon = daemon_of(call);
        json_t *array = json_array();
        struct store_vm *vms = NULL;
        unsigned n = 0;
        int r = store_vm_list(daemon->store, &vms, &n, err);

        for (unsigned i = 0; i < n; i++) {
                json_t *object = p->brief ? daemon_vm_brief(&vms[i]) : daemon_vm_object(daemon, &vms[i]);

                if (p->brief)
                        (void) json_object_set_new(object, "operation", daemon_vm_operation(daemon, &vms[i]));
                (void) json_array_append_new(array, object);
                store_vm_done(&vms[i]);
        }
        free(vms);
        *ret_result = json_pack("{s:o}", "vms", array);
        return r;
}

DAEMON_HANDLER(daemon_vm_show)
{
        const struct vm_ref_params *p = params;
        scoped(store_vm_done) struct store_vm vm = { 0 };
        int r = store_vm_find(daemon_of(call)->store, p->vm, &vm, err);

        if (r < 0)
                return r;
        *ret_result = daemon_vm_object(daemon_of(call), &vm);
        return 0;
}

/*
 * Only the connection to the VMM's vsock socket is made here, which never waits; the client does the talking, since a
 * hostile guest may take its time.
 */
DAEMON_HANDLER(daemon_vm_connect)
{
        const struct vm_ref_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(store_vm_done) struct store_vm vm = { 0 };
        scoped_free char *runtime = NULL, *vsock = NULL;
        int fd, r = store_vm_find(daemon->store, p->vm, &vm, err);

        if (r < 0)
                return r;
        if (vm.state != VM_RUNNING)
                return err_set(err, EIO, "vm.connect",
                               "vm '%s' is not running (%s); 'banger vm start %s' starts it", vm.name,
                               vm_state_name(vm.state), vm.name);
        runtime = layout_join(daemon->runtime_vms, vm.id, NULL);
        vsock = vm_path_vsock(runtime);
        fd = fd_unix_connect(vsock);
        if (fd < 0)
                return err_set(err, EIO, "vm.connect", "connect to the VMM of vm '%s' ('%s'): %s", vm.name,
                               vsock, strerror(-fd));
        call->reply_fds[call->n_reply_fds++] = fd;
        *ret_result = daemon_vm_object(daemon, &vm);
        return 0;
}

static int open_log(struct rpc_call *call, char *owned_path, struct err *err)
{
        scoped_free char *path = owned_path;
        /* made when missing, so that a VM that never ran has an empty log and not an error */
        int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return err_errno(err, "vm.logs", "open '%s'", path);
        call->reply_fds[call->n_reply_fds++] = fd;
        return 0;
}

DAEMON_HANDLER(daemon_vm_logs)
{
        const struct vm_ref_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(store_vm_done) struct store_vm vm = { 0 };
        scoped_free char *folder = NULL;
        int r = store_vm_find(daemon->store, p->vm, &vm, err);

        (void) ret_result;
        if (r < 0)
                return r;
        folder = layout_join(daemon->vms_folder, vm.id, NULL);
        r = open_log(call, vm_path_console_log(folder), err);
        return r < 0 ? r : open_log(call, vm_path_vmm_log(folder), err);
}

DAEMON_HANDLER(daemon_vm_workspace_record)
{
        const struct vm_workspace_record_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(store_vm_done) struct store_vm vm = { 0 };
        json_auto_t *record = json_pack("{s:s, s:s, s:s}", "guest_path", p->guest_path, "host_path",
                                        p->host_path, "head", p->head);
        int r = store_vm_find(daemon->store, p->vm, &vm, err);

        if (r < 0)
                return r;
        free(vm.workspace);
        vm.workspace = json_dumps(record, JSON_COMPACT);
        r = store_vm_update(daemon->store, &vm, err);
        if (r < 0)
                return r;
        *ret_result = daemon_vm_object(daemon, &vm);
        return 0;
}
