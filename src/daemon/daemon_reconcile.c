/*
 * Takes up what an earlier daemon left, however it ended. A VM whose ledger says ready and whose VMM is proven to live
 * is adopted; a half-made one is removed; the rest is cleaned and recorded as stopped. One line each.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/scoped.h"
#include "daemon/daemon.h"
#include "daemon/daemon_job.h"
#include "daemon/daemon_tap_pool.h"
#include "daemon/daemon_vm.h"
#include "daemon/daemon_watch.h"
#include "network/network_plan.h"
#include "vm/vm_ledger.h"
#include "vm/vm_process.h"
#include "vm/vm_spec.h"

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
        vm->state = VM_RUNNING;
        set_text(&vm->vmm, ledger->vmm_kind);
        set_text(&vm->boot_id, ledger->boot_id);
        return store_vm_update(daemon->store, vm, err);
}

static void reconcile_vm(struct daemon *daemon, struct store_vm *vm)
{
        scoped_free char *folder = layout_join(daemon->vms_folder, vm->id, NULL);
        scoped_free char *runtime = layout_join(daemon->runtime_vms, vm->id, NULL);
        scoped_free char *api = vm_path_api(runtime);
        struct vm_ledger ledger = { 0 };
        struct err err = { 0 };
        int pidfd = FD_NONE;

        if (vm_ledger_read(folder, &ledger, &err) < 0) {
                log_warn("a vm's ledger cannot be read", "{s:s, s:s}", "vm_id", vm->id, "error", err.message);
                /* a VM that was made whole and never ran has none, so this one is half-made (docs/decisions/0007) */
                daemon_vm_clean_stale(daemon, vm, vm->state == VM_CREATED);
                return;
        }
        if (ledger.phase == VM_PHASE_READY && vm_process_is_ours(&ledger, api, &pidfd)) {
                if (adopt(daemon, vm, &ledger, pidfd, &err) < 0)
                        log_warn("adopting a running vm failed", "{s:s, s:s}", "vm_id", vm->id, "error",
                                 err.message);
                else
                        say("adopted a running vm", vm);
                return;
        }
        if (ledger.phase == VM_PHASE_CREATING || (vm->state == VM_CREATED && file_is_missing(folder))) {
                say("removing a half-made vm", vm);
                daemon_vm_clean_stale(daemon, vm, true);
        } else if (ledger.phase != VM_PHASE_NONE || vm->state == VM_RUNNING || network_tap_exists(vm->tap)) {
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

/* Folders no row knows: the leftovers of a delete that was cut short. */
static void clean_orphans(struct daemon *daemon, const char *where, const struct store_vm *vms, unsigned n)
{
        DIR *folder = opendir(where);
        const struct dirent *entry;

        if (!folder)
                return;
        while ((entry = readdir(folder))) {
                char *none = (char *) (uintptr_t) "";
                struct store_vm orphan = { .id = (char *) (uintptr_t) entry->d_name,
                                           .name = none,
                                           .image = none,
                                           .kernel = none,
                                           .address = none };
                scoped_free char *key = daemon_vm_key(entry->d_name);
                json_t *params;

                if (entry->d_name[0] == '.' || has_row(vms, n, entry->d_name) ||
                    daemon_job_find(daemon, key, "job.vm.clean"))
                        continue;
                log_info("removing what a vm without a row left", "{s:s}", "vm_id", entry->d_name);
                params = daemon_vm_job_params(daemon, &orphan);
                (void) json_object_set_new(params, "spec.name", json_string(entry->d_name));
                (void) json_object_set_new(params, "remove", json_true());
                (void) daemon_job_add(daemon, &(struct daemon_job_request){
                                                      .key = key,
                                                      .method = "job.vm.clean",
                                                      .owned_params = params,
                                                      .op_id = "op-000000000000",
                                              });
        }
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
        for (unsigned i = 0; i < n; i++)
                store_vm_done(&vms[i]);
        free(vms);
        return 0;
}
