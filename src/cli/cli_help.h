/* Help pages, written from the rows of the command table. */
#pragma once

#include "base/text.h"
#include "cli/cli_command.h"

/* command NULL: banger's own page. */
void help_write(const struct cli_command *command, struct text *ret);
