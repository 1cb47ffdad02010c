/* vm.list, rows, show, connect, logs, workspace.record: answered in the loop, from the store and the VM's folders. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/scoped.h"
#include "daemon/daemon_logs.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_stale.h"
#include "daemon/daemon_vm.h"
#include "daemon/daemon_watch.h"
#include "vm/vm_spec.h"

DAEMON_HANDLER(daemon_vm_list)
{
        struct daemon *daemon = daemon_of(call);
        json_t *array = json_array();
        struct store_vm *vms = NULL;
        unsigned n = 0;
        int r = store_vm_list(daemon->store, &vms, &n, err);

        (void) params;
        for (unsigned i = 0; i < n; i++) {
                (void) json_array_append_new(array, daemon_vm_object(daemon, &vms[i]));
                store_vm_done(&vms[i]);
        }
        free(vms);
        *ret_result = json_pack("{s:o}", "vms", array);
        return r;
}

struct rows {
        const struct daemon *daemon; /* borrowed */
        struct text lines;           /* owned */
        struct text objects;         /* owned; {} as long as they are not wanted */
        bool with_objects;
};

static void add_row(void *userdata, const struct store_vm *vm)
{
        struct rows *rows = userdata;

        daemon_vm_row(rows->daemon, vm, &rows->lines);
        if (rows->with_objects) {
                daemon_vm_text(rows->daemon, vm, &rows->objects);
                text_append_bytes(&rows->objects, "", 1);
        }
}

/* Replies with the text in a file of no folder. */
static int reply_in_memory(struct rpc_call *call, const struct text *text, struct err *err)
{
        scoped_close int fd = memfd_create("banger-rows", MFD_CLOEXEC);
        int r = fd < 0 ? -errno : fd_write_full(fd, text->s, text->n);

        if (r < 0)
                return err_set(err, -r, "vm.rows", "hand over the list: %s", strerror(-r));
        call->reply_fds[call->n_reply_fds++] = take_fd(&fd);
        return 0;
}

DAEMON_HANDLER(daemon_vm_rows)
{
        const struct vm_rows_params *p = params;
        struct daemon *daemon = daemon_of(call);
        struct rows rows = { .daemon = daemon, .with_objects = p->objects };
        int r = store_vm_each(daemon->store, add_row, &rows, err);

        (void) ret_result;
        if (r == 0)
                r = reply_in_memory(call, &rows.lines, err);
        if (r == 0 && p->objects)
                r = reply_in_memory(call, &rows.objects, err);
        text_done(&rows.lines);
        text_done(&rows.objects);
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
        r = daemon_vm_need_awake(daemon, &vm, "vm.connect", err);
        if (r < 0)
                return r;
        daemon_stale_touch(daemon, vm.id);
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

/* What was written before the log was last touched cannot be newer than that touch. */
static uint64_t console_place(const struct daemon *daemon, const struct store_vm *vm, int console,
                              uint64_t since_ns)
{
        const struct daemon_guard *guard = daemon_guard_find(daemon, vm->id);
        struct stat st;

        if (since_ns == 0 || fstat(console, &st) < 0)
                return 0;
        if ((uint64_t) st.st_mtim.tv_sec * 1000000000U + (uint64_t) st.st_mtim.tv_nsec < since_ns)
                return (uint64_t) st.st_size;
        return guard ? daemon_logs_place(guard, since_ns) : 0;
}

DAEMON_HANDLER(daemon_vm_logs)
{
        const struct vm_logs_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(store_vm_done) struct store_vm vm = { 0 };
        scoped_free char *folder = NULL;
        int r = store_vm_find(daemon->store, p->vm, &vm, err);

        if (r < 0)
                return r;
        folder = layout_join(daemon->vms_folder, vm.id, NULL);
        r = open_log(call, vm_path_console_log(folder), err);
        if (r == 0)
                r = open_log(call, vm_path_vmm_log(folder), err);
        if (r < 0)
                return r;
        *ret_result = json_pack("{s:I}", "console_place",
                                (json_int_t) console_place(daemon, &vm, call->reply_fds[0], p->since_ns));
        return 0;
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
