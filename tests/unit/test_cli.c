#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli_command.h"
#include "cli/cli_help.h"
#include "cli/cli_parse.h"
#include "cli/cli_suggest.h"
#include "cli/render_error.h"
#include "cli/render_progress.h"
#include "cli/render_style.h"
#include "cli/render_table.h"
#include "unit.h"

static const struct cli_command *command_of(const char *words)
{
        for (const struct cli_command *c = cli_commands; c->words; c++)
                if (strcmp(c->words, words) == 0)
                        return c;
        return NULL;
}

static void the_commands_and_their_order_are_pinned(void **state)
{
        static const char *const top[] = { "vm", "ps",     "operations", "image",   "registry",  "kernel",
                                           "df", "daemon", "doctor",     "version", "completion" };
        static const char *const vm[] = { "run",    "create",       "start",   "stop", "restart", "kill",
                                          "delete", "set",          "prune",   "list", "show",    "exec",
                                          "cp",     "port-forward", "session", "ssh",  "pause",   "resume",
                                          "stats",  "top",          "ports",   "ping", "health",  "logs" };
        const struct cli_command *c = NULL;

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(top); i++) {
                c = command_next(NULL, c);
                assert_non_null(c);
                assert_string_equal(command_word(c), top[i]);
        }
        assert_null(command_next(NULL, c));
        c = NULL;
        for (size_t i = 0; i < N_ELEMENTS(vm); i++) {
                c = command_next(command_of("vm"), c);
                assert_non_null(c);
                assert_string_equal(command_word(c), vm[i]);
        }
        assert_null(command_next(command_of("vm"), c));
}

/* Whatever the compiler cannot see in a row. */
static void every_row_is_whole(void **state)
{
        (void) state;
        for (const struct cli_command *c = cli_commands; c->words; c++) {
                const struct rpc_field *field;
                bool is_param;

                assert_non_null(c->doc);
                assert_true(c->doc[strlen(c->doc) - 1] != '.');
                assert_non_null(c->examples);
                assert_true(strncmp(c->examples, "banger ", 7) == 0 || strstr(c->examples, "banger "));
                for (size_t i = 0; (field = command_option_at(c, i, &is_param)); i++) {
                        scoped_free char *name = option_name(field);

                        assert_non_null(field->doc);
                        assert_ptr_equal(command_option(c, name, &is_param), field); /* no name twice */
                }
        }
}

static const struct {
        const char *words[4];
        const char *says;
} wrong_commands[] = {
        {{ "vm", "rnu" },         "did you mean 'banger vm run'" },
        { { "vn" },               "did you mean 'banger vm'"     },
        { { "imgae" },            "did you mean 'banger image'"  },
        { { "vm", "frobnicate" }, "'banger vm --help' lists them"},
        { { "frobnicate" },       "'banger --help' lists them"   },
        { { "update" },           "no command 'update'"          },
};

static void a_mistyped_command_is_answered_with_the_nearest(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(wrong_commands); i++) {
                const struct cli_command *command;
                struct err err = { 0 };
                size_t n;

                assert_int_equal(
                        command_find((char *const *) (uintptr_t) wrong_commands[i].words, &command, &n, &err),
                        -EINVAL);
                if (!strstr(err.message, wrong_commands[i].says))
                        fail_msg("'%s' does not say '%s'", err.message, wrong_commands[i].says);
        }
}

static void an_alias_finds_its_command(void **state)
{
        static const char *const words[] = { "vm", "rm", "x", NULL };
        const struct cli_command *command;
        struct err err = { 0 };
        size_t n;

        (void) state;
        assert_int_equal(command_find((char *const *) (uintptr_t) words, &command, &n, &err), 0);
        assert_string_equal(command->words, "vm delete");
        assert_int_equal(n, 2);
}

#define WORDS_MAX 10

static const struct {
        const char *command;
        const char *words[WORDS_MAX];
        const char *params, *options; /* compact, sorted JSON */
        size_t n_operands;
        const char *guest_command; /* first word */
} good_lines[] = {
        {"vm run",         { "--", "uname", "-a" },               "{}",                                 "{}",                                         0, "uname"},
        { "vm run",        { "repo", "--rm", "--", "--", "x" },   "{}",                                 "{\"rm\":true}",                              1, "--"   },
        { "vm run",        { "-d", "--name", "web", "." },        "{\"name\":\"web\"}",                 "{\"detach\":true}",                          1, NULL   },
        { "vm run",        { "--memory=2G", "--vcpu", "4" },      "{\"memory\":2048,\"vcpu\":4}",       "{}",                                         0, NULL   },
        { "vm run",        { "--disk-size", "8GiB" },             "{\"disk_size\":8589934592}",         "{}",                                         0, NULL   },
        { "vm run",        { "--memory", "1024" },                "{\"memory\":1024}",                  "{}",                                         0, NULL   },
        { "vm run",
         { "--branch", "x", "--from=HEAD~1", "r" },
         "{}",                                                                                          "{\"branch\":\"x\",\"from\":\"HEAD~1\"}",
         1,                                                                                                                                              NULL   },
        { "vm stop",       { "a", "b", "--", "c" },               "{\"vm\":\"a\"}",                     "{}",                                         3, NULL   },
        { "vm exec",
         { "a", "--guest-path", "/srv", "--", "ls", "-l" },
         "{}",                                                                                          "{\"guest_path\":\"/srv\"}",
         1,                                                                                                                                              "ls"   },
        { "vm exec",
         { "-e", "A=1", "a", "--env=B", "-u", "ann", "--", "x" },
         "{}",                                                                                          "{\"env\":[\"A=1\",\"B\"],\"user\":\"ann\"}",
         1,                                                                                                                                              "x"    },
        { "vm kill",       { "--signal", "TERM", "a" },           "{\"signal\":\"TERM\",\"vm\":\"a\"}", "{}",                                         1, NULL   },
        { "kernel import",
         { "k", "--from", "/x/y.deb", "-f" },
         "{\"force\":true,\"from\":\"/x/y.deb\",\"kernel\":\"k\"}",                                     "{}",
         1,                                                                                                                                              NULL   },
        { "doctor",        { "-v", "--json" },                    "{}",                                 "{\"json\":true,\"verbose\":true}",           0, NULL   },
};

static void a_good_line_is_taken_apart(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(good_lines); i++) {
                scoped(parse_args_done) struct cli_args args = { 0 };
                struct err err = { 0 };
                scoped_free char *params = NULL, *options = NULL;

                if (parse_args(command_of(good_lines[i].command),
                               (char *const *) (uintptr_t) good_lines[i].words, &args, &err) < 0)
                        fail_msg("%zu: %s", i, err.message);
                params = json_dumps(args.params, JSON_COMPACT | JSON_SORT_KEYS);
                options = json_dumps(args.options, JSON_COMPACT | JSON_SORT_KEYS);
                assert_string_equal(params, good_lines[i].params);
                assert_string_equal(options, good_lines[i].options);
                assert_int_equal(args.n_operands, good_lines[i].n_operands);
                if (good_lines[i].guest_command)
                        assert_string_equal(args.command[0], good_lines[i].guest_command);
                else
                        assert_null(args.command);
        }
}

static const struct {
        const char *command;
        const char *words[WORDS_MAX];
        const char *says;
} bad_lines[] = {
        {"vm run",         { "--nmae", "x" },         "did you mean '--name'"     },
        { "vm run",        { "--xyzzy" },             "'banger vm run --help'"    },
        { "vm run",        { "--no-start" },          "has no option '--no-start'"},
        { "vm run",        { "-x" },                  "no option '-x'"            },
        { "vm run",        { "--name" },              "--name wants a value"      },
        { "vm run",        { "--rm=yes" },            "--rm takes no value"       },
        { "vm run",        { "--vcpu", "0" },         "--vcpu must be 1 to 32"    },
        { "vm run",        { "--vcpu", "33" },        "--vcpu must be 1 to 32"    },
        { "vm run",        { "--vcpu", "two" },       "is not a number"           },
        { "vm run",        { "--memory", "lots" },    "is not a size"             },
        { "vm run",        { "--memory", "63" },      "must be 64M"               },
        { "vm run",        { "--memory", "100000K" }, "whole number of MiB"       },
        { "vm run",        { "--name", "Web" },       "is not a name for a vm"    },
        { "vm run",        { "repo", "make" },        "-- make"                   },
        { "vm start",      { NULL },                  "wants <vm>"                },
        { "kernel import", { "k" },                   "wants --from"              },
        { "version",       { "x" },                   "cannot use the word 'x'"   },
};

static void a_bad_line_is_refused_with_the_way_out(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(bad_lines); i++) {
                scoped(parse_args_done) struct cli_args args = { 0 };
                struct err err = { 0 };

                assert_int_equal(parse_args(command_of(bad_lines[i].command),
                                            (char *const *) (uintptr_t) bad_lines[i].words, &args, &err),
                                 -EINVAL);
                if (!strstr(err.message, bad_lines[i].says))
                        fail_msg("'%s' does not say '%s'", err.message, bad_lines[i].says);
        }
}

static void paths_become_absolute(void **state)
{
        scoped_free char *empty = path_absolute(""), *absolute = path_absolute("/a/b"),
                         *relative = path_absolute("./c");
        scoped_free char *dot = path_absolute("."), *here = getcwd(NULL, 0),
                         *expected = xasprintf("%s/c", here);

        (void) state;
        assert_string_equal(empty, "");
        assert_string_equal(absolute, "/a/b");
        assert_string_equal(relative, expected);
        assert_string_equal(dot, here);
}

static const struct {
        const char *code, *op_id, *line;
} error_lines[] = {
        {"",                  "",          "it broke"                                      },
        { "operation_failed", "",          "it broke"                                      },
        { "operation_failed", "op-abc123", "it broke (op-abc123)"                          },
        { "not_found",        "",          "not found: it broke"                           },
        { "already_exists",   "",          "already exists: it broke"                      },
        { "bad_request",      "",          "invalid request: it broke"                     },
        { "bad_version",      "",          "version mismatch: it broke"                    },
        { "unauthorized",     "",          "not allowed: it broke"                         },
        { "unknown_method",   "op-1",      "not supported by this bangerd: it broke (op-1)"},
        { "teapot",           "",          "teapot: it broke"                              },
};

static void every_error_code_reads_as_it_should(void **state)
{
        scoped_close int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        FILE *no_terminal = fdopen(dup(null), "w");

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(error_lines); i++) {
                scoped_text struct text line = { 0 };

                error_format(error_lines[i].code, error_lines[i].op_id, "it broke", no_terminal, &line);
                assert_string_equal(line.s, error_lines[i].line);
        }
        (void) fclose(no_terminal);
}

static FILE *open_terminal(void)
{
        int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

        return fd < 0 ? NULL : fdopen(fd, "r+");
}

static void style_is_for_terminals_without_no_color(void **state)
{
        FILE *terminal = open_terminal(), *file = fopen("/dev/null", "we");

        (void) state;
        if (!terminal)
                skip();
        setenv("TERM", "xterm", 1);
        unsetenv("NO_COLOR");
        assert_string_not_equal(style_on(terminal, STYLE_FAIL), "");
        for (int style = 0; style < STYLE_N; style++)
                assert_string_equal(style_on(file, (enum style) style), "");
        setenv("NO_COLOR", "1", 1);
        for (int style = 0; style < STYLE_N; style++)
                assert_string_equal(style_on(terminal, (enum style) style), "");
        assert_string_equal(style_off(terminal), "");
        unsetenv("NO_COLOR");
        (void) fclose(terminal);
        (void) fclose(file);
}

static void a_table_is_as_wide_as_its_cells_and_two(void **state)
{
        static const char *const cells[] = { "NAME", "STATE", "a-long-name", "", "x", "bad\033[31m" };
        scoped(table_done) struct table table = { .n_columns = 2 };
        scoped_free char *out = NULL;
        size_t n;
        FILE *stream = open_memstream(&out, &n);

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cells); i++)
                table_add(&table, cells[i]);
        table_print(&table, stream);
        (void) fclose(stream);
        assert_string_equal(out, "NAME         STATE\n"
                                 "a-long-name  -\n"
                                 "x            bad?[31m\n");
}

static void elapsed_times_and_bars_are_short(void **state)
{
        static const struct {
                uint64_t ms;
                const char *text;
        } cases[] = {
                {0,       "0ms"  },
                { 999,    "999ms"},
                { 1000,   "1.0s" },
                { 2949,   "2.9s" },
                { 59999,  "59.9s"},
                { 60000,  "1m00s"},
                { 192000, "3m12s"},
        };
        char out[ELAPSED_MAX], bar[16];

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                elapsed_format(cases[i].ms, out);
                assert_string_equal(out, cases[i].text);
        }
        progress_bar(0, 0, 4, bar);
        assert_string_equal(bar, "[....]");
        progress_bar(1, 2, 4, bar);
        assert_string_equal(bar, "[##..]");
        progress_bar(9, 2, 4, bar);
        assert_string_equal(bar, "[####]");
}

static void distances_count_slips(void **state)
{
        (void) state;
        assert_int_equal(suggest_distance("run", "run"), 0);
        assert_int_equal(suggest_distance("rnu", "run"), 1);
        assert_int_equal(suggest_distance("", "run"), 3);
        assert_int_equal(suggest_distance("kitten", "sitting"), 3);
        assert_int_equal(suggest_distance("0123456789012345678901234567890123", "x"), SIZE_MAX);
}

static void help_pages_show_options_and_examples(void **state)
{
        static const char *const expected[] = { "Usage: banger vm run [option]... [path] [-- command...]\n",
                                                "\n  -d, --detach",
                                                "\n      --disk-size SIZE",
                                                "\n      --vcpu N",
                                                "--from VALUE",
                                                "needs --branch",
                                                "  banger vm run --rm -- uname -a\n" };
        scoped_text struct text page = { 0 }, top = { 0 }, group = { 0 };

        (void) state;
        help_write(command_of("vm run"), &page);
        for (size_t i = 0; i < N_ELEMENTS(expected); i++)
                if (!strstr(page.s, expected[i]))
                        fail_msg("'%s' is not in:\n%s", expected[i], page.s);
        assert_null(strstr(page.s, "no-start"));
        help_write(NULL, &top);
        assert_non_null(strstr(top.s, "\n  completion"));
        assert_null(strstr(top.s, "internal"));
        help_write(command_of("vm"), &group);
        assert_non_null(strstr(group.s, "banger vm exec")); /* S-058 */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_commands_and_their_order_are_pinned),
                cmocka_unit_test(every_row_is_whole),
                cmocka_unit_test(a_mistyped_command_is_answered_with_the_nearest),
                cmocka_unit_test(an_alias_finds_its_command),
                cmocka_unit_test(a_good_line_is_taken_apart),
                cmocka_unit_test(a_bad_line_is_refused_with_the_way_out),
                cmocka_unit_test(paths_become_absolute),
                cmocka_unit_test(every_error_code_reads_as_it_should),
                cmocka_unit_test(style_is_for_terminals_without_no_color),
                cmocka_unit_test(a_table_is_as_wide_as_its_cells_and_two),
                cmocka_unit_test(elapsed_times_and_bars_are_short),
                cmocka_unit_test(distances_count_slips),
                cmocka_unit_test(help_pages_show_options_and_examples),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
