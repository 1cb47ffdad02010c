#include <errno.h>
#include <string.h>

#include "base/size.h"
#include "unit.h"

static void sizes_parse_as_people_write_them(void **state)
{
        static const struct {
                const char *text;
                int r;
                uint64_t bytes;
        } cases[] = {
                {"0",                        0,       0                   },
                { "1",                       0,       MIB                 },
                { "1024",                    0,       GIB                 },
                { "4G",                      0,       4 * GIB             },
                { "4g",                      0,       4 * GIB             },
                { "4GiB",                    0,       4 * GIB             },
                { "4gib",                    0,       4 * GIB             },
                { "512M",                    0,       512 * MIB           },
                { "512MiB",                  0,       512 * MIB           },
                { "4K",                      0,       4 * KIB             },
                { "4KiB",                    0,       4 * KIB             },
                { "1T",                      0,       1024 * GIB          },
                { "17592186044415",          0,       UINT64_MAX - MIB + 1},
                { "17592186044416",          -EINVAL, 0                   },
                { "99999999999999999999999", -EINVAL, 0                   },
                { "",                        -EINVAL, 0                   },
                { "G",                       -EINVAL, 0                   },
                { "-1G",                     -EINVAL, 0                   },
                { " 1G",                     -EINVAL, 0                   },
                { "1 G",                     -EINVAL, 0                   },
                { "1.5G",                    -EINVAL, 0                   },
                { "4GB",                     -EINVAL, 0                   },
        };

        (void) state;
        assert_int_equal(N_ELEMENTS(cases), 22);
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                uint64_t bytes = 0;

                assert_int_equal(size_parse(cases[i].text, &bytes), cases[i].r);
                assert_int_equal(bytes, cases[i].bytes);
        }
}

static void the_format_is_exact(void **state)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                {0,            "0"                   },
                { 1,           "1"                   },
                { 1023,        "1023"                },
                { KIB,         "1K"                  },
                { KIB + 1,     "1025"                },
                { 1536,        "1536"                },
                { MIB,         "1M"                  },
                { MIB + KIB,   "1025K"               },
                { GIB,         "1G"                  },
                { 3 * GIB / 2, "1536M"               },
                { UINT64_MAX,  "18446744073709551615"},
        };

        (void) state;
        assert_int_equal(N_ELEMENTS(cases), 11);
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                char text[SIZE_TEXT_MAX];

                size_format(cases[i].bytes, text);
                assert_string_equal(text, cases[i].text);
        }
}

static void formats_parse_back(void **state)
{
        static const uint64_t boundaries[] = { KIB, 1023 * KIB, MIB,          1023 * MIB,
                                               GIB, 1024 * GIB, 7 * GIB + MIB };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(boundaries); i++) {
                char text[SIZE_TEXT_MAX];
                uint64_t bytes = 0;

                size_format(boundaries[i], text);
                assert_int_equal(size_parse(text, &bytes), 0);
                assert_int_equal(bytes, boundaries[i]);
        }
}

static void people_get_one_decimal_and_a_space(void **state)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                {0,              "0 B"     },
                { 512,           "512 B"   },
                { 1023,          "1023 B"  },
                { KIB,           "1.0 KiB" },
                { MIB - 1,       "1.0 MiB" },
                { GIB * 12 / 10, "1.2 GiB" },
                { UINT64_MAX,    "16.0 EiB"},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                char text[SIZE_TEXT_MAX];

                size_human(cases[i].bytes, text);
                assert_string_equal(text, cases[i].text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sizes_parse_as_people_write_them),
                cmocka_unit_test(the_format_is_exact),
                cmocka_unit_test(formats_parse_back),
                cmocka_unit_test(people_get_one_decimal_and_a_space),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
