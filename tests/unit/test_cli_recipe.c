/* The images that a Dockerfile builds on. */
#include <stdlib.h>

#include "base/json.h"
#include "base/scoped.h"
#include "cli/cli_recipe.h"
#include "unit.h"

struct row {
        const char *text, *arguments, *images;
};

static const struct row rows[] = {
        {"FROM debian",                                                                                   "[]",                    "[\"debian\"]"         },
        { "# FROM no\nfrom --platform=linux/amd64 ghcr.io/a/b:1 AS one\nFROM one\nCOPY --from=one /a /b",
         "[]",                                                                                                                     "[\"ghcr.io/a/b:1\"]"  },
        { "FROM scratch\nCOPY --chown=1 --from=r.example/x a b\nCOPY --from=0 a b",                       "[]",
         "[\"r.example/x\"]"                                                                                                                              },
        { "ARG R=r.example\nARG T\nFROM ${R}/x:$T",                                                       "[\"T=2\"]",             "[\"r.example/x:2\"]"  },
        { "ARG R=r.example\nFROM $R/x",                                                                   "[\"R=other.example\"]", "[\"other.example/x\"]"},
        { "FROM x${V:-:3}\nFROM x${V",                                                                    "[]",                    "[\"x:3\", \"x${V\"]"  },
        { "FROM \\\n  \"debian\" \\\r\n as x\r\nFROM debian",                                             "[]",                    "[\"debian\"]"         },
        { "# a comment ends \\\nFROM one\nFROM \\\n # between\n two\n",                                   "[]",                    "[\"one\", \"two\"]"   },
        { "FROM $",                                                                                       "[]",                    "[\"$\"]"              },
        { "FROM",                                                                                         "[]",                    "[]"                   },
        { "FROM \\",                                                                                      "[]",                    "[\"\\\\\"]"           },
        { "ARG\nARG =\nCOPY --from=",                                                                     "[\"x\"]",               "[]"                   },
};

static void images_are_those_that_are_no_stages(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                json_auto_t *arguments = json_loads(rows[i].arguments, 0, NULL);
                json_auto_t *images = recipe_images(rows[i].text, arguments);
                scoped_free char *found = json_dumps(images, 0);

                assert_string_equal(found, rows[i].images);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(images_are_those_that_are_no_stages) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
