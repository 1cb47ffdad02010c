#include "vm/vm_ledger.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/layout.h"
#include "base/scoped.h"
#include "vm/vm_spec.h"

#define LEDGER_MAX 16384

static const char *const phase_names[] = {
        [VM_PHASE_NONE] = "none",
        [VM_PHASE_CREATING] = "creating",
        [VM_PHASE_STARTING] = "starting",
        [VM_PHASE_READY] = "ready",
};
static_assert(sizeof(phase_names) / sizeof(phase_names[0]) == VM_N_PHASES, "a name for every phase");

static int phase_from_name(const char *name, enum vm_phase *ret_phase)
{
        for (enum vm_phase phase = 0; phase < VM_N_PHASES; phase++)
                if (strcmp(phase_names[phase], name) == 0) {
                        *ret_phase = phase;
                        return 0;
                }
        return -EINVAL;
}

int vm_ledger_read(const char *folder, struct vm_ledger *ret_ledger, struct err *err)
{
        scoped_free char *path = vm_path_ledger(folder);
        struct vm_ledger ledger = { 0 };
        json_auto_t *json = NULL;
        int r;

        if (access(path, F_OK) < 0 && errno == ENOENT) {
                *ret_ledger = ledger;
                return 0;
        }
        r = json_read_file(path, LEDGER_MAX, &json, err);
        if (r < 0)
                return r;
        if (phase_from_name(json_text(json, "phase"), &ledger.phase) < 0)
                return err_set(err, EBADMSG, "vm.ledger", "'%s' has no known phase", path);
        (void) snprintf(ledger.tap, sizeof(ledger.tap), "%s", json_text(json, "tap"));
        (void) snprintf(ledger.address, sizeof(ledger.address), "%s", json_text(json, "address"));
        (void) snprintf(ledger.vmm_kind, sizeof(ledger.vmm_kind), "%s", json_text(json, "vmm_kind"));
        (void) snprintf(ledger.boot_id, sizeof(ledger.boot_id), "%s", json_text(json, "boot_id"));
        (void) snprintf(ledger.cgroup, sizeof(ledger.cgroup), "%s", json_text(json, "cgroup"));
        ledger.vmm = json_flag(json, "vmm");
        ledger.paused = json_flag(json, "paused");
        ledger.pid = (pid_t) json_u64(json, "pid", 0);
        ledger.start_time = json_u64(json, "start_time", 0);
        *ret_ledger = ledger;
        return 0;
}

int vm_ledger_write(const char *folder, const struct vm_ledger *ledger, struct err *err)
{
        scoped_free char *path = vm_path_ledger(folder);
        json_auto_t *json =
                json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:s, s:s, s:s, s:b}", "phase",
                          phase_names[ledger->phase], "tap", ledger->tap, "address", ledger->address, "vmm",
                          (int) ledger->vmm, "pid", (json_int_t) ledger->pid, "start_time",
                          (json_int_t) ledger->start_time, "vmm_kind", ledger->vmm_kind, "boot_id",
                          ledger->boot_id, "cgroup", ledger->cgroup, "paused", (int) ledger->paused);

        scoped_free char *text = json_dumps(json, JSON_INDENT(2));

        /* docs/decisions/0007: what it names does not outlive the host, so it need not survive it */
        return file_replace_unsynced(path, text, strlen(text), 0600, err);
}

int vm_ledger_remove(const char *folder, struct err *err)
{
        scoped_free char *path = vm_path_ledger(folder);

        return file_remove(path, err);
}

int vm_ledger_remove_unfinished(const char *folder, struct err *err)
{
        scoped_free char *path = vm_path_ledger(folder);

        return file_remove_unfinished(path, err);
}

int vm_lock(const char *folder, struct err *err)
{
        scoped_free char *path = layout_join(folder, "lock", NULL);
        scoped_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0)
                return err_errno(err, "vm.lock", "open '%s'", path);
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return err_errno(err, "vm.lock", "lock '%s'", path);
        return take_fd(&fd);
}
