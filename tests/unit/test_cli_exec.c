/* The options of a command in a guest: variables, folder, user, time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli_exec.h"
#include "unit.h"

static json_t *parse(const char *text)
{
        json_t *json = json_loads(text, 0, NULL);

        assert_non_null(json);
        return json;
}

static void variables_come_in_order_and_the_last_of_a_name_counts(void **state)
{
        scoped(cli_exec_done) struct cli_exec exec = { 0 };
        const char *lines = "# said\n\nA=1\r\n  B=it's #1\nHERE=file";
        char path[] = "/tmp/banger-env-XXXXXX";
        int fd = mkstemp(path);
        scoped_free char *text = xasprintf(
                "{\"env_file\":[\"%s\"],\"env\":[\"A=2\",\"HERE\",\"NOT_HERE\",\"E=\",\"X=a=b c\"]}", path);
        json_auto_t *options = parse(text);
        struct err err = { 0 };

        (void) state;
        assert_true(fd >= 0);
        assert_int_equal(write(fd, lines, strlen(lines)), strlen(lines));
        (void) close(fd);
        assert_int_equal(setenv("HERE", "own", 1), 0);
        assert_int_equal(unsetenv("NOT_HERE"), 0);
        assert_int_equal(cli_exec_read(options, &exec, &err), 0);
        assert_string_equal(exec.env[0], "A=2");
        assert_string_equal(exec.env[1], "B=it's #1");
        assert_string_equal(exec.env[2], "HERE=own");
        assert_string_equal(exec.env[3], "E=");
        assert_string_equal(exec.env[4], "X=a=b c");
        assert_null(exec.env[5]);
        assert_int_equal(unlink(path), 0);
}

static const struct {
        const char *typed;
        uint64_t ms;
} times[] = {
        {"30",     30000                },
        { "30s",   30000                },
        { "1.5m",  90000                },
        { "2h",    7200000              },
        { "1d",    86400000             },
        { "250ms", 250                  },
        { "0.5",   500                  },
        { "1ms",   1                    },
        { "366d",  UINT64_C(31622400000)},
};

static void times_are_read_as_timeout_1_does(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(times); i++) {
                scoped(cli_exec_done) struct cli_exec exec = { 0 };
                scoped_free char *text = xasprintf("{\"timeout\":\"%s\"}", times[i].typed);
                json_auto_t *options = parse(text);
                struct err err = { 0 };

                assert_int_equal(cli_exec_read(options, &exec, &err), 0);
                assert_int_equal(exec.timeout_ms, times[i].ms);
        }
}

static const struct {
        const char *options, *says;
} wrong[] = {
        {"{\"env\":[\"=x\"]}",                  "--env: '=x' is not a variable"                        },
        { "{\"env\":[\"1A=x\"]}",               "--env: '1A=x' is not a variable"                      },
        { "{\"env\":[\"A B=x\"]}",              "is not a variable"                                    },
        { "{\"env\":[\"\"]}",                   "is not a variable"                                    },
        { "{\"env_file\":[\"/no/such/file\"]}", "/no/such/file"                                        },
        { "{\"workdir\":\"src\"}",              "--workdir: 'src' is not an absolute path in the guest"},
        { "{\"user\":\"\"}",                    "--user: '' names no user"                             },
        { "{\"user\":\":wheel\"}",              "names no user"                                        },
        { "{\"timeout\":\"\"}",                 "--timeout: '' is not a time"                          },
        { "{\"timeout\":\"0\"}",                "--timeout must be 1ms to 366d, not 0"                 },
        { "{\"timeout\":\"367d\"}",             "must be 1ms to 366d"                                  },
        { "{\"timeout\":\"-5\"}",               "is not a time"                                        },
        { "{\"timeout\":\"5x\"}",               "is not a time"                                        },
        { "{\"timeout\":\"1.2.3\"}",            "is not a time"                                        },
        { "{\"timeout\":\"1e3\"}",              "is not a time"                                        },
        { "{\"timeout\":\"inf\"}",              "is not a time"                                        },
};

static void what_is_wrong_is_named(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
                scoped(cli_exec_done) struct cli_exec exec = { 0 };
                json_auto_t *options = parse(wrong[i].options);
                struct err err = { 0 };

                assert_true(cli_exec_is_given(options));
                assert_true(cli_exec_read(options, &exec, &err) < 0);
                if (!strstr(err.message, wrong[i].says))
                        fail_msg("'%s' does not say '%s'", err.message, wrong[i].says);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(variables_come_in_order_and_the_last_of_a_name_counts),
                cmocka_unit_test(times_are_read_as_timeout_1_does),
                cmocka_unit_test(what_is_wrong_is_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
