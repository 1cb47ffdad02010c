#include "vm/vm_clean.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/text.h"
#include "vm/vm_ledger.h"
#include "vm/vm_network.h"
#include "vm/vm_process.h"
#include "vmm/client/vmm_client.h"

#define KILL_WAIT_MS    10000
#define NETWORK_TRIES   3
#define KNOWN_HOSTS_MAX (4U << 20)

/* Told in the log by name; the error that the caller gets is the same with and without (S-101, S-102). */
static void note(const struct vm_spec *spec, const char *part, const struct err *failure)
{
        if (failure->code != 0)
                log_warn("cleaning a part of a vm failed", "{s:s, s:s, s:s}", "vm_id", spec->id, "part", part,
                         "error", failure->message);
}

static void end_vmm(const struct vm_spec *spec, const struct vm_ledger *ledger, struct err *err)
{
        scoped_free char *api = vm_path_api(spec->runtime);
        struct err step = { 0 };
        int pidfd = FD_NONE;

        if (vm_process_is_ours(ledger, api, &pidfd)) {
                (void) vmm_process_kill(pidfd, KILL_WAIT_MS, &step);
                (void) close(pidfd);
        }
        note(spec, "vmm", &step);
        err_join(err, &step);
        if (ledger->pid > 0)
                return;
        /* A job killed between starting the VMM and writing its pid down leaves one that only its socket's path names. */
        while (vm_process_find(api, &pidfd) == 0) {
                int r;

                step = (struct err){ 0 };
                r = vmm_process_kill(pidfd, KILL_WAIT_MS, &step);
                (void) close(pidfd);
                note(spec, "vmm", &step);
                err_join(err, &step);
                if (r < 0)
                        return;
        }
}

static void drop_cgroup(const struct vm_spec *spec, const struct vm_ledger *ledger, struct err *err)
{
        struct err step = { 0 };

        if (ledger->cgroup[0] != '\0')
                (void) cgroup_remove(ledger->cgroup, &step);
        note(spec, "cgroup", &step);
        err_join(err, &step);
}

static void drop_network(const struct vm_spec *spec, const struct vm_ledger *ledger, struct err *err)
{
        const struct network_settings settings = vm_network_settings(spec);

        /* Once more when the helper's process was killed in the midst of it. */
        for (unsigned attempt = 1; ledger->tap[0] != '\0'; attempt++) {
                struct err failure = { 0 };

                if (network_detach(&settings, ledger->tap, ledger->address, &failure) == 0)
                        return;
                if (attempt == NETWORK_TRIES) {
                        err_join(err, &failure);
                        return;
                }
        }
}

int vm_clean(const struct vm_spec *spec, struct err *err)
{
        struct err step = { 0 };
        struct vm_ledger ledger = { 0 };

        if (vm_ledger_read(spec->folder, &ledger, &step) < 0) {
                log_warn("the ledger cannot be read; cleaning by the vm's id", "{s:s, s:s}", "vm_id",
                         spec->id, "error", step.message);
                if (spec->tap)
                        (void) snprintf(ledger.tap, sizeof(ledger.tap), "%s", spec->tap);
                else
                        network_tap_of(spec->id, ledger.tap);
                (void) snprintf(ledger.address, sizeof(ledger.address), "%s",
                                spec->address ? spec->address : "");
        }
        /* A start that got no further than its record; an old name there is no tap any more. */
        if (ledger.tap[0] == '\0' && spec->tap && network_tap_exists(spec->tap)) {
                (void) snprintf(ledger.tap, sizeof(ledger.tap), "%s", spec->tap);
                (void) snprintf(ledger.address, sizeof(ledger.address), "%s",
                                spec->address ? spec->address : "");
        }
        end_vmm(spec, &ledger, err);
        drop_cgroup(spec, &ledger, err);

        step = (struct err){ 0 };
        drop_network(spec, &ledger, &step);
        note(spec, "network", &step);
        err_join(err, &step);

        step = (struct err){ 0 };
        (void) file_remove_tree(spec->runtime, &step);
        err_join(err, &step);

        step = (struct err){ 0 };
        (void) vm_ledger_remove_unfinished(spec->folder, &step);
        err_join(err, &step);

        /*
         * Last, and only when nothing it names is left: otherwise the next cleaner needs it. That a VM is half-made stays
         * true until its folder goes.
         */
        if (err->code == 0 && ledger.phase == VM_PHASE_CREATING)
                (void) vm_ledger_write(spec->folder, &(struct vm_ledger){ .phase = VM_PHASE_CREATING }, err);
        else if (err->code == 0)
                (void) vm_ledger_remove(spec->folder, err);
        return -err->code;
}

/* Whether a line of known_hosts begins with name followed by a separator: "172.16.0.2 ssh-ed25519 ..." or "a,b ...". */
static bool line_names(const char *line, size_t n, const char *name)
{
        size_t length = name ? strlen(name) : 0;

        return length > 0 && n > length && strncmp(line, name, length) == 0 &&
               (line[length] == ' ' || line[length] == ',');
}

/* A later VM may get this address or name: its host key must not be taken for a changed one (spec 7.6). */
int vm_forget_hosts(const char *known_hosts, const char *address, const char *name, struct err *err)
{
        scoped_free char *host = xasprintf("%s.vm", name);
        scoped_free char *text = NULL;
        scoped_text struct text kept = { 0 };
        size_t n = 0;
        int r;

        if (!known_hosts || file_is_missing(known_hosts))
                return 0;
        r = file_read(known_hosts, KNOWN_HOSTS_MAX, &text, &n, err);
        if (r < 0)
                return r;
        text_append(&kept, "");
        for (const char *line = text; *line != '\0';) {
                size_t length = strcspn(line, "\n");

                if (!line_names(line, length, address) && !line_names(line, length, host))
                        text_append_bytes(&kept, line, length + (line[length] == '\n'));
                line += length + (line[length] == '\n');
        }
        return kept.n == n ? 0 : file_replace(known_hosts, kept.s, kept.n, 0600, err);
}

/* One rename decides: before it the VM is whole, after it there is none, whenever this is killed. */
int vm_retire(const struct vm_spec *spec, struct err *err)
{
        scoped_free char *gone = vm_path_gone(spec->folder);
        int r = vm_clean(spec, err);

        if (r == 0)
                r = vm_forget_hosts(spec->known_hosts, spec->address, spec->name, err);
        if (r == 0)
                r = file_remove_tree(gone, err);
        if (r == 0 && rename(spec->folder, gone) < 0 && errno != ENOENT)
                r = err_errno(err, "vm.remove", "rename '%s'", spec->folder);
        return r;
}

int vm_remove(const struct vm_spec *spec, struct err *err)
{
        scoped_free char *gone = vm_path_gone(spec->folder);
        int r = vm_retire(spec, err);

        return r < 0 ? r : file_remove_tree(gone, err);
}
