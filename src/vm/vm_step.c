#include "vm/vm_step.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/text.h"

/* NULL, "fail" or "kill": what BANGER_FAULT asks for at this step. */
static const char *asked_fault(const char *table, const char *step)
{
        scoped_free char *prefix = xasprintf("%s/%s:", table, step);
        const char *wish = getenv("BANGER_FAULT");

        return wish && text_starts_with(wish, prefix) ? wish + strlen(prefix) : NULL;
}

static int run_one(const char *table, const struct vm_step *step, void *context, struct err *err)
{
        const char *fault = asked_fault(table, step->name);
        int r = step->begin(context, err);

        if (r < 0 || !fault)
                return r;
        if (strcmp(fault, "kill") == 0)
                (void) kill(getpid(), SIGKILL);
        return err_set(err, EIO, table, "step '%s' was told to fail", step->name);
}

static bool applies(const struct vm_step *step, const void *context)
{
        return !step->applies || step->applies(context);
}

/* Backwards from the step that failed, which may have begun half-way. */
static void undo(const char *table, const struct vm_step *steps, size_t failed, void *context,
                 struct err *err)
{
        for (size_t i = failed + 1; i-- > 0;) {
                struct err undo_err = { 0 };

                if (steps[i].undo && applies(&steps[i], context))
                        steps[i].undo(context, &undo_err);
                if (undo_err.code != 0) /* S-102 */
                        log_warn("undoing a step failed", "{s:s, s:s, s:s}", "table", table, "step",
                                 steps[i].name, "error", undo_err.message);
                err_join(err, &undo_err);
        }
}

int vm_steps_run(const char *table, const struct vm_step *steps, size_t n_steps, void *context,
                 const struct vm_step_watch *watch, struct err *err)
{
        for (size_t i = 0; i < n_steps; i++) {
                uint64_t begun = clock_monotonic_ms();
                int r;

                if (!applies(&steps[i], context))
                        continue;
                if (watch)
                        watch->begun(watch->userdata, steps[i].name);
                r = run_one(table, &steps[i], context, err);
                if (r < 0) {
                        undo(table, steps, i, context, err);
                        return r;
                }
                if (watch)
                        watch->ended(watch->userdata, steps[i].name, clock_monotonic_ms() - begun);
        }
        return 0;
}
