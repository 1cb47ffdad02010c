/* Commands about several VMs: what is meant by the words given, the same asked for each, what came of it told in order. */
#pragma once

#include "api/api_vm.h"
#include "cli/cli_call.h"

/* A VM as a table shows it. */
struct vms_one {
        char *cells[VM_N_ROW]; /* of bytes */
        struct text bytes;     /* owned */
};
/* VMs: lines of vm.rows, or the objects that came with them. */
struct vms {
        char *lines; /* owned: a mapping, for reading */
        size_t n;    /* bytes */
};
void vms_done(struct vms *vms);
void vms_one_done(struct vms_one *one);

static inline void vms_done_at_scope_end(struct vms *vms)
{
        vms_done(vms);
}
static inline void vms_one_done_at_scope_end(struct vms_one *one)
{
        vms_one_done(one);
}

/* The caller ends with vms_done(). */
int vms_fetch(struct cli *cli, struct vms *ret_vms, struct err *err);
/* The same from an answer of vm.rows, whose descriptors it borrows: the first is of lines, the second of objects. */
int vms_map(const struct rpc_reply *reply, size_t which, struct vms *ret_vms, struct err *err);
/*
 * Steps through them: *at, a place in the lines, is 0 at first; false behind the last. The same one is used for all, so that
 * what is shown of thousands does not take the memory of thousands. The caller ends with vms_one_done().
 */
bool vms_next(const struct vms *vms, size_t *at, struct vms_one *one);
/* The VM a reference means: its name, else its id, else the one id that begins with it. -ENOENT, -EINVAL. */
int vms_resolve(const struct vms *vms, const char *reference, struct vms_one *ret_one, struct err *err);
/* Whether a VM in this state has its memory: it runs, or is paused and goes on at a word. */
bool vms_is_alive(const char *state);
/* wanted: "key" or "key=value"; "" fits every VM. labels: its object of strings. */
bool vms_has_label(const json_t *labels, const char *wanted);
/* Shows what came of one VM; false: it counts as failed. result is borrowed; whoever keeps it takes a reference. */
typedef bool vms_show(const char *name, json_t *result, void *userdata);
/*
 * Calls method, which takes a "vm" and args->params, for each operand: one as it is, several against one snapshot of the
 * list, the same VM once, the valid ones done even when others are not; then the exit status is 1. The answer has the VM's
 * "name". show NULL: the names of those done.
 */
int vms_do_each(struct cli *cli, const struct cli_args *args, const struct rpc_method *method, vms_show *show,
                void *userdata, struct err *err);
/*
 * Shows those done (show NULL: their names) in the order they were first given, failures on standard error. Releases them.
 * Returns how many failed.
 */
size_t vms_report(struct cli_one *ones, size_t n_ones, vms_show *show, void *userdata);

/* At the end of a command that made it, with a deadline of its own; what fails is told, with the way out. */
void vms_delete_at_end(struct cli *cli, const char *vm);
/* Whether a signal came while signals were held (cli_signals.h) and nothing took it; it is in cli->signal then. */
bool vms_is_interrupted(struct cli *cli);
