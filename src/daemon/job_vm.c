#include <errno.h>

#include "base/file.h"
#include "base/scoped.h"
#include "daemon/job.h"
#include "vm/vm_clean.h"
#include "vm/vm_grow.h"
#include "vm/vm_ledger.h"
#include "vm/vm_limit.h"
#include "vm/vm_network.h"
#include "vm/vm_pause.h"
#include "vm/vm_start.h"
#include "vm/vm_stop.h"

#define SPEC(member, ...) RPC_FIELD(struct job_vm_params, spec.member, "see vm_spec.h", __VA_ARGS__)

/* The JSON names are "spec.id" and so on: the members' own. */
static const struct rpc_field vm_params[] = {
        SPEC(id, .required = true),
        SPEC(name, .required = true),
        SPEC(folder, .required = true),
        SPEC(runtime, .required = true),
        SPEC(vcpu),
        SPEC(memory_mib),
        SPEC(disk_bytes),
        SPEC(nat),
        SPEC(peers),
        SPEC(disk_iops),
        SPEC(disk_bandwidth),
        SPEC(net_bandwidth),
        SPEC(address),
        SPEC(tap),
        SPEC(rootfs_path),
        SPEC(work_seed_path),
        SPEC(image_config),
        SPEC(kernels_folder),
        SPEC(kernel),
        SPEC(helper_socket),
        SPEC(bridge),
        SPEC(bridge_ip),
        SPEC(prefix),
        SPEC(dns),
        SPEC(vmm),
        SPEC(firecracker_bin),
        SPEC(qemu_vmm_path),
        SPEC(cgroups),
        SPEC(authorized_key),
        SPEC(ssh_key_path),
        SPEC(known_hosts),
        SPEC(boot_timeout_ms),
        RPC_FIELD(struct job_vm_params, start, "start it too"),
        RPC_FIELD(struct job_vm_params, remove, "remove its folder too"),
        RPC_FIELD(struct job_vm_params, with_nat, "adjust its NAT"),
        RPC_FIELD(struct job_vm_params, with_limits, "adjust its limits"),
        RPC_END,
};

#define VM_JOB(text_name, text)                                                                  \
        {                                                                                        \
                .name = (text_name), .doc = (text), .params_size = sizeof(struct job_vm_params), \
                .params = vm_params                                                              \
        }

const struct rpc_method job_vm_create = VM_JOB("job.vm.create", "Make a VM's disks and perhaps start it.");
const struct rpc_method job_vm_start = VM_JOB("job.vm.start", "Start a VM.");
const struct rpc_method job_vm_stop = VM_JOB("job.vm.stop", "Stop a VM.");
const struct rpc_method job_vm_adjust =
        VM_JOB("job.vm.adjust", "Make a running VM's NAT and limits those of its record.");
const struct rpc_method job_vm_pause = VM_JOB("job.vm.pause", "Let a VM stand still.");
const struct rpc_method job_vm_resume = VM_JOB("job.vm.resume", "Let a paused VM go on.");
const struct rpc_method job_vm_clean = VM_JOB("job.vm.clean", "End a VM and undo what its ledger names.");

static void step_begun(void *userdata, const char *step)
{
        (void) userdata;
        (void) job_report(step, "begin", 0, 0, 0);
}

static void step_ended(void *userdata, const char *step, uint64_t elapsed_ms)
{
        (void) userdata;
        (void) job_report(step, "end", 0, 0, elapsed_ms);
}

static void step_warned(void *userdata, const char *step, const char *text)
{
        (void) userdata;
        (void) job_warn(step, text);
}

static const struct vm_step_watch watch = { .begun = step_begun, .ended = step_ended, .warned = step_warned };

static json_t *started_result(const struct vm_started *started)
{
        return json_pack("{s:i, s:s, s:s, s:s}", "pid", started->pid, "vmm", started->vmm_kind, "vmm_version",
                         started->vmm_version, "boot_id", started->boot_id);
}

/* A half-made VM goes whole; its console is of no use to anybody who cannot name it. */
static int give_up(const struct vm_spec *spec, int r, struct err *err)
{
        struct err undo = { 0 };

        (void) vm_remove(spec, &undo);
        err_join(err, &undo);
        return r;
}

/* The request's spec with the tap that came beside it; the start owns that. */
static struct vm_spec spec_of(struct rpc_call *call, const struct job_vm_params *p)
{
        struct vm_spec spec = p->spec;

        spec.tap_fd = FD_NONE;
        if (call->n_fds > 0)
                spec.tap_fd = take_fd(&call->fds[0]);
        return spec;
}

int job_vm_create_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_vm_params *p = params;
        scoped_close int lock = FD_NONE;
        struct vm_started started = { 0 };
        struct vm_spec spec;
        int r;

        r = file_make_folders(p->spec.folder, 0700, err);
        if (r < 0)
                return r;
        lock = vm_lock(p->spec.folder, err);
        if (lock < 0)
                return lock;
        r = vm_create(&p->spec, &watch, err);
        if (r < 0)
                return r;
        if (!p->start) {
                r = vm_fill_disks(&p->spec, err);
                if (r == 0)
                        r = vm_ledger_remove(p->spec.folder, err);
                return r < 0 ? give_up(&p->spec, r, err) : 0;
        }
        spec = spec_of(call, p);
        r = vm_start(&spec, true, &watch, &started, err);
        if (r < 0)
                return give_up(&p->spec, r, err);
        *ret_result = started_result(&started);
        return 0;
}

/* A failed clean leaves its ledger; a start would write over it. */
static int clean_leftovers(const struct vm_spec *spec, struct err *err)
{
        struct vm_ledger ledger = { 0 };
        struct err unreadable = { 0 };

        if (vm_ledger_read(spec->folder, &ledger, &unreadable) == 0 && ledger.phase == VM_PHASE_NONE)
                return 0;
        if (ledger.phase == VM_PHASE_CREATING)
                return err_set(err, EIO, "vm.start",
                               "vm '%s' was never made whole, and has no disks to start from; 'banger vm "
                               "delete %s' removes what there is",
                               spec->name, spec->name);
        return vm_clean(spec, err);
}

int job_vm_start_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_vm_params *p = params;
        scoped_close int lock = vm_lock(p->spec.folder, err);
        struct vm_started started = { 0 };
        struct vm_spec spec;
        int r;

        if (lock < 0)
                return lock;
        spec = spec_of(call, p);
        r = clean_leftovers(&spec, err);
        if (r == 0)
                r = vm_grow_work_disk(&spec, err);
        if (r == 0)
                r = vm_start(&spec, false, &watch, &started, err);
        if (r < 0)
                return r;
        *ret_result = started_result(&started);
        return 0;
}

int job_vm_stop_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_vm_params *p = params;
        scoped_close int lock = vm_lock(p->spec.folder, err);

        (void) call;
        (void) ret_result;
        return lock < 0 ? lock : vm_stop(&p->spec, &watch, err);
}

int job_vm_adjust_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_vm_params *p = params;
        scoped_close int lock = vm_lock(p->spec.folder, err);
        bool net_waits = false;
        int r = lock < 0 ? lock : 0;

        (void) call;
        if (r == 0 && p->with_nat)
                r = vm_set_nat(&p->spec, err);
        if (r == 0 && p->with_limits)
                r = vm_set_limits(&p->spec, &net_waits, err);
        if (r == 0)
                *ret_result = json_pack("{s:b}", "net_waits", (int) net_waits);
        return r;
}

int job_vm_pause_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_vm_params *p = params;
        scoped_close int lock = vm_lock(p->spec.folder, err);

        (void) call;
        (void) ret_result;
        return lock < 0 ? lock : vm_pause(&p->spec, err);
}

int job_vm_resume_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_vm_params *p = params;
        scoped_close int lock = vm_lock(p->spec.folder, err);

        (void) call;
        (void) ret_result;
        return lock < 0 ? lock : vm_resume(&p->spec, err);
}

int job_vm_clean_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_vm_params *p = params;
        scoped_close int lock = FD_NONE;
        scoped_free char *gone = vm_path_gone(p->spec.folder);
        int r = file_make_folders(p->spec.folder, 0700,
                                  err); /* it may be gone already; the lock wants a place */

        (void) call;
        (void) ret_result;
        if (r < 0)
                return r;
        lock = vm_lock(p->spec.folder, err);
        if (lock < 0)
                return lock;
        if (!p->remove)
                return vm_clean(&p->spec, err);
        r = vm_retire(&p->spec, err);
        if (r == 0)
                job_remove_afterwards(gone);
        return r;
}
