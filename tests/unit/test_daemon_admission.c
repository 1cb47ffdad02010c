#include <errno.h>
#include <string.h>

#include "base/size.h"
#include "daemon/daemon_admission.h"
#include "unit.h"

static void memory_that_is_promised_is_not_given_twice(void **state)
{
        static const struct {
                uint64_t available, promised, wanted;
                int r;
        } cases[] = {
                {4096,  0,    4096, 0      },
                { 4096, 0,    4097, -ENOMEM},
                { 4096, 3072, 1024, 0      },
                { 4096, 3072, 1025, -ENOMEM},
                { 4096, 8192, 1,    -ENOMEM}, /* forced before: no underflow */
        };

        (void) state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const struct admission_memory host = { cases[i].available, cases[i].promised, 3 };
                struct err err = { 0 };

                assert_int_equal(admission_check_memory(&host, "web", cases[i].wanted, &err), cases[i].r);
        }
}

static void a_refusal_has_the_numbers_and_the_way_out(void **state)
{
        const struct admission_memory host = { 4096, 3072, 3 };
        static const char *const memory[] = { "'web'", "2048 MiB",    "1024 MiB left", "4096 available",
                                              "3072",  "3 other vms", "--memory",      "--force" };
        static const char *const disk[] = { "8.0 GiB", "1.0 GiB free", "'/state'", "--disk-size", "--force" };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(admission_check_memory(&host, "web", 2048, &err), -ENOMEM);
        for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
                if (!strstr(err.message, memory[i]))
                        fail_msg("'%s' is not in: %s", memory[i], err.message);
        err = (struct err){ 0 };
        assert_int_equal(admission_check_disk(1 * GIB, 8 * GIB, "/state", &err), -ENOSPC);
        for (size_t i = 0; i < sizeof(disk) / sizeof(disk[0]); i++)
                if (!strstr(err.message, disk[i]))
                        fail_msg("'%s' is not in: %s", disk[i], err.message);
        assert_int_equal(admission_check_disk(8 * GIB, 8 * GIB, "/state", &err), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(memory_that_is_promised_is_not_given_twice),
                cmocka_unit_test(a_refusal_has_the_numbers_and_the_way_out),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
