#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "base/text.h"
#include "unit.h"
#include "vm/vm_clean.h"
#include "vm/vm_ledger.h"
#include "vm/vm_process.h"
#include "vm/vm_spec.h"

static int make_folder(void **state)
{
        char *folder = xstrdup("/tmp/ledger-XXXXXX");

        assert_non_null(mkdtemp(folder));
        *state = folder;
        return 0;
}

static int remove_folder(void **state)
{
        struct err err = { 0 };
        int r = file_remove_tree(*state, &err);

        free(*state);
        return r;
}

static void is_read_as_it_was_written(void **state)
{
        struct vm_ledger written = { .phase = VM_PHASE_READY, .vmm = true, .pid = 4711, .start_time = 99 },
                         read;
        struct err err = { 0 };

        (void) snprintf(written.tap, sizeof(written.tap), "tap-fc-01234567");
        (void) snprintf(written.address, sizeof(written.address), "172.16.0.200");
        (void) snprintf(written.boot_id, sizeof(written.boot_id), "b-1");
        assert_int_equal(vm_ledger_write(*state, &written, &err), 0);
        assert_int_equal(vm_ledger_read(*state, &read, &err), 0);
        assert_int_equal(read.phase, VM_PHASE_READY);
        assert_string_equal(read.tap, written.tap);
        assert_string_equal(read.address, written.address);
        assert_string_equal(read.boot_id, "b-1");
        assert_true(read.vmm);
        assert_int_equal(read.pid, 4711);
        assert_int_equal(read.start_time, 99);
}

static void a_missing_one_means_that_nothing_exists(void **state)
{
        struct vm_ledger read = { .pid = 1 };
        struct err err = { 0 };

        assert_int_equal(vm_ledger_read(*state, &read, &err), 0);
        assert_int_equal(read.phase, VM_PHASE_NONE);
        assert_int_equal(read.pid, 0);
        assert_int_equal(vm_ledger_remove(*state, &err), 0);
}

static void a_corrupt_one_is_said_to_be_so(void **state)
{
        static const char *const contents[] = { "", "{", "[]", "{\"phase\":\"flying\"}",
                                                "{\"phase\":\"ready\",}" };
        scoped_free char *path = vm_path_ledger(*state);

        for (size_t i = 0; i < N_ELEMENTS(contents); i++) {
                struct vm_ledger read;
                struct err err = { 0 };

                assert_int_equal(file_replace(path, contents[i], strlen(contents[i]), 0600, &err), 0);
                assert_int_equal(vm_ledger_read(*state, &read, &err), -EBADMSG);
        }
}

/* A process whose command line names a socket, as a VMM's does. */
static pid_t start_fake_vmm(const char *option, const char *api)
{
        /* stands still without a child, which could outlive it by a moment */
        const char *const argv[] = { "sh", "-c", "kill -STOP $$", option, api, NULL };
        const struct spawn spawn = { .argv = argv,
                                     .stdin_fd = FD_NONE,
                                     .stdout_fd = FD_NONE,
                                     .stderr_fd = FD_NONE,
                                     .new_session = true };
        struct err err = { 0 };
        pid_t pid = 0;

        assert_int_equal(spawn_start(&spawn, &pid, NULL, &err), 0);
        return pid;
}

static void end_fake_vmm(pid_t pid)
{
        struct err err = { 0 };

        (void) kill(-pid, SIGKILL);
        (void) spawn_wait(pid, &err);
}

static void a_vmm_is_found_by_its_socket_alone(void **state)
{
        scoped_free char *api = xasprintf("%s/api.sock", (char *) *state);
        scoped_free char *other = xasprintf("%s/api.sock2", (char *) *state);
        scoped_free char *joined = xasprintf("--api-sock=%s", api);
        pid_t pids[] = { start_fake_vmm("--api-sock", other), start_fake_vmm("--api-sock", api) };
        int pidfd = FD_NONE;

        assert_int_equal(vm_process_find(api, &pidfd), 0);
        (void) close(pidfd);
        end_fake_vmm(pids[1]);
        assert_int_equal(vm_process_find(api, &pidfd), -ENOENT);
        end_fake_vmm(pids[0]);
        pids[0] = start_fake_vmm(joined, "x");
        assert_int_equal(vm_process_find(api, &pidfd), 0);
        (void) close(pidfd);
        end_fake_vmm(pids[0]);
}

/* A confined VMM is not dumpable: its /proc files are root's. */
static void a_vmm_that_is_not_dumpable_is_found_too(void **state)
{
        scoped_free char *api = xasprintf("%s/api.sock", (char *) *state);
        int pidfd = FD_NONE, ready[2];
        char byte = 0;
        pid_t pid;

        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                char *const argv[] = { (char *) (uintptr_t) "python3",
                                       (char *) (uintptr_t) "-c",
                                       (char *) (uintptr_t) "import ctypes, os, time; "
                                                            "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); "
                                                            "os.write(1, b'1'); time.sleep(30)",
                                       (char *) (uintptr_t) "--api-sock",
                                       api,
                                       NULL };

                (void) dup2(ready[1], STDOUT_FILENO);
                (void) execv("/usr/bin/python3", argv);
                _exit(127);
        }
        (void) close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        (void) close(ready[0]);
        assert_int_equal(vm_process_find(api, &pidfd), 0);
        (void) close(pidfd);
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
}

static void only_the_very_process_of_the_ledger_is_ours(void **state)
{
        scoped_free char *api = xasprintf("%s/api.sock", (char *) *state);
        pid_t pid = start_fake_vmm("--api-sock", api);
        struct vm_ledger ledger = { .pid = pid, .start_time = 1 };
        int pidfd = FD_NONE;

        assert_false(vm_process_is_ours(&ledger, api, &pidfd)); /* a recycled pid */
        ledger.pid = 1;
        assert_false(vm_process_is_ours(&ledger, api, &pidfd));
        ledger.pid = 0;
        assert_false(vm_process_is_ours(&ledger, api, &pidfd));
        end_fake_vmm(pid);
}

/* Nobody answers for the network: the rest goes all the same, all is told, and the ledger stays for the next cleaner. */
static void a_clean_goes_on_after_a_failure_and_keeps_the_ledger(void **state)
{
        struct vm_ledger ledger = { .phase = VM_PHASE_READY }, read;
        scoped_free char *runtime = xasprintf("%s/runtime", (char *) *state);
        scoped_free char *helper = xasprintf("%s/no-helper", (char *) *state);
        scoped_free char *gone = vm_path_gone(*state);
        const struct vm_spec spec = { .id = "0123456789abcdef",
                                      .name = "clean",
                                      .folder = *state,
                                      .runtime = runtime,
                                      .address = "172.16.0.9",
                                      .helper_socket = helper,
                                      .bridge = "br-fc",
                                      .bridge_ip = "172.16.0.1",
                                      .prefix = 24 };
        struct err err = { 0 };

        (void) snprintf(ledger.tap, sizeof(ledger.tap), "tap-fc-01234567");
        (void) snprintf(ledger.address, sizeof(ledger.address), "172.16.0.9");
        assert_int_equal(vm_ledger_write(*state, &ledger, &err), 0);
        assert_int_equal(file_make_folders(runtime, 0700, &err), 0);
        assert_true(vm_clean(&spec, &err) < 0);
        assert_non_null(strstr(err.message, helper));
        assert_true(file_is_missing(runtime));
        err = (struct err){ 0 };
        assert_int_equal(vm_ledger_read(*state, &read, &err), 0);
        assert_string_equal(read.tap, ledger.tap);

        assert_true(vm_retire(&spec, &err) < 0); /* what cannot be undone is not forgotten either */
        assert_true(file_is_missing(gone));
        assert_false(file_is_missing(*state));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(is_read_as_it_was_written, make_folder, remove_folder),
                cmocka_unit_test_setup_teardown(a_missing_one_means_that_nothing_exists, make_folder,
                                                remove_folder),
                cmocka_unit_test_setup_teardown(a_corrupt_one_is_said_to_be_so, make_folder, remove_folder),
                cmocka_unit_test_setup_teardown(a_vmm_is_found_by_its_socket_alone, make_folder,
                                                remove_folder),
                cmocka_unit_test_setup_teardown(a_vmm_that_is_not_dumpable_is_found_too, make_folder,
                                                remove_folder),
                cmocka_unit_test_setup_teardown(a_clean_goes_on_after_a_failure_and_keeps_the_ledger,
                                                make_folder, remove_folder),
                cmocka_unit_test_setup_teardown(only_the_very_process_of_the_ledger_is_ours, make_folder,
                                                remove_folder),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
