/*
 * Which modules a guest needs, and in which order they load. What depends on what is read from the modules themselves
 * (modinfo(8)): modules.dep is made by depmod when a package is configured, so an unpacked package has none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "kernel/kernel_store.h"

/* When a booting guest needs a module: each stage's modules are loaded while the one before it is being answered. */
enum kernel_module_stage {
        MODULE_FOR_CALL, /* to speak to the host */
        MODULE_FOR_DISK, /* to mount the disks */
        MODULE_FOR_REST,
        MODULE_LATER, /* when the first command has ended, or takes longer */
        MODULE_N_STAGES,
};

struct kernel_module_need {
        const char *name; /* with _ for -, as lsmod(8) shows it */
        bool is_required; /* false: taken when the kernel has it */
        enum kernel_module_stage stage;
};

/* What every guest needs: vsock, a disk, ext4, a network. Those of one stage follow each other. */
extern const struct kernel_module_need kernel_module_needs[];
extern const size_t kernel_n_module_needs;

struct kernel_module {
        char *name; /* owned */
        char *data; /* owned; decompressed */
        size_t n;
};

struct kernel_modules {
        struct kernel_module *modules; /* in loading order; owned */
        unsigned n;
};

/*
 * folder is lib/modules/<version>. ENOENT names the module that is neither there nor in modules.builtin, ELOOP a circle of
 * dependencies, EBADMSG a damaged module.
 */
int kernel_modules_collect(const char *folder, const struct kernel_module_need *needs, size_t n_needs,
                           const struct kernel_progress *progress, struct kernel_modules *ret_modules,
                           struct err *err);
/*
 * The stages of modules in loading order, into n places: what a needed module depends on comes right before it and
 * shares its stage.
 */
void kernel_modules_stages(const struct kernel_modules *modules, enum kernel_module_stage *ret_stages);
void kernel_modules_done(struct kernel_modules *modules);
#define scoped_kernel_modules __attribute__((__cleanup__(kernel_modules_done)))
