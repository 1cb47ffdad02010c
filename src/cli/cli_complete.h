/* What may come next on a command line that is being typed; asks a running daemon for names, never starts one. */
#pragma once

#include "cli/cli_command.h"

/* words is NULL-terminated, the last one is being typed (may be ""). Candidates go to standard output, a line each. */
void complete_words(struct cli *cli, char *const *words);

/* Said instead of candidates where the shell shall offer files. */
#define COMPLETE_FILES ":files"
