/* Asking before something is lost. */
#pragma once

#include "base/err.h"

/*
 * "question [y/N] " on standard error; 1 for a line that begins with y, 0 for any other. EINVAL where standard input is no
 * terminal: nobody is there to answer, and the message names --force.
 */
int cli_confirm(const char *question, struct err *err);
