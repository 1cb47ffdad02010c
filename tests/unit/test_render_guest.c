#include <string.h>

#include "base/scoped.h"
#include "cli/render_guest.h"
#include "unit.h"

/* NOLINTBEGIN(misc-misleading-bidirectional): that is what is tested */
static const struct {
        const char *guest, *shown;
} cases[] = {
        {"plain\ttext\n",                              "plain\ttext\n"                            },
        { "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7"},
        { "a\x1b[31;1mred\x1b[0m",                     "ared"                                     },
        { "a\x1b]0;title\x07z",                        "az"                                       },
        { "a\x1b]52;c;AAAA\x1b\\z",                    "az"                                       }, /* the clipboard */
        { "a\x1bPq#0;2\x1b\\z",                        "az"                                       },
        { "a\x1b(Bz\x1b"
          "cz",                               "azz"                                      }, /* a charset; a reset */
        { "a\x1b]never closed\nz",                     "a\nz"                                     },
        { "a\xc2\x9b"
          "31mz",                             "az"                                       }, /* CSI as one control of C1 */
        { "a\xc2\x9dtitle\x07z",                       "az"                                       },
        { "a\x9b"
          "31mz",                             "a?31mz"                                   }, /* no UTF-8 */
        { "a\xe2\x80\xaez",                            "a?z"                                      }, /* right-to-left override */
        { "a\xc0\x9bz\xff",                            "a??z?"                                    }, /* overlong */
        { "a\xed\xa0\x80z",                            "a?z"                                      }, /* half of a surrogate pair */
        { "a\xe2\x82z",                                "a?z"                                      }, /* cut */
        { "one\r\ntwo\r\n",                            "one\ntwo\n"                               },
        { "good\rbad\n",                               "good\nbad\n"                              }, /* does not write over what was there */
        { "a\b\b\x7f\x07\x0c"
          "z",                                "az"                                       },
        { "\x1b[1\x1b[2Jz",                            "z"                                        },
        { "\x1b[12\nz",                                "\nz"                                      },
};

/* NOLINTEND(misc-misleading-bidirectional) */

static void nothing_of_a_guest_steers_a_terminal(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped_text struct text out = { 0 };
                struct guest_filter filter = { 0 };

                guest_filter_run(&filter, cases[i].guest, strlen(cases[i].guest), &out);
                assert_string_equal(out.s, cases[i].shown);
        }
}

static void it_does_not_matter_where_the_input_is_cut(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped_text struct text out = { 0 };
                struct guest_filter filter = { 0 };

                for (const char *c = cases[i].guest; *c != '\0'; c++)
                        guest_filter_run(&filter, c, 1, &out);
                assert_string_equal(out.s, cases[i].shown);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_of_a_guest_steers_a_terminal),
                cmocka_unit_test(it_does_not_matter_where_the_input_is_cut),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
