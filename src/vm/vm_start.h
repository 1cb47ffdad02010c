/* Creating and starting a VM, as steps. */
#pragma once

#include "base/err.h"
#include "vm/vm_spec.h"
#include "vm/vm_step.h"

/* What a start found out; strings inside. */
struct vm_started {
        int pid;
        char vmm_kind[16]; /* "qemu" */
        char vmm_version[32];
        char boot_id[40];
};

/*
 * The VM's folder, its disks in full size and without content: vm_start() with is_new fills them while the guest boots, and
 * vm_fill_disks() does for a VM that is not started yet. Nothing is left when it fails.
 */
int vm_create(const struct vm_spec *spec, const struct vm_step_watch *watch, struct err *err);
int vm_fill_disks(const struct vm_spec *spec, struct err *err);
/*
 * Network, VMM, boot, agent: returns when the guest has called. A failure undoes it. is_new: a VM just created, whose disks
 * get their content here; the ledger's phase stays at "creating" until the guest is ready, so that a killed create is
 * undone whole.
 */
int vm_start(const struct vm_spec *spec, bool is_new, const struct vm_step_watch *watch,
             struct vm_started *ret_started, struct err *err);
