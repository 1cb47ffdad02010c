/*
 * TOML 1.0 as far as our configuration needs it: tables, arrays of tables, bare and quoted keys, basic and
 * literal one-line strings, decimal integers, booleans, arrays. Dates, floats, multi-line strings
 * and inline tables are refused by name. The result is a JSON object.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* what names the document in errors ("line 3: ..."). The caller owns *ret_object. */
int toml_parse(const char *text, const char *what, json_t **ret_object, struct err *err);
