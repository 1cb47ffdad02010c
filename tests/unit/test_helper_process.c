#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "privileged/helper/helper_process.h"
#include "unit.h"

static void the_api_socket_is_found_in_three_spellings(void **state)
{
        static const struct {
                const char *cmdline;
                size_t n;
                const char *socket;
        } cases[] = {
                {"fc\0--api-sock\0/run/a\0",     sizeof("fc\0--api-sock\0/run/a"),    "/run/a"},
                { "fc\0--api-sock=/run/a\0",     sizeof("fc\0--api-sock=/run/a"),     "/run/a"},
                { "fc\0-a\0/run/a\0",            sizeof("fc\0-a\0/run/a"),            "/run/a"},
                { "fc\0--id\0x\0-a\0/run/a\0",   sizeof("fc\0--id\0x\0-a\0/run/a"),   "/run/a"},
                { "fc\0--api-sock\0",            sizeof("fc\0--api-sock"),            NULL    },
                { "fc\0-a\0",                    sizeof("fc\0-a"),                    NULL    },
                { "fc\0--api-sockets\0/run/a\0", sizeof("fc\0--api-sockets\0/run/a"), NULL    },
                { "fc\0-ab\0/run/a\0",           sizeof("fc\0-ab\0/run/a"),           NULL    },
                { "fc --api-sock /run/a\0",      sizeof("fc --api-sock /run/a"),      NULL    },
                { "",                            0,                                   NULL    },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                const char *socket = process_api_socket(cases[i].cmdline, cases[i].n);

                if (cases[i].socket)
                        assert_string_equal(socket, cases[i].socket);
                else
                        assert_null(socket);
        }
}

static void a_path_is_under_its_root_or_not(void **state)
{
        static const struct {
                const char *path;
                bool is_under;
        } cases[] = {
                {"/run/banger/fc.sock",     true },
                { "/run/banger/a/b",        true },
                { "/run/banger/..a",        true },
                { "/run/banger",            false},
                { "/run/banger/",           false},
                { "/run/bangerx/fc.sock",   false},
                { "/run/banger/../etc/x",   false},
                { "/run/banger/a/..",       false},
                { "/run/other/../banger/x", false},
                { "run/banger/x",           false},
                { "",                       false},
                { "/",                      false},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                if (process_path_is_under(cases[i].path, "/run/banger") != cases[i].is_under)
                        fail_msg("'%s'", cases[i].path);
}

static void a_cgroup_is_ours_by_a_whole_part_of_its_path(void **state)
{
        static const struct {
                const char *text;
                bool is_ours;
        } cases[] = {
                {"0::/system.slice/bangerd-root.service\n",          true },
                { "0::/system.slice/bangerd-root.service/vm\n",      true },
                { "1:name=systemd:/x\n0::/a/bangerd-root.service\n", true },
                { "0::/bangerd-root.service",                        true },
                { "0::/system.slice/bangerd-root.service.d\n",       false},
                { "0::/system.slice/xbangerd-root.service\n",        false},
                { "0::/system.slice/bangerd-root.services\n",        false},
                { "0::/system.slice/bangerd.service\n",              false},
                { "0::/\n",                                          false},
                { "",                                                false},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                if (process_cgroup_is_ours(cases[i].text) != cases[i].is_ours)
                        fail_msg("'%s'", cases[i].text);
}

static void ordinary_processes_are_refused(void **state)
{
        const struct process_rules rules = { .owner_uid = getuid(), .runtime_dir = "/run/banger" };
        const pid_t pids[] = { 1, getpid(), getppid() };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(pids); i++) {
                scoped_close int pidfd = FD_NONE;
                struct err err = { 0 };

                assert_int_equal(process_open_vmm(pids[i], &rules, &pidfd, &err), -EPERM);
                assert_int_equal(pidfd, FD_NONE);
        }
}

static void a_process_that_is_gone_is_not_found(void **state)
{
        const struct process_rules rules = { .owner_uid = getuid(), .runtime_dir = "/run/banger" };
        struct err err = { 0 };
        int pidfd = FD_NONE;

        (void) state;
        assert_int_equal(process_open_vmm((1 << 22) - 1, &rules, &pidfd, &err), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_api_socket_is_found_in_three_spellings),
                cmocka_unit_test(a_path_is_under_its_root_or_not),
                cmocka_unit_test(a_cgroup_is_ours_by_a_whole_part_of_its_path),
                cmocka_unit_test(ordinary_processes_are_refused),
                cmocka_unit_test(a_process_that_is_gone_is_not_found),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
