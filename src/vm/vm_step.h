/*
 * A job is a table of steps. A failing step undoes the earlier ones backwards and loses none of their errors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct vm_step {
        const char *name; /* what the client sees */
        int (*begin)(void *context, struct err *err);
        /* NULL: nothing to undo. Idempotent; also called when begin failed half-way. */
        void (*undo)(void *context, struct err *err);
        bool (*applies)(
                const void
                        *context); /* NULL: always; false: the step is passed over, as if it were not there */
};

struct vm_step_watch {
        void (*begun)(void *userdata, const char *step);
        void (*ended)(void *userdata, const char *step, uint64_t elapsed_ms);
        /* What the user should know although it is no failure; NULL: nobody listens. */
        void (*warned)(void *userdata, const char *step, const char *text);
        void *userdata;
};

/*
 * Runs the steps in order. On failure returns the failing step's code; err has its message and those of failing undos
 * behind it (S-170). For tests of every path, the environment's BANGER_FAULT="<table>/<step>:fail" makes that step fail
 * after it began, ":kill" kills the process there.
 */
int vm_steps_run(const char *table, const struct vm_step *steps, size_t n_steps, void *context,
                 const struct vm_step_watch *watch, struct err *err);
