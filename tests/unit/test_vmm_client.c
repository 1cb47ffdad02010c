#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "unit.h"
#include "vmm/client/vmm_client.h"
#include "vmm/client/vmm_http.h"
#include "vmm/client/vmm_process.h"

#define LAUNCH_MS 20000
#define KILL_MS   5000

struct fixture {
        char folder[512]; /* its sockets do not fit into sun_path */
        char root[32];
        char api[600], vsock[600], log[600], console[600], said[620];
        struct vmm vmm;
        struct vmm_drive drives[2];
        struct vmm_machine machine;
        struct vmm_process process;
        struct err err;
};

static int setup(void **state)
{
        struct fixture *f = xcalloc(1, sizeof(*f));

        (void) strncpy(f->root, "/tmp/test-vmm-XXXXXX", sizeof(f->root) - 1);
        if (!mkdtemp(f->root))
                return -1;
        (void) snprintf(f->folder, sizeof(f->folder), "%s/%0150d", f->root, 0);
        if (mkdir(f->folder, 0700) < 0)
                return -1;
        (void) snprintf(f->api, sizeof(f->api), "%s/api.sock", f->folder);
        (void) snprintf(f->vsock, sizeof(f->vsock), "%s/vsock.sock", f->folder);
        (void) snprintf(f->log, sizeof(f->log), "%s/vmm.log", f->folder);
        (void) snprintf(f->console, sizeof(f->console), "%s/console.log", f->folder);
        (void) snprintf(f->said, sizeof(f->said), "%s.said", f->api);
        f->vmm = (struct vmm){ .kind = VMM_QEMU,
                               .path = xstrdup(UNIT_FOLDER "/fake_vmm.py"),
                               .version = "dev" };
        f->drives[0] = (struct vmm_drive){ .id = "rootfs", .path = "/d/root.img", .is_root = true };
        f->drives[1] = (struct vmm_drive){ .id = "work", .path = "/d/root.ext4" };
        f->machine = (struct vmm_machine){
                .id = "good",
                .vcpu = 2,
                .memory_mib = 1024,
                .kernel_path = "/k/vmlinux",
                .initrd_path = "/k/initrd",
                .boot_args = "console=ttyS0 x=\"y\"",
                .drives = f->drives,
                .n_drives = 2,
                .tap_fd = FD_NONE,
                .mac = "06:00:ac:10:00:02",
                .guest_cid = 3,
                .vsock_path = f->vsock,
                .api_path = f->api,
                .log_path = f->log,
                .console_path = f->console,
        };
        f->process.pidfd = FD_NONE;
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        struct err err = { 0 };
        int r;

        if (f->process.pidfd >= 0) {
                (void) vmm_process_kill(f->process.pidfd, KILL_MS, &err);
                (void) close(f->process.pidfd);
        }
        vmm_done(&f->vmm);
        r = file_remove_tree(f->root, &err);
        free(f);
        return r;
}

static void launch(struct fixture *f)
{
        if (vmm_launch(&f->vmm, &f->machine, LAUNCH_MS, &f->process, &f->err) < 0)
                fail_msg("%s", f->err.message);
}

static void file_says(const char *path, const char *expected)
{
        scoped_free char *text = NULL;
        struct err err = { 0 };

        if (file_read(path, 65536, &text, NULL, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(text, expected);
}

static void configuration_is_said_exactly_and_in_order(void **state)
{
        struct fixture *f = *state;
        scoped_close int tap = open("/dev/null", O_RDWR | O_CLOEXEC);
        scoped_free char *expected = NULL;
        char id[65], vm_state[16];

        f->machine.tap = "tap-fc-1";
        f->machine.tap_fd = tap;
        launch(f);
        assert_int_equal(vmm_configure(&f->vmm, &f->machine, &f->err), 0);
        assert_int_equal(vmm_ask(f->api, id, vm_state, &f->err), 0);
        assert_string_equal(id, "good");
        assert_string_equal(vm_state, "Not started");
        assert_int_equal(vmm_start(f->api, &f->err), 0);
        assert_int_equal(vmm_ask(f->api, id, vm_state, &f->err), 0);
        assert_string_equal(vm_state, "Running");
        assert_int_equal(vmm_pause(f->api, &f->err), 0);
        assert_int_equal(vmm_resume(f->api, &f->err), 0);
        expected = xasprintf(
                "tap tap-fc-1 /dev/null\n"
                "PUT /machine-config {\"vcpu_count\":2,\"mem_size_mib\":1024}\n"
                "PUT /boot-source {\"kernel_image_path\":\"/k/vmlinux\",\"initrd_path\":\"/k/initrd\","
                "\"boot_args\":\"console=ttyS0 x=\\\"y\\\"\"}\n"
                "PUT /drives/rootfs "
                "{\"drive_id\":\"rootfs\",\"path_on_host\":\"/d/root.img\",\"is_root_device\":true,"
                "\"is_read_only\":false,\"cache_type\":\"Unsafe\"}\n"
                "PUT /drives/work "
                "{\"drive_id\":\"work\",\"path_on_host\":\"/d/root.ext4\",\"is_root_device\":false,"
                "\"is_read_only\":false,\"cache_type\":\"Writeback\"}\n"
                "PUT /network-interfaces/eth0 {\"iface_id\":\"eth0\",\"host_dev_name\":\"tap-fc-1\","
                "\"guest_mac\":\"06:00:ac:10:00:02\"}\n"
                "PUT /vsock {\"guest_cid\":3,\"uds_path\":\"%s\"}\n"
                "PUT /entropy {}\n"
                "PUT /serial {\"serial_out_path\":\"%s\"}\n"
                "GET /\n"
                "PUT /actions {\"action_type\":\"InstanceStart\"}\n"
                "GET /\n"
                "PATCH /vm {\"state\":\"Paused\"}\n"
                "PATCH /vm {\"state\":\"Resumed\"}\n",
                f->vsock, f->console);
        file_says(f->said, expected);
}

static void what_a_machine_has_not_is_not_said(void **state)
{
        struct fixture *f = *state;

        f->vmm.kind = VMM_FIRECRACKER;
        (void) snprintf(f->vmm.version, sizeof(f->vmm.version), "1.13.9"); /* before PUT /serial */
        f->machine.initrd_path = NULL;
        f->machine.n_drives = 0;
        f->machine.vsock_path = NULL;
        /* Firecracker cannot bind a long path: a short one for it */
        (void) snprintf(f->api, sizeof(f->api), "%s/api.sock", f->root);
        (void) snprintf(f->said, sizeof(f->said), "%s.said", f->api);
        launch(f);
        assert_int_equal(vmm_configure(&f->vmm, &f->machine, &f->err), 0);
        file_says(f->said, "PUT /machine-config {\"vcpu_count\":2,\"mem_size_mib\":1024}\n"
                           "PUT /boot-source {\"kernel_image_path\":\"/k/vmlinux\","
                           "\"boot_args\":\"console=ttyS0 x=\\\"y\\\"\"}\n"
                           "PUT /entropy {}\n");
        file_says(f->console, "to standard output\n");
}

static void long_bodies_pass_an_interim_answer(void **state)
{
        struct fixture *f = *state;
        char args[1501];

        (void) memset(args, 'a', sizeof(args) - 1);
        args[sizeof(args) - 1] = '\0';
        f->machine.boot_args = args;
        launch(f);
        if (vmm_configure(&f->vmm, &f->machine, &f->err) < 0)
                fail_msg("%s", f->err.message);
}

static void a_refusal_is_told_in_the_words_of_the_vmm(void **state)
{
        struct fixture *f = *state;

        f->machine.id = "refuse";
        launch(f);
        assert_int_equal(vmm_configure(&f->vmm, &f->machine, &f->err), -EIO);
        assert_string_equal(f->err.message,
                            "the VMM refuses PUT /boot-source (400): Boot source error: The kernel file "
                            "cannot be opened");
}

static void launching_appends_logs_and_replaces_stale_sockets(void **state)
{
        struct fixture *f = *state;
        struct stat st;

        assert_int_equal(file_replace(f->log, "before\n", 7, 0600, &f->err), 0);
        assert_int_equal(file_replace(f->api, "", 0, 0600, &f->err), 0);
        assert_int_equal(file_replace(f->vsock, "", 0, 0600, &f->err), 0);
        launch(f);
        file_says(f->log, "before\nto standard output\n");
        assert_int_equal(stat(f->api, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 0077, 0);
        assert_int_equal(access(f->vsock, F_OK), -1);
        assert_int_equal(getsid(f->process.pid), f->process.pid);
}

static void a_vmm_that_dies_or_hangs_leaves_nothing(void **state)
{
        static const struct {
                const char *id;
                uint64_t timeout_ms;
                int code;
                const char *said;
        } cases[] = {
                {"dies",    LAUNCH_MS, -EIO,       "ended while it started: no memory for this guest"},
                { "silent", 300,       -ETIMEDOUT, "within 300 ms"                                   },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct vmm_process process = { .pidfd = FD_NONE };

                f->err = (struct err){ 0 };
                f->machine.id = cases[i].id;
                assert_int_equal(vmm_launch(&f->vmm, &f->machine, cases[i].timeout_ms, &process, &f->err),
                                 cases[i].code);
                assert_non_null(strstr(f->err.message, cases[i].said));
                assert_int_equal(access(f->api, F_OK), -1);
                assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
                assert_int_equal(errno, ECHILD);
        }
}

static void a_program_that_is_not_there_is_named(void **state)
{
        struct fixture *f = *state;

        free(f->vmm.path);
        f->vmm.path = xstrdup("/nonexistent/vmm");
        assert_int_equal(vmm_launch(&f->vmm, &f->machine, LAUNCH_MS, &f->process, &f->err), -ENOENT);
        assert_non_null(strstr(f->err.message, "/nonexistent/vmm"));
}

static void sockets_too_long_for_firecracker_are_told_before_it_runs(void **state)
{
        struct fixture *f = *state;

        f->vmm.kind = VMM_FIRECRACKER;
        assert_int_equal(vmm_launch(&f->vmm, &f->machine, LAUNCH_MS, &f->process, &f->err), -ENAMETOOLONG);
        assert_int_equal(access(f->log, F_OK), -1);
}

static void nobody_listening_is_told(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(vmm_start(f->api, &f->err), -ECONNREFUSED);
        assert_non_null(strstr(f->err.message, "no VMM answers at"));
}

static pid_t sleeper(void)
{
        pid_t pid = fork();

        if (pid == 0) {
                (void) pause();
                _exit(0);
        }
        return pid;
}

static void a_recycled_pid_is_not_the_process_recorded(void **state)
{
        struct fixture *f = *state;
        scoped_close int pidfd = FD_NONE;
        uint64_t start = 0;
        pid_t pid = sleeper();

        assert_int_equal(vmm_process_start_time(pid, &start), 0);
        assert_true(start > 0);
        assert_false(vmm_process_is_alive(pid, start + 1, &pidfd));
        assert_false(vmm_process_is_alive(pid, start - 1, &pidfd));
        assert_int_equal(pidfd, FD_NONE);
        assert_false(vmm_process_is_alive(0, start, NULL));
        assert_false(vmm_process_is_alive(-1, start, NULL));
        assert_true(vmm_process_is_alive(pid, start, &pidfd));

        assert_int_equal(vmm_process_kill(pidfd, KILL_MS, &f->err), 0);
        assert_false(vmm_process_is_alive(pid, start, NULL));
        assert_int_equal(vmm_process_kill(pidfd, KILL_MS, &f->err), 0);
        assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
}

static void a_process_not_yet_reaped_is_not_alive(void **state)
{
        uint64_t start = 0;
        pid_t pid = sleeper();
        siginfo_t info;

        (void) state;
        assert_int_equal(vmm_process_start_time(pid, &start), 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT), 0);
        assert_false(vmm_process_is_alive(pid, start, NULL));
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void faults_are_found_in_whatever_the_body_is(void **state)
{
        static const struct {
                const char *body, *fault;
        } cases[] = {
                {"{\"fault_message\":\"Drive config error: x\"}",                                       "Drive config error: x"    },
                { "{ \"error\": \"Too many open connections\" }",                                       "Too many open connections"},
                { "{ \"error\": \"Bad \"URI\".\nAll previous unanswered requests will be dropped.\" }",
                 "Bad \"URI\". All previous unanswered requests will be dropped."                                                  },
                { "plain \x1b[31mtext\n",                                                               "plain  [31mtext"          },
                { "{\"fault_message\":\"\"}",                                                           ""                         },
                { "{\"error\"",                                                                         "{\"error\""               },
                { "{\"error\": 5}",                                                                     "{\"error\": 5}"           },
                { "",                                                                                   "it gives no reason"       },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped_free char *fault = vmm_http_fault(cases[i].body, strlen(cases[i].body));

                assert_string_equal(fault, cases[i].fault);
        }
}

static void heads_are_read_with_their_limits(void **state)
{
        static const struct {
                const char *head;
                int result;
                struct vmm_http_head expected;
        } cases[] = {
                {"HTTP/1.1 204 \r\n\r\n",                                              1,        { 204, 17, 0, false }     },
                { "HTTP/1.1 100 \r\n\r\nHTTP",                                         1,        { 100, 17, 0, false }     },
                { "HTTP/1.1 400 \r\ncontent-length:  12 \r\n\r\n",                     1,        { 400, 39, 12, false }    },
                { "HTTP/1.0 200 OK\r\nConnection: Close\r\n\r\n",                      1,        { 200, 38, 0, true }      },
                { "HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n",                 1,        { 200, 43, 262144, false }},
                { "HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n",                 -EBADMSG, { 0 }                     },
                { "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",                     -EBADMSG, { 0 }                     },
                { "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",                        -EBADMSG, { 0 }                     },
                { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", -EBADMSG, { 0 }                     },
                { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",             -EBADMSG, { 0 }                     },
                { "HTTP/2 200\r\n\r\n",                                                -EBADMSG, { 0 }                     },
                { "HTTP/1.1 20\r\n\r\n",                                               -EBADMSG, { 0 }                     },
                { "HTTP/1.1 2000\r\n\r\n",                                             -EBADMSG, { 0 }                     },
                { "\r\n\r\n",                                                          -EBADMSG, { 0 }                     },
                { "HTTP/1.1 204 \r\n\r",                                               0,        { 0 }                     },
                { "",                                                                  0,        { 0 }                     },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct vmm_http_head head = { 0 };

                assert_int_equal(vmm_http_head_parse(cases[i].head, strlen(cases[i].head), &head),
                                 cases[i].result);
                assert_int_equal(head.status, cases[i].expected.status);
                assert_int_equal(head.head_n, cases[i].expected.head_n);
                assert_int_equal(head.body_n, cases[i].expected.body_n);
                assert_int_equal(head.closes, cases[i].expected.closes);
        }
}

static void a_head_without_end_is_given_up(void **state)
{
        static char endless[VMM_HTTP_HEAD_MAX + 1];
        struct vmm_http_head head;

        (void) state;
        (void) memset(endless, 'x', sizeof(endless));
        assert_int_equal(vmm_http_head_parse(endless, VMM_HTTP_HEAD_MAX, &head), 0);
        assert_int_equal(vmm_http_head_parse(endless, sizeof(endless), &head), -EBADMSG);
}

static void versions_are_read_from_the_line_that_has_them(void **state)
{
        static const struct {
                const char *output;
                int code;
                struct vmm_version version;
        } cases[] = {
                {"Firecracker v1.14.1\n\n",                                                         0,        { 1, 14, 1 }},
                { "Firecracker v1.5.0\nSupported snapshot data format versions: v0.23.0, v1.0.0\n",
                 0,                                                                                           { 1, 5, 0 } },
                { "2026-01-01T00:00:00 [anonymous-instance:main] hello\nFirecracker v1.16.1\n"
                  "2026-01-01T00:00:00 [anonymous-instance:main] Firecracker exiting successfully. "
                  "exit_code=0\n",                                                 0,
                 { 1, 16, 1 }                                                                                             },
                { "Firecracker v1.17.0-dev\n",                                                      0,        { 1, 17, 0 }},
                { "Firecracker v1.15.0-rc1",                                                        0,        { 1, 15, 0 }},
                { "Firecracker v1.14\n",                                                            -EBADMSG, { 0 }       },
                { "Firecracker v1.14.x\n",                                                          -EBADMSG, { 0 }       },
                { "Firecracker v1.14.1x\n",                                                         -EBADMSG, { 0 }       },
                { "Firecracker v1..1\n",                                                            -EBADMSG, { 0 }       },
                { "Firecracker v-1.2.3\n",                                                          -EBADMSG, { 0 }       },
                { "Firecracker v99999999999999999999.0.0\n",                                        -EBADMSG, { 0 }       },
                { "not Firecracker v1.14.1\n",                                                      -EBADMSG, { 0 }       },
                { "Firecracker exiting successfully\n",                                             -EBADMSG, { 0 }       },
                { "",                                                                               -EBADMSG, { 0 }       },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct vmm_version version = { 0 };
                struct err err = { 0 };

                assert_int_equal(vmm_version_parse(cases[i].output, &version, &err), cases[i].code);
                assert_int_equal(vmm_version_compare(&version, &cases[i].version), 0);
        }
}

static void versions_compare_by_each_number(void **state)
{
        static const struct vmm_version ascending[] = {
                {0,  99, 99},
                { 1, 0,  0 },
                { 1, 4,  9 },
                { 1, 5,  0 },
                { 1, 5,  1 },
                { 1, 14, 0 },
                { 2, 0,  0 },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(ascending); i++)
                for (size_t j = 0; j < N_ELEMENTS(ascending); j++)
                        assert_int_equal(vmm_version_compare(&ascending[i], &ascending[j]),
                                         (i > j) - (i < j));
}

static void support_has_its_limits_on_both_sides(void **state)
{
        static const struct {
                struct vmm_version version;
                enum vmm_support support;
        } cases[] = {
                {{ 1, 4, 9 },   VMM_SUPPORT_TOO_OLD },
                { { 1, 5, 0 },  VMM_SUPPORT_TESTED  },
                { { 1, 14, 1 }, VMM_SUPPORT_TESTED  },
                { { 1, 14, 2 }, VMM_SUPPORT_PROMISED},
                { { 1, 16, 1 }, VMM_SUPPORT_PROMISED},
                { { 1, 16, 2 }, VMM_SUPPORT_UNKNOWN },
                { { 2, 0, 0 },  VMM_SUPPORT_UNKNOWN },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                assert_int_equal(vmm_version_support(&cases[i].version), cases[i].support);
}

static int run_fake(const char *const *argv, char **ret_output, struct err *err)
{
        if (strcmp(argv[0], "/fake/firecracker") != 0 || strcmp(argv[1], "--version") != 0 || argv[2])
                return err_set(err, ENOENT, "test", "unexpected command");
        *ret_output = xstrdup("Firecracker v1.7.0\n");
        return 0;
}

static void the_query_runs_what_it_is_given(void **state)
{
        const struct vmm_runner fake = { run_fake };
        struct vmm_version version;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(vmm_version_query(&fake, "/fake/firecracker", &version, &err), 0);
        assert_int_equal(version.minor, 7);
        assert_int_equal(vmm_version_query(&fake, "/other", &version, &err), -ENOENT);
        err = (struct err){ 0 };
        assert_int_equal(vmm_version_query(&vmm_runner_real, "/bin/true", &version, &err), -EBADMSG);
        assert_true(text_starts_with(err.message, "'/bin/true': "));
}

static void choices_have_names(void **state)
{
        enum vmm_choice choice;

        (void) state;
        assert_int_equal(vmm_choice_from_name("qemu", &choice), 0);
        assert_int_equal(choice, VMM_CHOICE_QEMU);
        assert_int_equal(vmm_choice_from_name("QEMU", &choice), -EINVAL);
        assert_int_equal(vmm_choice_from_name("", &choice), -EINVAL);
}

static void what_is_chosen_must_be_there(void **state)
{
        const struct vmm_search missing = { VMM_CHOICE_QEMU, NULL, "/nonexistent/banger-qemu" };
        const struct vmm_search present = { VMM_CHOICE_QEMU, NULL, "/bin/true" };
        struct vmm vmm = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(vmm_find(&missing, &vmm, &err), -ENOENT);
        assert_int_equal(vmm_find(&present, &vmm, &err), 0);
        assert_int_equal(vmm.kind, VMM_QEMU);
        assert_string_equal(vmm.path, "/bin/true");
        vmm_done(&vmm);
}

#define VMM_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                VMM_TEST(configuration_is_said_exactly_and_in_order),
                VMM_TEST(what_a_machine_has_not_is_not_said),
                VMM_TEST(long_bodies_pass_an_interim_answer),
                VMM_TEST(a_refusal_is_told_in_the_words_of_the_vmm),
                VMM_TEST(launching_appends_logs_and_replaces_stale_sockets),
                VMM_TEST(a_vmm_that_dies_or_hangs_leaves_nothing),
                VMM_TEST(a_program_that_is_not_there_is_named),
                VMM_TEST(sockets_too_long_for_firecracker_are_told_before_it_runs),
                VMM_TEST(nobody_listening_is_told),
                VMM_TEST(a_recycled_pid_is_not_the_process_recorded),
                cmocka_unit_test(a_process_not_yet_reaped_is_not_alive),
                cmocka_unit_test(faults_are_found_in_whatever_the_body_is),
                cmocka_unit_test(heads_are_read_with_their_limits),
                cmocka_unit_test(a_head_without_end_is_given_up),
                cmocka_unit_test(versions_are_read_from_the_line_that_has_them),
                cmocka_unit_test(versions_compare_by_each_number),
                cmocka_unit_test(support_has_its_limits_on_both_sides),
                cmocka_unit_test(the_query_runs_what_it_is_given),
                cmocka_unit_test(choices_have_names),
                cmocka_unit_test(what_is_chosen_must_be_there),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
