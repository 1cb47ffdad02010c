#include "base/clock.h"
#include "base/scoped.h"
#include "unit.h"

static void durations_are_read_to_the_millisecond(void **state)
{
        static const struct {
                const char *text;
                uint64_t ms;
        } good[] = {
                {"0",       0            },
                { "500ms",  500          },
                { "90s",    90000        },
                { "10m",    600000       },
                { "1h30m",  5400000      },
                { "2d",     172800000    },
                { "36500d", 3153600000000},
        };
        uint64_t ms;

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(good); i++) {
                assert_int_equal(clock_parse_duration(good[i].text, &ms), 0);
                assert_int_equal(ms, good[i].ms);
        }
}

static void what_is_no_duration_is_refused(void **state)
{
        static const char *const bad[] = {
                "",
                "10",
                "s",
                "1 h",
                "-1s",
                "1.5h",
                "1h30",
                "1x",
                "1hm",
                "36525d1h",
                "99999999999999999999s",
                "1s ",
        };
        uint64_t ms;

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(bad); i++)
                if (clock_parse_duration(bad[i], &ms) == 0)
                        fail_msg("'%s' was taken for a duration", bad[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(durations_are_read_to_the_millisecond),
                cmocka_unit_test(what_is_no_duration_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
