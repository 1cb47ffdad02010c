/* How a failure reads (S-033, S-044 - S-047). */
#pragma once

#include <stdio.h>

#include "base/text.h"

/* code "" or "operation_failed": the message alone; a known code: with a label; an unknown one: as it came. */
void error_format(const char *code, const char *op_id, const char *message, FILE *style_for,
                  struct text *ret);
/* "banger: ..." on standard error. */
void error_print(const char *code, const char *op_id, const char *message);
