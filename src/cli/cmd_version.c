#include <stdio.h>

#include "base/version.h"
#include "cli/cli_commands.h"

/* Three lines that other programs read (S-021). */
int cmd_version(struct cli *cli, const struct cli_args *args, struct err *err)
{
        (void) cli;
        (void) args;
        (void) err;
        (void) printf("version: %s\ncommit: %s\nbuilt_at: %s\n", BANGER_VERSION, BANGER_COMMIT,
                      BANGER_BUILT_AT);
        return 0;
}
