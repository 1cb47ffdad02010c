/* In a cgroup of its own below the mount of v2; skipped where this process may not make one. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "base/text.h"
#include "unit.h"

static char *top; /* the cgroup that stands for a delegated one */

static bool put_self(const char *folder)
{
        scoped_free char *path = xasprintf("%s/cgroup.procs", folder);
        FILE *file = fopen(path, "we");
        bool is_written = file && fputs("0", file) >= 0;

        return file && fclose(file) == 0 && is_written;
}

static const char *mount_point(void)
{
        static const char *const points[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

        for (size_t i = 0; i < N_ELEMENTS(points); i++) {
                scoped_free char *file = xasprintf("%s/cgroup.controllers", points[i]);

                if (access(file, R_OK) == 0)
                        return points[i];
        }
        return NULL;
}

/* What the cgroup may give to those below must be turned on above it. */
static void turn_on_above(const char *point)
{
        static const char *const words[] = { "+cpu", "+memory", "+pids" };
        scoped_free char *path = xasprintf("%s/cgroup.subtree_control", point);

        for (size_t i = 0; i < N_ELEMENTS(words); i++) {
                FILE *file = fopen(path, "we");

                if (file) {
                        (void) fputs(words[i], file);
                        (void) fclose(file);
                }
        }
}

static int set_up(void **state)
{
        const char *point = mount_point();

        (void) state;
        if (!point)
                return 0;
        turn_on_above(point);
        top = xasprintf("%s/banger-test-%d", point, (int) getpid());
        if (mkdir(top, 0755) < 0 || !put_self(top)) {
                (void) rmdir(top);
                free(take_ptr(top));
        }
        return 0;
}

static int tear_down(void **state)
{
        scoped_free char *own = NULL;
        struct err err = { 0 };

        (void) state;
        if (!top)
                return 0;
        own = xasprintf("%s/" CGROUP_OWN_NAME, top);
        if (!put_self(mount_point()) || cgroup_remove(own, &err) < 0 || cgroup_remove(top, &err) < 0)
                print_message("# '%s' stays: %s\n", top, err.message);
        free(take_ptr(top));
        return 0;
}

static char *claim(void)
{
        char *root = NULL;
        struct err err = { 0 };

        if (!top)
                skip();
        assert_int_equal(cgroup_claim(&root, &err), 0);
        assert_string_equal(root, top);
        return root;
}

static bool has(const char *root, const char *controller)
{
        scoped_free char *on = cgroup_controllers(root);
        bool found = strstr(on, controller) != NULL;

        if (!found)
                print_message("# '%s' is not there to be tested\n", controller);
        return found;
}

static void a_shared_cgroup_is_not_taken(void **state)
{
        static const char *const argv[] = { "sleep", "30", NULL };
        const struct spawn spawn = {
                .argv = argv, .stdin_fd = FD_NONE, .stdout_fd = FD_NONE, .stderr_fd = FD_NONE
        };
        char *root = NULL;
        pid_t pid = 0;
        struct err err = { 0 };

        (void) state;
        if (!top)
                skip();
        assert_int_equal(cgroup_claimed(&root, &err), -ENOENT);
        err = (struct err){ 0 };
        assert_int_equal(spawn_start(&spawn, &pid, NULL, &err), 0);
        assert_int_equal(cgroup_claim(&root, &err), -EBUSY);
        err = (struct err){ 0 };
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(spawn_wait(pid, &err), 128 + SIGKILL);
}

static void a_claimed_one_is_found_and_claimed_again(void **state)
{
        scoped_free char *root = claim(), *again = claim(), *found = NULL;
        struct err err = { 0 };

        (void) state;
        assert_string_equal(root, again);
        assert_int_equal(cgroup_claimed(&found, &err), 0);
        assert_string_equal(root, found);
}

static void a_program_is_born_in_its_cgroup(void **state)
{
        static const char *const argv[] = { "cat", "/proc/self/cgroup", NULL };
        scoped_free char *root = claim(), *path = xasprintf("%s/vm-a", root);
        const struct cgroup_limits none = { 0 };
        char said[4096] = "";
        int ends[2];
        pid_t pid = 0;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(cgroup_make(path, &none, &err), 0);
        assert_int_equal(cgroup_make(path, &none, &err), 0); /* a start again */
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(spawn_start(&(struct spawn){ .argv = argv,
                                                      .cgroup = path,
                                                      .stdin_fd = FD_NONE,
                                                      .stdout_fd = ends[1],
                                                      .stderr_fd = FD_NONE },
                                     &pid, NULL, &err),
                         0);
        (void) close(ends[1]);
        assert_int_equal(spawn_wait(pid, &err), 0);
        assert_true(read(ends[0], said, sizeof(said) - 1) > 0);
        (void) close(ends[0]);
        assert_non_null(strstr(said, "/vm-a\n"));
        assert_int_equal(cgroup_remove(path, &err), 0);
        assert_true(file_is_missing(path));
        assert_int_equal(cgroup_remove(path, &err), 0);
        assert_int_equal(spawn_start(&(struct spawn){ .argv = argv, .cgroup = path }, &pid, NULL, &err),
                         -ENOENT);
}

static pid_t start_within(const char *path, const char *const *argv)
{
        const struct spawn spawn = {
                .argv = argv, .cgroup = path, .stdin_fd = FD_NONE, .stdout_fd = FD_NONE, .stderr_fd = FD_NONE
        };
        pid_t pid = 0;
        struct err err = { 0 };

        assert_int_equal(spawn_start(&spawn, &pid, NULL, &err), 0);
        return pid;
}

static int status_within(const char *path, const char *const *argv)
{
        struct err err = { 0 };

        return spawn_wait(start_within(path, argv), &err);
}

static void limits_are_the_kernels(void **state)
{
        /* tail keeps a line in memory until its end, which this one has not */
        static const char *const hog[] = { "tail", "/dev/zero", NULL }, *const crowd[] = {
                "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait", NULL
        };
        const struct cgroup_limits limits = { .memory_bytes = 32 << 20, .cpu_percent = 150, .processes = 4 };
        scoped_free char *root = claim(), *path = xasprintf("%s/vm-b", root);
        scoped_free char *cpu = xasprintf("%s/cpu.max", path), *text = NULL;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(cgroup_make(path, &limits, &err), 0);
        if (has(root, "memory"))
                assert_int_equal(status_within(path, hog), 128 + SIGKILL);
        if (has(root, "pids"))
                assert_int_not_equal(status_within(path, crowd), 0);
        if (has(root, "cpu")) {
                assert_int_equal(file_read(cpu, 100, &text, NULL, &err), 0);
                assert_string_equal(text, "150000 100000\n");
        }
        assert_int_equal(cgroup_remove(path, &err), 0);
}

static void one_that_is_lived_in_stays(void **state)
{
        static const char *const argv[] = { "sleep", "30", NULL };
        scoped_free char *root = claim(), *path = xasprintf("%s/vm-c", root);
        const struct cgroup_limits none = { 0 };
        pid_t pid;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(cgroup_make(path, &none, &err), 0);
        pid = start_within(path, argv);
        assert_int_equal(cgroup_remove(path, &err), -EBUSY);
        err = (struct err){ 0 };
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(spawn_wait(pid, &err), 128 + SIGKILL);
        assert_int_equal(cgroup_remove(path, &err), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_shared_cgroup_is_not_taken),
                cmocka_unit_test(a_claimed_one_is_found_and_claimed_again),
                cmocka_unit_test(a_program_is_born_in_its_cgroup),
                cmocka_unit_test(limits_are_the_kernels),
                cmocka_unit_test(one_that_is_lived_in_stays),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
