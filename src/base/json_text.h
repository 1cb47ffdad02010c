/*
 * An object written as text at once, a member at a time, just as json_dumps() writes it with JSON_INDENT(2): for lists of
 * thousands, whose values as json_t cost many times as much. The caller asks for no key twice.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* Begins an object behind what the text has. Then its members, in the order they are to have; then its end. */
void json_text_open(struct text *text);
void json_text_string(struct text *text, const char *key, const char *value);
void json_text_integer(struct text *text, const char *key, int64_t value);
void json_text_bool(struct text *text, const char *key, bool value);
void json_text_value(struct text *text, const char *key, json_t *owned_value);
void json_text_close(struct text *text);
