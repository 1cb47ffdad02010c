/*
 * Jobs of one name: one after another, or one for all who ask for the same. The processes are this program itself, run with
 * --job: it notes that it began, tells a stage, waits for a file, answers, and lives on while another file is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/daemon_operation.h"
#include "image/image_store.h"
#include "rpc/rpc_message.h"
#include "unit.h"

#define WAIT_MS 20000

struct scratch {
        struct daemon daemon;
        char *folder;
};

/* What one who asked has heard. */
struct listener {
        unsigned n_events, n_ends;
        char stage[32];
        int code;
};

static int be_the_job(const char *fd_text)
{
        uint64_t sock = 0;
        int fds[FD_PASS_MAX];
        size_t n_fds = 0;
        struct err err = { 0 };
        json_auto_t *request = NULL;
        json_auto_t *event = json_pack("{s:{s:s, s:s}}", "event", "stage", "working", "state", "begin");
        json_auto_t *answer = json_pack("{s:b, s:{s:i}}", "ok", 1, "result", "pid", (int) getpid());
        const char *folder;
        scoped_free char *began = NULL, *go = NULL, *stay = NULL;
        FILE *file;
        int r;

        if (text_parse_u64(fd_text, INT_MAX, &sock) < 0 ||
            rpc_receive((int) sock, UINT64_MAX, &request, fds, &n_fds, &err) < 0)
                return 1;
        folder = json_text(json_object_get(request, "params"), "folder");
        began = xasprintf("%s/began", folder);
        go = xasprintf("%s/go", folder);
        stay = xasprintf("%s/stay", folder);
        file = fopen(began, "ae");
        if (!file)
                return 1;
        (void) fprintf(file, "%d\n", (int) getpid());
        (void) fclose(file);
        (void) rpc_send((int) sock, event, NULL, 0, &err);
        while (access(go, F_OK) != 0)
                (void) usleep(1000);
        r = rpc_send((int) sock, answer, NULL, 0, &err);
        while (access(stay, F_OK) == 0)
                (void) usleep(1000);
        return r < 0;
}

static int make_scratch(void **state)
{
        char name[] = "/tmp/banger-test-job.XXXXXX", self[PATH_MAX] = "";
        struct scratch *scratch = xcalloc(1, sizeof(*scratch));

        assert_non_null(mkdtemp(name));
        assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
        scratch->folder = xstrdup(name);
        scratch->daemon.program = scratch->daemon.import_program = xstrdup(self);
        scratch->daemon.images = image_index_new(name);
        assert_true(sd_event_new(&scratch->daemon.event) >= 0);
        *state = scratch;
        return 0;
}

static int drop_scratch(void **state)
{
        struct scratch *scratch = *state;
        struct err err = { 0 };

        daemon_jobs_done(&scratch->daemon);
        image_index_free(scratch->daemon.images);
        sd_event_unref(scratch->daemon.event);
        assert_int_equal(file_remove_tree(scratch->folder, &err), 0);
        free(scratch->daemon.program);
        free(scratch->folder);
        free(scratch);
        return 0;
}

static void on_event(void *userdata, const json_t *event)
{
        struct listener *listener = userdata;

        listener->n_events++;
        (void) snprintf(listener->stage, sizeof(listener->stage), "%s", json_text(event, "stage"));
}

static void on_end(void *userdata, const struct daemon_job_end *end)
{
        struct listener *listener = userdata;

        listener->n_ends++;
        listener->code = end->result ? 0 : end->err->code;
}

static struct daemon_job *ask_for(struct scratch *scratch, const char *method, struct listener *listener,
                                  const char *name, bool may_share)
{
        const struct daemon_job_request request = {
                .key = "image:x",
                .method = method,
                .owned_params = json_pack("{s:s, s:s}", "folder", scratch->folder, "name", name),
                .may_share = may_share,
                .op_id = "op-000000000000",
                .event = on_event,
                .end = on_end,
                .userdata = listener,
        };

        return daemon_job_add(&scratch->daemon, &request);
}

static struct daemon_job *ask(struct scratch *scratch, struct listener *listener, const char *name,
                              bool may_share)
{
        return ask_for(scratch, "job.image.pull", listener, name, may_share);
}

static void run_until(struct scratch *scratch, const unsigned *counter, unsigned wanted)
{
        uint64_t deadline = clock_monotonic_ms() + WAIT_MS;

        while (*counter < wanted && clock_monotonic_ms() < deadline)
                (void) sd_event_run(scratch->daemon.event, 10000);
        assert_int_equal(*counter, wanted);
}

static void put_file(const struct scratch *scratch, const char *name)
{
        scoped_free char *path = xasprintf("%s/%s", scratch->folder, name);
        struct err err = { 0 };

        assert_int_equal(file_replace(path, "", 0, 0600, &err), 0);
}

static void take_file(const struct scratch *scratch, const char *name)
{
        scoped_free char *path = xasprintf("%s/%s", scratch->folder, name);

        assert_int_equal(unlink(path), 0);
}

static void let_go(const struct scratch *scratch)
{
        put_file(scratch, "go");
}

/* The process of a work ends a little after its end was told. */
static void run_until_idle(struct scratch *scratch)
{
        uint64_t deadline = clock_monotonic_ms() + WAIT_MS;

        while (scratch->daemon.works && clock_monotonic_ms() < deadline)
                (void) sd_event_run(scratch->daemon.event, 10000);
        assert_null(scratch->daemon.works);
}

/* How many processes there were; *ret_last is the pid of the youngest. */
static unsigned processes(const struct scratch *scratch, pid_t *ret_last)
{
        scoped_free char *began = xasprintf("%s/began", scratch->folder), *text = NULL;
        struct err err = { 0 };
        unsigned n = 0;

        if (file_read(began, 1000, &text, NULL, &err) < 0)
                return 0;
        for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, n++)
                *ret_last = (pid_t) strtol(line, NULL, 10);
        return n;
}

static unsigned n_begun(const struct scratch *scratch)
{
        pid_t last;

        return processes(scratch, &last);
}

static void kill_youngest(const struct scratch *scratch)
{
        pid_t pid = 0;

        assert_true(processes(scratch, &pid) > 0);
        assert_true(pid > 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
}

static void who_asks_for_the_same_shares_work_progress_and_end(void **state)
{
        struct scratch *scratch = *state;
        struct listener first = { 0 }, second = { 0 }, third = { 0 };

        (void) ask(scratch, &first, "x", true);
        (void) ask(scratch, &second, "x", true);
        run_until(scratch, &first.n_events, 1);
        run_until(scratch, &second.n_events, 1);
        (void) ask(scratch, &third, "x", true); /* late: it hears where the work is */
        run_until(scratch, &third.n_events, 1);
        assert_string_equal(third.stage, "working");
        let_go(scratch);
        run_until(scratch, &third.n_ends, 1);
        assert_int_equal(first.n_ends + second.n_ends, 2);
        assert_int_equal(first.code | second.code | third.code, 0);
        assert_int_equal(n_begun(scratch), 1);
        run_until_idle(scratch);
}

static void who_asks_for_something_else_of_this_name_waits(void **state)
{
        struct scratch *scratch = *state;
        struct listener first = { 0 }, other = { 0 }, alone = { 0 };

        (void) ask(scratch, &first, "x", true);
        (void) ask(scratch, &other, "y", true);
        (void) ask(scratch, &alone, "x", false);
        run_until(scratch, &first.n_events, 1);
        assert_int_equal(n_begun(scratch), 1);
        assert_int_equal(other.n_events + alone.n_events, 0);
        let_go(scratch);
        run_until(scratch, &alone.n_ends, 1);
        assert_int_equal(first.n_ends + other.n_ends, 2);
        assert_int_equal(n_begun(scratch), 3);
}

static void who_leaves_does_not_end_the_work_of_others(void **state)
{
        struct scratch *scratch = *state;
        struct listener first = { 0 }, second = { 0 };
        struct daemon_job *job = ask(scratch, &first, "x", true);

        (void) ask(scratch, &second, "x", true);
        run_until(scratch, &second.n_events, 1);
        daemon_job_cancel(job);
        assert_int_equal(first.n_ends, 0); /* from the loop, never from within */
        run_until(scratch, &first.n_ends, 1);
        assert_int_equal(first.code, ECANCELED);
        assert_int_equal(second.n_ends, 0);
        let_go(scratch);
        run_until(scratch, &second.n_ends, 1);
        assert_int_equal(second.code, 0);
        assert_int_equal(first.n_ends, 1);
        assert_int_equal(n_begun(scratch), 1);
}

static void the_last_to_leave_ends_the_work(void **state)
{
        struct scratch *scratch = *state;
        struct listener first = { 0 }, second = { 0 }, after = { 0 };
        struct daemon_job *jobs[] = { ask(scratch, &first, "x", true), ask(scratch, &second, "x", true) };

        run_until(scratch, &second.n_events, 1);
        daemon_job_cancel(jobs[0]);
        daemon_job_cancel(jobs[1]);
        (void) ask(scratch, &after, "x", true); /* not what is being killed */
        run_until(scratch, &second.n_ends, 1);
        run_until(scratch, &first.n_ends, 1);
        assert_int_equal(first.code, ECANCELED);
        assert_int_equal(second.code, ECANCELED);
        let_go(scratch);
        run_until(scratch, &after.n_ends, 1);
        assert_int_equal(after.code, 0);
        assert_int_equal(n_begun(scratch), 2);
}

static void one_that_waits_its_turn_can_leave(void **state)
{
        struct scratch *scratch = *state;
        struct listener first = { 0 }, waiting = { 0 };
        struct daemon_job *job;

        (void) ask(scratch, &first, "x", true);
        job = ask(scratch, &waiting, "y", true);
        run_until(scratch, &first.n_events, 1);
        daemon_job_cancel(job);
        run_until(scratch, &waiting.n_ends, 1);
        assert_int_equal(waiting.code, ECANCELED);
        let_go(scratch);
        run_until(scratch, &first.n_ends, 1);
        assert_int_equal(n_begun(scratch), 1);
}

/* The end was told, the process lives: who comes now is not told of what is over, and waits for the process. */
static void who_comes_after_the_end_was_told_gets_work_of_its_own(void **state)
{
        struct scratch *scratch = *state;
        struct listener first = { 0 }, second = { 0 };

        put_file(scratch, "stay");
        let_go(scratch);
        (void) ask(scratch, &first, "x", true);
        assert_true(daemon_job_find(&scratch->daemon, "image:x", "job.image.pull"));
        run_until(scratch, &first.n_ends, 1);
        assert_non_null(scratch->daemon.works);
        assert_false(daemon_job_find(&scratch->daemon, "image:x", "job.image.pull"));
        (void) ask(scratch, &second, "x", true);
        (void) sd_event_run(scratch->daemon.event, 50000);
        assert_int_equal(second.n_events + second.n_ends, 0);
        assert_int_equal(n_begun(scratch), 1);
        take_file(scratch, "stay");
        run_until(scratch, &second.n_ends, 1);
        run_until_idle(scratch);
        assert_int_equal(n_begun(scratch), 2);
        assert_int_equal(first.n_ends, 1);
}

static void a_killed_clean_begins_again_and_its_end_is_told_once(void **state)
{
        struct scratch *scratch = *state;
        struct listener listener = { 0 };

        (void) ask_for(scratch, "job.vm.clean", &listener, "x", false);
        run_until(scratch, &listener.n_events, 1);
        kill_youngest(scratch);
        run_until(scratch, &listener.n_events, 2);
        put_file(scratch, "stay");
        let_go(scratch);
        run_until(scratch, &listener.n_ends, 1);
        kill_youngest(scratch); /* while it does what comes after its answer */
        take_file(scratch, "stay");
        run_until_idle(scratch);
        assert_int_equal(n_begun(scratch), 3);
        assert_int_equal(listener.n_ends, 1);
        assert_int_equal(listener.code, 0);
}

static void a_stop_whose_end_was_told_does_not_begin_again(void **state)
{
        struct scratch *scratch = *state;
        struct listener listener = { 0 };

        put_file(scratch, "stay");
        let_go(scratch);
        (void) ask_for(scratch, "job.vm.stop", &listener, "x", false);
        run_until(scratch, &listener.n_ends, 1);
        kill_youngest(scratch);
        run_until_idle(scratch);
        assert_int_equal(n_begun(scratch), 1);
        assert_int_equal(listener.n_ends, 1);
        assert_int_equal(listener.code, 0);
}

static void a_clean_that_is_killed_again_and_again_is_given_up(void **state)
{
        struct scratch *scratch = *state;
        struct listener listener = { 0 };

        (void) ask_for(scratch, "job.vm.clean", &listener, "x", false);
        for (unsigned deaths = 0; deaths < 3; deaths++) {
                run_until(scratch, &listener.n_events, deaths + 1);
                kill_youngest(scratch);
        }
        run_until(scratch, &listener.n_ends, 1);
        assert_int_equal(listener.code, EIO);
        assert_int_equal(n_begun(scratch), 3);
}

/* The list of operations is bounded, and one's own: what one does to it the next does not see. */
static void operations_that_ended_are_pruned_and_listed_in_a_copy(void **state)
{
        struct scratch *scratch = *state;
        const struct daemon_operation *living = daemon_operation_new(&scratch->daemon, NULL, "vm.stop");
        json_auto_t *first = NULL, *second = NULL;

        for (unsigned i = 0; i < 400; i++)
                daemon_operation_end(daemon_operation_new(&scratch->daemon, NULL, "vm.clean"));
        first = daemon_operations_snapshot(&scratch->daemon);
        assert_in_range(json_array_size(first), 200, 300);
        assert_string_equal(json_text(json_array_get(first, 0), "id"), living->id); /* it has not ended */
        assert_non_null(daemon_operation_find(&scratch->daemon, living->id));
        (void) json_array_clear(first);
        second = daemon_operations_snapshot(&scratch->daemon);
        assert_in_range(json_array_size(second), 200, 300);
        daemon_operations_done(&scratch->daemon);
        json_decref(second);
        second = daemon_operations_snapshot(&scratch->daemon);
        assert_true(json_is_array(second));
        assert_int_equal(json_array_size(second), 0);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(who_asks_for_the_same_shares_work_progress_and_end,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(who_asks_for_something_else_of_this_name_waits, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(who_leaves_does_not_end_the_work_of_others, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(the_last_to_leave_ends_the_work, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(one_that_waits_its_turn_can_leave, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(who_comes_after_the_end_was_told_gets_work_of_its_own,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_killed_clean_begins_again_and_its_end_is_told_once,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_stop_whose_end_was_told_does_not_begin_again, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(operations_that_ended_are_pruned_and_listed_in_a_copy,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_clean_that_is_killed_again_and_again_is_given_up,
                                                make_scratch, drop_scratch),
        };

        if (argc == 3 && strcmp(argv[1], "--job") == 0)
                return be_the_job(argv[2]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
