#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"
#include "vm/vm_step.h"

/* What happened, a letter each: a b c begun, A B C undone. */
struct trace {
        char events[32];
        int fail_at;                 /* index of the step that fails; -1: none */
        bool undo_fails, passes_one; /* over the first step */
};

static void note(struct trace *trace, char event)
{
        trace->events[strlen(trace->events)] = event;
}

static int begin(struct trace *trace, int index, struct err *err)
{
        note(trace, (char) ('a' + index));
        return trace->fail_at == index ? err_set(err, ENOSPC, "test", "step %d failed", index) : 0;
}

static void undo(struct trace *trace, int index, struct err *err)
{
        note(trace, (char) ('A' + index));
        if (trace->undo_fails)
                (void) err_set(err, EBUSY, "test", "undo %d failed", index);
}

#define BEGIN(n)                                             \
        static int begin_##n(void *context, struct err *err) \
        {                                                    \
                return begin(context, n, err);               \
        }
#define UNDO(n)                                              \
        static void undo_##n(void *context, struct err *err) \
        {                                                    \
                undo(context, n, err);                       \
        }
BEGIN(0)
BEGIN(1)
BEGIN(2)
UNDO(0)
UNDO(2)

static bool has_one(const void *context)
{
        const struct trace *trace = context;

        return !trace->passes_one;
}

static const struct vm_step steps[] = {
        {"one",    begin_0, undo_0, has_one},
        { "two",   begin_1, NULL,   NULL   },
        { "three", begin_2, undo_2, NULL   },
};

static void runs_in_order_and_undoes_backwards(void **state)
{
        static const struct {
                int fail_at;
                const char *events;
        } cases[] = {
                {-1, "abc"  },
                { 0, "aA"   },
                { 1, "abA"  },
                { 2, "abcCA"},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct trace trace = { .fail_at = cases[i].fail_at };
                struct err err = { 0 };
                int r = vm_steps_run("test", steps, N_ELEMENTS(steps), &trace, NULL, &err);

                assert_int_equal(r, cases[i].fail_at < 0 ? 0 : -ENOSPC);
                assert_string_equal(trace.events, cases[i].events);
        }
}

static void a_step_that_does_not_apply_is_neither_begun_nor_undone(void **state)
{
        struct trace trace = { .fail_at = 2, .passes_one = true };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(vm_steps_run("test", steps, N_ELEMENTS(steps), &trace, NULL, &err), -ENOSPC);
        assert_string_equal(trace.events, "bcC");
}

static void loses_no_error(void **state)
{
        struct trace trace = { .fail_at = 2, .undo_fails = true };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(vm_steps_run("test", steps, N_ELEMENTS(steps), &trace, NULL, &err), -ENOSPC);
        assert_string_equal(err.message, "step 2 failed; undo 2 failed; undo 0 failed");
}

static void a_fault_can_be_asked_for_at_every_step(void **state)
{
        static const char *const faults[] = { "test/one:fail", "test/two:fail", "test/three:fail" };
        static const char *const events[] = { "aA", "abA", "abcCA" };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(faults); i++) {
                struct trace trace = { .fail_at = -1 };
                struct err err = { 0 };

                (void) setenv("BANGER_FAULT", faults[i], 1);
                assert_int_equal(vm_steps_run("test", steps, N_ELEMENTS(steps), &trace, NULL, &err), -EIO);
                (void) unsetenv("BANGER_FAULT");
                assert_string_equal(trace.events, events[i]);
        }
}

static void a_kill_can_be_asked_for(void **state)
{
        int status = 0;
        pid_t pid = fork();

        (void) state;
        assert_true(pid >= 0);
        if (pid == 0) {
                struct trace trace = { .fail_at = -1 };
                struct err err = { 0 };

                (void) setenv("BANGER_FAULT", "test/two:kill", 1);
                (void) vm_steps_run("test", steps, N_ELEMENTS(steps), &trace, NULL, &err);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(runs_in_order_and_undoes_backwards),
                cmocka_unit_test(a_step_that_does_not_apply_is_neither_begun_nor_undone),
                cmocka_unit_test(loses_no_error),
                cmocka_unit_test(a_fault_can_be_asked_for_at_every_step),
                cmocka_unit_test(a_kill_can_be_asked_for),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
