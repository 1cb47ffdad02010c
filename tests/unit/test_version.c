#include <regex.h>

#include "base/scoped.h"
#include "base/version.h"
#include "unit.h"

/* S-020, of whatever was built: "dev" or a tag, a SHA of 8 digits or "unknown", a time or "unknown". */
static void the_line_has_the_form_that_others_parse(void **state)
{
        scoped_free char *line = version_line("banger");
        regex_t form;
        int r;

        (void) state;
        assert_int_equal(regcomp(&form,
                                 "^banger (dev|v[0-9][^ ]*) \\(commit ([0-9a-f]{8}|unknown), built "
                                 "([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z|unknown)\\)$",
                                 REG_EXTENDED | REG_NOSUB),
                         0);
        r = regexec(&form, line, 0, NULL, 0);
        regfree(&form);
        if (r != 0)
                fail_msg("%s", line);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_line_has_the_form_that_others_parse),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
