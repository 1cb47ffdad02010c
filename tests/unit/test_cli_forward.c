/* What may be typed as a forward. */
#include <string.h>

#include "base/text.h"
#include "cli/cli_forward.h"
#include "unit.h"

static const struct {
        const char *typed, *host, *guest;
} good[] = {
        {"8080:80",                  "tcp:127.0.0.1:8080", "tcp:127.0.0.1:80"  },
        { "8080",                    "tcp:127.0.0.1:8080", "tcp:127.0.0.1:8080"},
        { "0:80",                    "tcp:127.0.0.1:0",    "tcp:127.0.0.1:80"  },
        { "0.0.0.0:8080:80",         "tcp:0.0.0.0:8080",   "tcp:127.0.0.1:80"  },
        { "8080:10.0.0.5:80",        "tcp:127.0.0.1:8080", "tcp:10.0.0.5:80"   },
        { "127.0.0.1:1:10.0.0.5:2",  "tcp:127.0.0.1:1",    "tcp:10.0.0.5:2"    },
        { "localhost:1:localhost:2", "tcp:127.0.0.1:1",    "tcp:127.0.0.1:2"   },
        { "[::1]:8080:[fe80::1]:80", "tcp:[::1]:8080",     "tcp:[fe80::1]:80"  },
        { "/tmp/a.sock:/run/b.sock", "unix:/tmp/a.sock",   "unix:/run/b.sock"  },
        { "5432:/run/pg.sock",       "tcp:127.0.0.1:5432", "unix:/run/pg.sock" },
        { "/tmp/a.sock:80",          "unix:/tmp/a.sock",   "tcp:127.0.0.1:80"  },
};

static void forwards_are_taken_apart(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(good); i++) {
                struct cli_forward forward = { 0 };
                struct err err = { 0 };

                if (cli_forward_parse(good[i].typed, &forward, &err) < 0)
                        fail_msg("%s: %s", good[i].typed, err.message);
                assert_string_equal(forward.host, good[i].host);
                assert_string_equal(forward.guest, good[i].guest);
                cli_forward_done(&forward);
        }
}

static const struct {
        const char *typed, *says;
} bad[] = {
        {"",                   "the host's side"      },
        { "x",                 "the host's side"      },
        { "80:",               "the guest's side"     },
        { ":80",               "the host's side"      },
        { "80:x",              "the guest's side"     },
        { "65536:80",          "the host's side"      },
        { "80:65536",          "the guest's side"     },
        { "example.com:80:80", "the host's side"      },
        { "1:2:3",             "is left over"         },
        { "1:2:3:4",           "is left over"         },
        { "1:2:/x",            "'/x' is left over"    },
        { "[::1:80:80",        "the host's side"      },
        { "[::1]80:80",        "the host's side"      },
        { "/a:/b:/c",          "'/c' is left over"    },
        { "80:/"
          "12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
          "90"
          "12345678", "longer than 107 bytes"},
};

static void what_is_wrong_is_named(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
                struct cli_forward forward = { 0 };
                struct err err = { 0 };

                assert_int_equal(cli_forward_parse(bad[i].typed, &forward, &err), -EINVAL);
                if (!strstr(err.message, bad[i].says))
                        fail_msg("'%s' does not say '%s'", err.message, bad[i].says);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(forwards_are_taken_apart),
                cmocka_unit_test(what_is_wrong_is_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
