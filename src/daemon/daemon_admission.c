#include "daemon/daemon_admission.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "daemon/daemon_operation.h"
#include "daemon/daemon_watch.h"
#include "image/image_store.h"

#define OP         "vm.admit"
#define PROC_MAX   (64U << 10)
#define PAGES_MAX  (UINT64_C(1) << 44) /* of 64 KiB at most: their bytes do not overflow */
#define CHILD_PIDS 64

int admission_check_memory(const struct admission_memory *host, const char *vm_name, uint64_t wanted_mib,
                           struct err *err)
{
        uint64_t left =
                host->available_mib > host->promised_mib ? host->available_mib - host->promised_mib : 0;

        if (wanted_mib <= left)
                return 0;
        return err_set(err, ENOMEM, OP,
                       "vm '%s' is to have %" PRIu64 " MiB of memory, and this host has %" PRIu64
                       " MiB left (%" PRIu64 " available, of which %" PRIu64
                       " are promised to %u other vms); stop a vm, take a smaller "
                       "--memory, or take the risk with --force",
                       vm_name, wanted_mib, left, host->available_mib, host->promised_mib, host->n_guests);
}

int admission_check_disk(uint64_t free_bytes, uint64_t wanted_bytes, const char *folder, struct err *err)
{
        char wanted[SIZE_TEXT_MAX], is_free[SIZE_TEXT_MAX];

        if (wanted_bytes <= free_bytes)
                return 0;
        size_human(wanted_bytes, wanted);
        size_human(free_bytes, is_free);
        return err_set(err, ENOSPC, OP,
                       "the vm's disks may grow to %s, and '%s' has %s free; make room, take a smaller "
                       "--disk-size, or "
                       "take the risk with --force",
                       wanted, folder, is_free);
}

static char *proc_text(const char *path)
{
        struct err ignored = { 0 };
        char *text = NULL;

        return file_read(path, PROC_MAX, &text, NULL, &ignored) < 0 ? xstrdup("") : text;
}

/* "MemAvailable:    1234 kB" (proc(5)). 0 when it cannot be read. */
static uint64_t memory_available_mib(void)
{
        static const char label[] = "\nMemAvailable:";
        scoped_free char *text = proc_text("/proc/meminfo");
        const char *at = strstr(text, label);
        uint64_t kib = 0;

        if (!at)
                return 0;
        at += sizeof(label) - 1;
        return text_take_u64(&at, UINT64_MAX, &kib) == 0 ? kib / 1024 : 0;
}

/* The second number of /proc/pid/statm, in pages. 0 when the process is gone. */
static uint64_t resident_mib(pid_t pid)
{
        scoped_free char *path = xasprintf("/proc/%d/statm", (int) pid);
        scoped_free char *text = proc_text(path);
        const char *at = text;
        uint64_t size, resident;

        if (text_take_u64(&at, UINT64_MAX, &size) < 0 || text_take_u64(&at, PAGES_MAX, &resident) < 0)
                return 0;
        return resident * (uint64_t) sysconf(_SC_PAGESIZE) / MIB;
}

/* What a guest has touched: of the VMM, or of the QEMU below it. They map the same memory, so the larger one counts. */
static uint64_t touched_mib(pid_t vmm)
{
        scoped_free char *path = xasprintf("/proc/%d/task/%d/children", (int) vmm, (int) vmm);
        scoped_free char *text = proc_text(path);
        uint64_t child, most = resident_mib(vmm);
        const char *at = text;

        for (unsigned i = 0; i < CHILD_PIDS && text_take_u64(&at, INT32_MAX, &child) == 0; i++) {
                uint64_t mib = resident_mib((pid_t) child);

                most = mib > most ? mib : most;
        }
        return most;
}

static bool is_starting(const struct daemon *daemon, const char *vm_id)
{
        for (const struct daemon_operation *o = daemon->operations; o; o = o->next)
                if (!o->done && o->vm_id && strcmp(o->vm_id, vm_id) == 0 &&
                    (strcmp(o->kind, "vm.create") == 0 || strcmp(o->kind, "vm.start") == 0 ||
                     strcmp(o->kind, "vm.restart") == 0))
                        return true;
        return false;
}

static void add_promise(const struct daemon *daemon, const struct store_vm *vm, struct admission_memory *host)
{
        uint64_t touched = 0;

        if (vm->state == VM_RUNNING)
                touched = touched_mib(daemon_guard_pid(daemon, vm->id));
        else if (!is_starting(daemon, vm->id))
                return;
        host->n_guests++;
        host->promised_mib += vm->memory_mib > touched ? vm->memory_mib - touched : 0;
}

int daemon_admit_memory(const struct daemon *daemon, const struct store_vm *vm, struct err *err)
{
        struct admission_memory host = { .available_mib = memory_available_mib() };
        struct store_vm *vms = NULL;
        unsigned n = 0;
        int r;

        if (host.available_mib == 0)
                return 0; /* a host that does not say cannot be asked */
        r = store_vm_list(daemon->store, &vms, &n, err);
        for (unsigned i = 0; i < n; i++) {
                if (strcmp(vms[i].id, vm->id) != 0)
                        add_promise(daemon, &vms[i], &host);
                store_vm_done(&vms[i]);
        }
        free(vms);
        return r < 0 ? r
                     : admission_check_memory(&host, vm->name[0] != '\0' ? vm->name : "(new)", vm->memory_mib,
                                              err);
}

int daemon_admit_disk(const struct daemon *daemon, const struct store_vm *vm, struct err *err)
{
        uint64_t wanted = vm->disk_bytes;
        struct image image = { 0 };
        struct err ignored = { 0 };
        struct statvfs fs;

        if (statvfs(daemon->layout.state, &fs) < 0)
                return err_errno(err, OP, "look at the file system of '%s'", daemon->layout.state);
        if (image_read(daemon->images_folder, vm->image, &image, &ignored) == 0) {
                wanted += image.real_bytes;
                image_done(&image);
        }
        return admission_check_disk((uint64_t) fs.f_bavail * fs.f_frsize, wanted, daemon->layout.state, err);
}
