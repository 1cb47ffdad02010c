#include "base/json_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/scoped.h"

#define OPEN "{"

void json_text_open(struct text *text)
{
        text_append(text, OPEN);
}

/* No key of ours needs an escape. */
static void add_key(struct text *text, const char *key)
{
        bool is_first = text->s[text->n - 1] == OPEN[0]; /* a member's last character is never that */

        text_append(text, is_first ? "\n  \"" : ",\n  \"");
        text_append(text, key);
        text_append(text, "\": ");
}

static bool is_plain(const char *value)
{
        for (const char *p = value; *p != '\0'; p++)
                if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
                        return false;
        return true;
}

/* What most values of ours are, and needs no more than a word. */
static const char *word_of(const json_t *value)
{
        if (json_is_null(value))
                return "null";
        if (json_is_array(value) && json_array_size(value) == 0)
                return "[]";
        return json_is_object(value) && json_object_size(value) == 0 ? "{}" : NULL;
}

/* What json_dumps() writes, at this depth: its lines' ends are between words, never in one. */
static void add_dumped(struct text *text, const json_t *value)
{
        scoped_free char *dumped = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
        const char *line = dumped ? dumped : "null"; /* no string, or one that is not UTF-8 */

        for (const char *end; (end = strchr(line, '\n')); line = end + 1) {
                text_append_bytes(text, line, (size_t) (end + 1 - line));
                text_append(text, "  ");
        }
        text_append(text, line);
}

void json_text_string(struct text *text, const char *key, const char *value)
{
        if (!value || !is_plain(value)) {
                json_text_value(text, key, json_string(value));
                return;
        }
        add_key(text, key);
        text_append(text, "\"");
        text_append(text, value);
        text_append(text, "\"");
}

void json_text_integer(struct text *text, const char *key, int64_t value)
{
        char digits[24];

        (void) snprintf(digits, sizeof(digits), "%" PRId64, value);
        add_key(text, key);
        text_append(text, digits);
}

void json_text_bool(struct text *text, const char *key, bool value)
{
        add_key(text, key);
        text_append(text, value ? "true" : "false");
}

void json_text_value(struct text *text, const char *key, json_t *owned_value)
{
        const char *word = word_of(owned_value);

        add_key(text, key);
        if (word)
                text_append(text, word);
        else
                add_dumped(text, owned_value);
        json_decref(owned_value);
}

void json_text_close(struct text *text)
{
        text_append(text, text->s[text->n - 1] == OPEN[0] ? "}" : "\n}");
}
