#include "cli/cli_confirm.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int cli_confirm(const char *question, struct err *err)
{
        char answer[16] = "";

        if (isatty(STDIN_FILENO) != 1)
                return err_set(err, EINVAL, "cli.confirm",
                               "standard input is no terminal, so nobody can be asked; --force does it "
                               "without asking");
        (void) fprintf(stderr, "%s [y/N] ", question);
        (void) fflush(stderr);
        if (!fgets(answer, sizeof(answer), stdin))
                answer[0] = '\0';
        return answer[0] == 'y' || answer[0] == 'Y';
}
