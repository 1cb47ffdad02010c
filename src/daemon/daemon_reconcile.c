/*
 * Takes up what an earlier daemon left, however it ended. A VM whose ledger says ready and whose VMM is proven to live
 * is adopted; a half-made one is removed; the rest is cleaned and recorded as stopped. One line each.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/daemon_job.h"
#include "daemon/daemon_stores.h"
#include "daemon/daemon_tap_pool.h"
#include "daemon/daemon_vm.h"
#include "daemon/daemon_watch.h"
#include "network/network_plan.h"
#include "vm/vm_ledger.h"
#include "vm/vm_process.h"
#include "vm/vm_spec.h"
#include "vmm/client/vmm_client.h"

static void say(const char *what, const struct store_vm *vm)
{
        log_info(what, "{s:s, s:s, s:s}", "vm_id", vm->id, "vm_name", vm->name, "state",
                 vm_state_name(vm->state));
}

static void set_text(char **slot, const char *value)
{
        free(*slot);
        *slot = xstrdup(value);
}

/* The row may be behind the ledger: the daemon may have died between a start's end and its record. */
static int adopt(struct daemon *daemon, struct store_vm *vm, const struct vm_ledger *ledger, int owned_pidfd,
                 struct err *err)
{
        int r = daemon_guard_add(daemon, vm->id, ledger->pid, owned_pidfd, err);

        if (r < 0)
                return r;
        daemon_guard_find(daemon, vm->id)->paused = ledger->paused;
        vm->state = VM_RUNNING;
        set_text(&vm->vmm, ledger->vmm_kind);
        set_text(&vm->boot_id, ledger->boot_id);
        return store_vm_update(daemon->store, vm, err);
}

/*
 * The process is the one we started; its API should say the same. One that is silent is adopted all the same: the guest may be
 * well, and whoever stops it ends it. One that answers for another VM is not the one.
 */
static bool api_agrees(const struct store_vm *vm, const char *api)
{
        char id[65], state[16];
        struct err err = { 0 };

        if (vmm_ask(api, id, state, &err) < 0) {
                log_warn("a running vm's VMM does not answer", "{s:s, s:s}", "vm_id", vm->id, "error",
                         err.message);
                return true;
        }
        return strcmp(id, vm->id) == 0;
}

/* The row of a running VM says enough to write a lost ledger again (spec 7.1); *ledger has the phase and the process. */
static int write_again(struct daemon *daemon, const struct store_vm *vm, struct vm_ledger *ledger)
{
        scoped_free char *folder = layout_join(daemon->vms_folder, vm->id, NULL);
        struct err err = { 0 };
        int r;

        if (vm->tap[0] != '\0')
                (void) snprintf(ledger->tap, sizeof(ledger->tap), "%s", vm->tap);
        else
                network_tap_of(vm->id, ledger->tap);
        (void) snprintf(ledger->address, sizeof(ledger->address), "%s", vm->address);
        (void) snprintf(ledger->vmm_kind, sizeof(ledger->vmm_kind), "%s", vm->vmm);
        (void) snprintf(ledger->boot_id, sizeof(ledger->boot_id), "%s", vm->boot_id);
        r = vm_ledger_write(folder, ledger, &err);
        if (r < 0)
                log_warn("writing a lost ledger again failed", "{s:s, s:s}", "vm_id", vm->id, "error",
                         err.message);
        else
                say("the ledger of a running vm was lost; written again from its row", vm);
        return r;
}

static bool recall(struct daemon *daemon, const struct store_vm *vm, const char *api,
                   struct vm_ledger *ret_ledger, int *ret_pidfd)
{
        struct vm_ledger ledger = { .phase = VM_PHASE_READY };

        if (vm->state != VM_RUNNING || vm_process_recall(api, &ledger, ret_pidfd) < 0)
                return false;
        if (write_again(daemon, vm, &ledger) < 0) {
                (void) close(take_fd(ret_pidfd));
                return false;
        }
        *ret_ledger = ledger;
        return true;
}

/* True: it lives, and *ret_pidfd is owned by the caller. */
static bool find_living(struct daemon *daemon, const struct store_vm *vm, struct vm_ledger *ledger,
                        int *ret_pidfd)
{
        scoped_free char *runtime = layout_join(daemon->runtime_vms, vm->id, NULL);
        scoped_free char *api = vm_path_api(runtime);

        if (ledger->phase == VM_PHASE_NONE)
                return recall(daemon, vm, api, ledger, ret_pidfd) && api_agrees(vm, api);
        return ledger->phase == VM_PHASE_READY && vm_process_is_ours(ledger, api, ret_pidfd) &&
               api_agrees(vm, api);
}

/*
 * A VM that was made whole and never ran has its disks and no ledger, so one with an unreadable ledger is half-made
 * (docs/decisions/0007), and so is one without a disk: its creator was killed between making the folder and the ledger. One
 * without its folder was being removed, or never got it.
 */
static bool is_half_made(const struct store_vm *vm, const char *folder, const struct vm_ledger *ledger,
                         bool is_unreadable)
{
        const struct vm_spec spec = { .folder = folder };
        scoped_free char *rootfs = vm_path_rootfs(&spec);

        if (ledger->phase == VM_PHASE_CREATING || file_is_missing(folder))
                return true;
        return vm->state == VM_CREATED && (is_unreadable || file_is_missing(rootfs));
}

static void reconcile_vm(struct daemon *daemon, struct store_vm *vm)
{
        scoped_free char *folder = layout_join(daemon->vms_folder, vm->id, NULL);
        struct vm_ledger ledger = { 0 };
        struct err err = { 0 };
        scoped_close int pidfd = FD_NONE;
        bool is_unreadable = vm_ledger_read(folder, &ledger, &err) < 0;

        (void) vm_ledger_remove_unfinished(folder, &(struct err){ 0 });
        if (is_unreadable)
                log_warn("a vm's ledger cannot be read", "{s:s, s:s}", "vm_id", vm->id, "error", err.message);
        if (find_living(daemon, vm, &ledger, &pidfd)) {
                err = (struct err){ 0 };
                if (adopt(daemon, vm, &ledger, take_fd(&pidfd), &err) < 0)
                        log_warn("adopting a running vm failed", "{s:s, s:s}", "vm_id", vm->id, "error",
                                 err.message);
                else
                        say("adopted a running vm", vm);
                return;
        }
        if (is_half_made(vm, folder, &ledger, is_unreadable)) {
                say("removing a half-made or half-removed vm", vm);
                daemon_vm_clean_stale(daemon, vm, true);
        } else if (is_unreadable || ledger.phase != VM_PHASE_NONE || vm->state == VM_RUNNING ||
                   network_tap_exists(vm->tap)) {
                if (ledger.phase == VM_PHASE_NONE && !is_unreadable && vm->state == VM_RUNNING)
                        (void) write_again(daemon, vm, &(struct vm_ledger){ .phase = VM_PHASE_STARTING });
                say("stale_vm: cleaning a vm whose VMM is gone", vm);
                daemon_vm_clean_stale(daemon, vm, false);
        }
}

static int compare_ids(const void *a, const void *b)
{
        return strcmp(((const struct store_vm *) a)->id, ((const struct store_vm *) b)->id);
}

/* vms in the order of their ids. */
static bool has_row(const struct store_vm *vms, unsigned n, const char *id)
{
        const struct store_vm wanted = { .id = (char *) (uintptr_t) id };

        return n > 0 && bsearch(&wanted, vms, n, sizeof(*vms), compare_ids) != NULL;
}

static void orphan_cleaned(void *userdata, const struct daemon_job_end *end)
{
        (void) userdata;
        if (!end->result)
                log_warn(
                        "removing what a vm without a row left failed; the next start of bangerd tries again",
                        "{s:s}", "error", end->err->message);
}

static void clean_orphan(struct daemon *daemon, const char *id)
{
        char *none = (char *) (uintptr_t) "";
        struct store_vm orphan = { .id = (char *) (uintptr_t) id,
                                   .name = none,
                                   .image = none,
                                   .kernel = none,
                                   .address = none,
                                   .tap = none };
        scoped_free char *key = daemon_vm_key(id);
        json_t *params;

        if (daemon_job_find(daemon, key, "job.vm.clean"))
                return;
        log_info("removing what a vm without a row left", "{s:s}", "vm_id", id);
        params = daemon_vm_job_params(daemon, &orphan);
        (void) json_object_set_new(params, "spec.name", json_string(id));
        (void) json_object_set_new(params, "remove", json_true());
        (void) daemon_job_add(daemon, &(struct daemon_job_request){
                                              .key = key,
                                              .method = "job.vm.clean",
                                              .owned_params = params,
                                              .op_id = "op-000000000000",
                                              .end = orphan_cleaned,
                                      });
}

/* Folders no row knows: the leftovers of a delete that was cut short. */
static void clean_orphans(struct daemon *daemon, const char *where, const struct store_vm *vms, unsigned n)
{
        DIR *folder = opendir(where);
        const struct dirent *entry;

        if (!folder)
                return;
        while ((entry = readdir(folder))) {
                const char *id = entry->d_name;

                if (text_starts_with(id, VM_GONE_PREFIX))
                        id += strlen(VM_GONE_PREFIX);
                if (id[0] != '.' && !has_row(vms, n, id))
                        clean_orphan(daemon, id);
        }
        (void) closedir(folder);
}

/* The cgroups of VMs that are gone; those that run keep theirs, because processes are in them. */
static void sweep_cgroups(const struct daemon *daemon)
{
        DIR *folder = daemon->cgroups ? opendir(daemon->cgroups) : NULL;
        const struct dirent *entry;

        if (!folder)
                return;
        while ((entry = readdir(folder)))
                if (text_starts_with(entry->d_name, VM_CGROUP_PREFIX))
                        (void) unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR);
        (void) closedir(folder);
}

int daemon_reconcile(struct daemon *daemon, struct err *err)
{
        struct store_vm *vms = NULL;
        unsigned n = 0;
        int r = store_vm_list(daemon->store, &vms, &n, err);

        if (r < 0)
                return r;
        for (unsigned i = 0; i < n; i++)
                reconcile_vm(daemon, &vms[i]);
        daemon_tap_pool_init(daemon, vms, n);
        if (n > 0)
                qsort(vms, n, sizeof(*vms), compare_ids);
        clean_orphans(daemon, daemon->vms_folder, vms, n);
        clean_orphans(daemon, daemon->runtime_vms, vms, n);
        sweep_cgroups(daemon);
        daemon_sweep(daemon);
        for (unsigned i = 0; i < n; i++)
                store_vm_done(&vms[i]);
        free(vms);
        return 0;
}
