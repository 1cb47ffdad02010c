#include "vm/vm_start.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/file.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "guest/client/guest_client.h"
#include "kernel/kernel_store.h"
#include "vm/vm_clean.h"
#include "vm/vm_ledger.h"
#include "vm/vm_network.h"
#include "vmm/client/vmm_client.h"

#define VMM_LAUNCH_MS          10000
#define CONSOLE_TAIL           2048
#define VMM_MEMORY             (256 * MIB)
#define VMM_TRANSLATION_MEMORY GIB
#define VMM_THREADS            256 /* QEMU reads and writes disks with up to 64 threads (util/thread-pool.c) each */
#define IMAGE_CONFIG_MAX       ((size_t) 1 << 20)
/*
 * cryptomgr.notests: the kernel's tests of its own ciphers are 0.3 s of an emulated boot (crypto_algapi_init); they are
 * there to find broken drivers of cipher hardware, which no guest has.
 */
#define CMDLINE_COMMON                                                                         \
        "console=ttyS0 reboot=t panic=-1 net.ifnames=0 i8042.noaux i8042.nomux i8042.dumbkbd " \
        "cryptomgr.notests=1 quiet"

/* What the steps share. */
struct start {
        const struct vm_spec *spec; /* borrowed */
        bool is_new;                /* its first start, right after vm_create() */
        struct vm_ledger ledger;
        struct vmm vmm;                    /* owned */
        struct vmm_process process;        /* pidfd owned */
        struct kernel kernel;              /* owned */
        int tap_fd;                        /* owned */
        struct network_adoption *adoption; /* owned; of the tap, while the helper is at it */
        int boot_listener;                 /* owned */
        char mac[NETWORK_MAC_MAX];
        char *rootfs, *work, *api, *vsock, *console, *log; /* owned */
        struct vm_started *started;                        /* borrowed */
};

static void start_init(struct start *start, const struct vm_spec *spec, struct vm_started *started)
{
        *start = (struct start){
                .spec = spec,
                .process = { .pidfd = FD_NONE },
                .tap_fd = spec->tap_fd,
                .boot_listener = FD_NONE,
                .rootfs = vm_path_rootfs(spec),
                .work = vm_path_work_disk(spec),
                .api = vm_path_api(spec->runtime),
                .vsock = vm_path_vsock(spec->runtime),
                .console = vm_path_console_log(spec->folder),
                .log = vm_path_vmm_log(spec->folder),
                .started = started,
        };
}

static void start_done(struct start *start)
{
        vmm_done(&start->vmm);
        kernel_done(&start->kernel);
        close_at_scope_end(&start->process.pidfd);
        close_at_scope_end(&start->tap_fd);
        close_at_scope_end(&start->boot_listener);
        free(start->rootfs);
        free(start->work);
        free(start->api);
        free(start->vsock);
        free(start->console);
        free(start->log);
}

static int write_ledger(struct start *start, struct err *err)
{
        return vm_ledger_write(start->spec->folder, &start->ledger, err);
}

/* The kernel, the disks and the VMM are there: a missing one is named before anything is made (spec 7.3). */
static int check_begin(void *context, struct err *err)
{
        struct start *start = context;
        const struct vm_spec *spec = start->spec;
        const struct vmm_search search = {
                .firecracker_path = spec->firecracker_bin,
                .qemu_path = spec->qemu_vmm_path,
        };
        struct vmm_search chosen = search;
        int r = kernel_read(spec->kernels_folder, spec->kernel, &start->kernel, err);
        if (r < 0)
                return r;
        if (access(start->kernel.vmlinux_path, R_OK) < 0 || access(start->kernel.initramfs_path, R_OK) < 0)
                return err_errno(
                        err, "vm.start",
                        "kernel '%s' is incomplete ('banger kernel pull --force %s' gets it again): '%s'",
                        spec->kernel, spec->kernel, start->kernel.vmlinux_path);
        if (access(start->rootfs, R_OK | W_OK) < 0 || access(start->work, R_OK | W_OK) < 0)
                return err_errno(err, "vm.start", "a disk of vm '%s' in '%s'", spec->name, spec->folder);
        if (vmm_choice_from_name(spec->vmm, &chosen.choice) < 0)
                return err_set(err, EINVAL, "vm.start", "vmm '%s' is not auto, firecracker or qemu",
                               spec->vmm);
        return vmm_find(&chosen, &start->vmm, err);
}

static int network_begin(void *context, struct err *err)
{
        struct start *start = context;
        const struct vm_spec *spec = start->spec;
        const struct network_settings settings = vm_network_settings(spec);
        const struct network_guest guest = { start->ledger.tap, spec->address, spec->nat, spec->peers };
        int r = network_mac_of(spec->address, start->mac, err);

        if (r < 0)
                return r;
        if (spec->tap)
                (void) snprintf(start->ledger.tap, sizeof(start->ledger.tap), "%s", spec->tap);
        else
                network_tap_of(spec->id, start->ledger.tap);
        (void) snprintf(start->ledger.address, sizeof(start->ledger.address), "%s", spec->address);
        r = write_ledger(start, err);
        if (r < 0)
                return r;
        return start->tap_fd >= 0
                       ? network_adopt_begin(&settings, &guest, start->tap_fd, &start->adoption, err)
                       : network_attach(&settings, &guest, &start->tap_fd, err);
}

/* The helper pins a tap of the pool while the VMM is loaded. */
static int end_adoption(struct start *start, struct err *err)
{
        struct network_adoption *adoption = take_ptr(start->adoption);

        return adoption ? network_adopt_end(adoption, err) : 0;
}

static void network_undo(void *context, struct err *err)
{
        struct start *start = context;
        const struct network_settings settings = vm_network_settings(start->spec);
        struct err ignored = { 0 }; /* what it made goes now, and what it did not is not missed */

        (void) end_adoption(start, &ignored);
        (void) network_detach(&settings, start->ledger.tap, start->spec->address, err);
}

static struct vmm_machine machine_of(const struct start *start, const struct vmm_drive drives[2],
                                     const char *boot_args)
{
        const struct vm_spec *spec = start->spec;

        return (struct vmm_machine){
                .id = spec->id,
                .vcpu = spec->vcpu,
                .memory_mib = spec->memory_mib,
                .kernel_path = start->kernel.vmlinux_path,
                .initrd_path = start->kernel.initramfs_path,
                .boot_args = boot_args,
                .drives = drives,
                .n_drives = 2,
                .tap = start->ledger.tap,
                .tap_fd = start->tap_fd,
                .mac = start->mac,
                .net_bytes = spec->net_bandwidth,
                .guest_cid = VM_AGENT_CID,
                .vsock_path = start->vsock,
                .api_path = start->api,
                .log_path = start->log,
                .console_path = start->console,
        };
}

static void name_cgroup(struct start *start)
{
        if (start->spec->cgroups)
                (void) snprintf(start->ledger.cgroup, sizeof(start->ledger.cgroup),
                                "%s/" VM_CGROUP_PREFIX "%s", start->spec->cgroups, start->spec->id);
}

/*
 * Above what the guest was promised goes what its VMM needs: room for itself and, where it emulates, QEMU's cache of
 * translated code, which may grow to 1 GiB (tcg/region.c); a processor for its own threads beside those of the guest.
 */
static int make_cgroup(const struct start *start, struct err *err)
{
        const struct vm_spec *spec = start->spec;
        uint64_t own = VMM_MEMORY + (start->vmm.accelerated ? 0 : VMM_TRANSLATION_MEMORY);
        const struct cgroup_limits limits = {
                .memory_bytes = (spec->memory_mib * MIB) + own,
                .cpu_percent = (spec->vcpu + 1) * UINT64_C(100),
                .processes = VMM_THREADS + spec->vcpu,
        };

        return start->ledger.cgroup[0] != '\0' ? cgroup_make(start->ledger.cgroup, &limits, err) : 0;
}

static int vmm_begin(void *context, struct err *err)
{
        struct start *start = context;
        const struct vmm_limit limit = { start->spec->disk_iops, start->spec->disk_bandwidth };
        const struct vmm_drive drives[2] = {
                {.id = VM_ROOT_DRIVE,  .path = start->rootfs, .limit = limit},
                { .id = VM_WORK_DRIVE, .path = start->work,   .limit = limit},
        };
        struct vmm_machine machine = machine_of(start, drives, CMDLINE_COMMON);
        int r = file_make_folders(start->spec->runtime, 0700, err);

        if (r < 0)
                return r;
        start->ledger.vmm = true;
        name_cgroup(start);
        r = write_ledger(start, err);
        if (r == 0)
                r = make_cgroup(start, err);
        if (r < 0)
                return r;
        machine.cgroup = start->ledger.cgroup[0] != '\0' ? start->ledger.cgroup : NULL;
        r = vmm_launch(&start->vmm, &machine, VMM_LAUNCH_MS, &start->process, err);
        if (r == 0)
                r = end_adoption(start, err);
        if (r < 0)
                return r;
        /* banger-qemu has it now, and Firecracker opens the tap by name, which a second opener would keep it from */
        close_at_scope_end(&start->tap_fd);
        start->tap_fd = FD_NONE;
        start->ledger.pid = start->process.pid;
        start->ledger.start_time = start->process.start_time;
        (void) snprintf(start->ledger.vmm_kind, sizeof(start->ledger.vmm_kind), "%s",
                        vmm_kind_name(start->vmm.kind));
        r = write_ledger(start, err);
        if (r < 0)
                return r;
        return vmm_configure(&start->vmm, &machine, err);
}

static void vmm_undo(void *context, struct err *err)
{
        struct start *start = context;

        if (start->process.pidfd >= 0)
                (void) vmm_process_kill(start->process.pidfd, VMM_LAUNCH_MS, err);
        if (err->code == 0 && start->ledger.cgroup[0] != '\0')
                (void) cgroup_remove(start->ledger.cgroup, err);
        if (err->code == 0)
                (void) file_remove_tree(start->spec->runtime, err);
}

static int boot_begin(void *context, struct err *err)
{
        struct start *start = context;

        start->boot_listener = guest_listen_boot(start->vsock, err);
        if (start->boot_listener < 0)
                return start->boot_listener;
        return vmm_start(start->api, err);
}

/*
 * While the kernel boots: the guest mounts nothing before it has its configuration, which the next step sends. With
 * reflinks it takes no time, and a copy is over long before.
 */
static int disk_begin(void *context, struct err *err)
{
        const struct start *start = context;

        return vm_fill_disks(start->spec, err);
}

/* What the guest's console said last, to explain a guest that never called. Nothing that steers a terminal. */
static void add_console_tail(const struct start *start, struct err *err)
{
        scoped_free char *tail = NULL;
        struct err unread = { 0 };
        char *line;

        if (file_read_end(start->console, CONSOLE_TAIL, &tail, &unread) < 0)
                return;
        line = text_last_line(tail);
        if (*line == '\0')
                return;
        text_make_printable(line);
        (void) err_wrap(err, "the guest's console ended with \"%.160s\"", line);
}

/* What the VM's image says of its programs; NULL: it says nothing. */
static int read_image_config(const struct vm_spec *spec, char **ret_text, struct err *err)
{
        scoped_free char *path = vm_path_image_config(spec->folder);

        return file_is_missing(path) ? 0 : file_read(path, IMAGE_CONFIG_MAX, ret_text, NULL, err);
}

static int agent_begin(void *context, struct err *err)
{
        struct start *start = context;
        const struct vm_spec *spec = start->spec;
        scoped_free char *image_config = NULL;
        const char *const keys[] = { spec->authorized_key, NULL };
        struct guest_config config = {
                .hostname = spec->name,
                .address = spec->address,
                .prefix = spec->prefix,
                .gateway = spec->bridge_ip,
                .dns = spec->dns,
                .authorized_keys = keys,
                .root_device = "/dev/vda",
                .work_device = "/dev/vdb",
                .set_clock = true,
        };
        struct guest_hello hello = { 0 };
        int r = read_image_config(spec, &image_config, err);

        if (r < 0)
                return r;
        config.image = image_config;
        r = guest_accept_boot(start->boot_listener, start->process.pidfd, &config, spec->boot_timeout_ms,
                              &hello, err);

        if (r < 0) {
                add_console_tail(start, err);
                return r == -ETIMEDOUT ? err_wrap(err, "boot vm '%s' within %llu ms", spec->name,
                                                  (unsigned long long) spec->boot_timeout_ms)
                                       : r;
        }
        start->ledger.phase = VM_PHASE_READY;
        (void) snprintf(start->ledger.boot_id, sizeof(start->ledger.boot_id), "%s", hello.boot_id);
        r = write_ledger(start, err);
        if (r < 0)
                return r;
        start->started->pid = start->process.pid;
        (void) snprintf(start->started->vmm_kind, sizeof(start->started->vmm_kind), "%s",
                        start->ledger.vmm_kind);
        (void) snprintf(start->started->vmm_version, sizeof(start->started->vmm_version), "%s",
                        start->vmm.version);
        (void) snprintf(start->started->boot_id, sizeof(start->started->boot_id), "%s", hello.boot_id);
        return 0;
}

static bool is_first_start(const void *context)
{
        const struct start *start = context;

        return start->is_new;
}

int vm_start(const struct vm_spec *spec, bool is_new, const struct vm_step_watch *watch,
             struct vm_started *ret_started, struct err *err)
{
        static const struct vm_step steps[] = {
                {"check",    check_begin,   NULL,         NULL          },
                { "network", network_begin, network_undo, NULL          },
                { "vmm",     vmm_begin,     vmm_undo,     NULL          },
                { "boot",    boot_begin,    NULL,         NULL          }, /* ends with the VMM */
                { "disk",    disk_begin,    NULL,         is_first_start}, /* in the folder, which vm_create() made */
                { "agent",   agent_begin,   NULL,         NULL          },
        };
        struct start start;
        int r;

        start_init(&start, spec, ret_started);
        start.is_new = is_new;
        start.ledger.phase = is_new ? VM_PHASE_CREATING : VM_PHASE_STARTING;
        r = vm_steps_run("vm.start", steps, sizeof(steps) / sizeof(steps[0]), &start, watch, err);
        if (r < 0) {
                struct err ledger_err = { 0 };

                if (!is_new)
                        (void) vm_ledger_remove(spec->folder, &ledger_err);
                err_join(err, &ledger_err);
        }
        start_done(&start);
        return r;
}
