/* What a .dockerignore leaves out. */
#include <errno.h>

#include "base/scoped.h"
#include "cli/cli_ignore.h"
#include "unit.h"

struct row {
        const char *text, *path;
        bool is_out;
};

/* Those of docs.docker.com/build/concepts/context, and of moby/patternmatcher's own test. */
static const struct row rows[] = {
        {"temp",                                 "temp",                  true },
        { "temp",                                "temp/a",                true },
        { "temp",                                "temper",                false},
        { "temp",                                "a/temp",                false},
        { "*/temp*",                             "somedir/temporary.txt", true },
        { "*/temp*",                             "somedir/temp/x",        true },
        { "*/temp*",                             "a/b/temp",              false},
        { "temp?",                               "tempa",                 true },
        { "temp?",                               "temp/",                 false},
        { "**/*.go",                             "a.go",                  true },
        { "**/*.go",                             "a/b/c.go",              true },
        { "**",                                  "a/b",                   true },
        { "a/**",                                "a/b/c",                 true },
        { "a/**",                                "a",                     false},
        { "a**/b",                               "a/x/b",                 true },
        { "/a/",                                 "a",                     true },
        { "./a//b/../c",                         "a/c",                   true },
        { "*.md\n!README.md",                    "README.md",             false},
        { "*.md\n!README.md",                    "NEWS.md",               true },
        { "*.md\n!README*.md\nREADME-secret.md", "README-secret.md",      true },
        { "a\n!a/b",                             "a/b/c",                 false},
        { "a\n!a/b",                             "a/c",                   true },
        { "!a\na",                               "a",                     true },
        { "# a\n  \n\r\n",                       "a",                     false},
        { "  a \r\n",                            "a",                     true },
        { "\xef\xbb\xbf"
          "a",                          "a",                     true },
        { "a.b",                                 "axb",                   false},
        { "a+(b)|{c}^$",                         "a+(b)|{c}^$",           true },
        { "[ab]c",                               "bc",                    true },
        { "[^ab]c",                              "bc",                    false},
        { "\\*a",                                "*a",                    true },
        { "\\*a",                                "ba",                    false},
        { "\\a",                                 "a",                     true },
        { ".",                                   "a",                     false},
        { "..",                                  "a",                     false},
        { "!",                                   "a",                     false},
        { "",                                    "a",                     false},
};

static void paths_are_left_out_as_docker_does(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                scoped(cli_ignore_done) struct cli_ignore ignore = { 0 };
                struct err err = { 0 };

                assert_int_equal(cli_ignore_parse(rows[i].text, &ignore, &err), 0);
                if (cli_ignore_leaves_out(&ignore, rows[i].path) != rows[i].is_out)
                        fail_msg("'%s' and '%s'", rows[i].text, rows[i].path);
        }
}

static void what_is_no_pattern_is_named(void **state)
{
        scoped(cli_ignore_done) struct cli_ignore ignore = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(cli_ignore_parse("fine\n[a-\n", &ignore, &err), -EINVAL);
        assert_string_equal(err.message, "'[a-' is no pattern for paths");
        assert_int_equal(ignore.n, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(paths_are_left_out_as_docker_does),
                cmocka_unit_test(what_is_no_pattern_is_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
