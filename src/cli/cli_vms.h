/* Commands about several VMs: what is meant by the words given, the same asked for each, what came of it told in order. */
#pragma once

#include "cli/cli_call.h"

/* All VMs, owned by the caller; brief: without what only few ask for (labels, times, paths). */
int vms_fetch(struct cli *cli, bool brief, json_t **ret_vms, struct err *err);
/* The VM a reference means: its name, else its id, else the one id that begins with it. NULL with the reason in *err. */
const json_t *vms_resolve(const json_t *vms, const char *reference, struct err *err);
/* Whether it runs or is paused: a paused VM has its memory, and goes on at a word. */
bool vms_is_alive(const json_t *vm);
/* wanted: "key" or "key=value"; "" fits every VM. */
bool vms_has_label(const json_t *vm, const char *wanted);
/* Shows what came of one VM; false: it counts as failed. result is borrowed; whoever keeps it takes a reference. */
typedef bool vms_show(const char *name, json_t *result, void *userdata);
/*
 * Calls method, which takes a "vm" and args->params, for each operand: all references against one snapshot of the list, the
 * same VM once, the valid ones done even when others are not; then the exit status is 1. show NULL: the names of those done.
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
