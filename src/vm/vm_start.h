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

/* The VM's folder with its disks. Nothing is left when it fails. */
int vm_create(const struct vm_spec *spec, const struct vm_step_watch *watch, struct err *err);
/*
 * Network, VMM, boot, agent: returns when the guest has called. A failure undoes it; keep_creating keeps the ledger's phase
 * at "creating" until the guest is ready, so that a killed create is undone whole.
 */
int vm_start(const struct vm_spec *spec, bool keep_creating, const struct vm_step_watch *watch,
             struct vm_started *ret_started, struct err *err);
