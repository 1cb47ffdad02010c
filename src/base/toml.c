/*
 * A line-oriented reader: every line is blank, a comment, a table header or key = value. `table` points into
 * the document at the table that keys go to; jansson owns everything.
 */
#include "base/toml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/scoped.h"
#include "base/text.h"

#define KEY_DEPTH_MAX   8
#define ARRAY_DEPTH_MAX 8

struct reader {
        const char *p; /* borrowed, NUL-terminated */
        const char *what;
        unsigned line;
        struct err *err;
};

static int fail(struct reader *reader, const char *why)
{
        return err_set(reader->err, EINVAL, "toml.parse", "%s line %u: %s", reader->what, reader->line, why);
}

static void skip_space(struct reader *reader)
{
        reader->p += strspn(reader->p, " \t");
}

static void skip_comment(struct reader *reader)
{
        skip_space(reader);
        if (*reader->p == '#')
                reader->p += strcspn(reader->p, "\n");
}

/* After a value or a header only a comment may stand before the end of the line. */
static int end_line(struct reader *reader)
{
        skip_comment(reader);
        if (*reader->p == '\r')
                reader->p++;
        if (*reader->p == '\0')
                return 0;
        if (*reader->p != '\n')
                return fail(reader, "something follows the value");
        reader->p++;
        reader->line++;
        return 0;
}

static int hex_digits(struct reader *reader, unsigned n, uint32_t *ret_value)
{
        *ret_value = 0;
        for (unsigned i = 0; i < n; i++, reader->p++) {
                const char *digits = "0123456789abcdef";
                const char *found = *reader->p ? strchr(digits, *reader->p | 0x20) : NULL;

                if (!found)
                        return fail(reader, "bad \\u escape");
                *ret_value = *ret_value << 4 | (uint32_t) (found - digits);
        }
        return 0;
}

/* RFC 3629. */
static void append_utf8(struct text *text, uint32_t c)
{
        char bytes[4];
        size_t n = 0;

        if (c < 0x80) {
                bytes[n++] = (char) c;
        } else if (c < 0x800) {
                bytes[n++] = (char) (0xc0 | c >> 6);
                bytes[n++] = (char) (0x80 | (c & 0x3f));
        } else if (c < 0x10000) {
                bytes[n++] = (char) (0xe0 | c >> 12);
                bytes[n++] = (char) (0x80 | (c >> 6 & 0x3f));
                bytes[n++] = (char) (0x80 | (c & 0x3f));
        } else {
                bytes[n++] = (char) (0xf0 | c >> 18);
                bytes[n++] = (char) (0x80 | (c >> 12 & 0x3f));
                bytes[n++] = (char) (0x80 | (c >> 6 & 0x3f));
                bytes[n++] = (char) (0x80 | (c & 0x3f));
        }
        text_append_bytes(text, bytes, n);
}

/* reader->p stands behind the backslash. */
static int read_escape(struct reader *reader, struct text *text)
{
        static const char letters[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
        const char *letter = *reader->p ? strchr(letters, *reader->p) : NULL;
        unsigned n_digits;
        uint32_t c;
        int r;

        if (letter) {
                text_append_bytes(text, &values[letter - letters], 1);
                reader->p++;
                return 0;
        }
        if (*reader->p != 'u' && *reader->p != 'U')
                return fail(reader, "unknown escape");
        n_digits = *reader->p++ == 'u' ? 4 : 8;
        r = hex_digits(reader, n_digits, &c);
        if (r < 0)
                return r;
        if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return fail(reader, "an escape that is no character");
        append_utf8(text, c);
        return 0;
}

static int read_quoted(struct reader *reader, struct text *text)
{
        char quote = *reader->p++;

        if (reader->p[0] == quote && reader->p[1] == quote)
                return fail(reader, "multi-line strings are not supported");
        text_append(text, "");
        while (*reader->p != quote) {
                if (*reader->p == '\0' || *reader->p == '\n')
                        return fail(reader, "a string without its closing quote");
                if (quote == '"' && *reader->p == '\\') {
                        int r;

                        reader->p++;
                        r = read_escape(reader, text);
                        if (r < 0)
                                return r;
                } else {
                        text_append_bytes(text, reader->p++, 1);
                }
        }
        reader->p++;
        return 0;
}

static int read_key(struct reader *reader, struct text *key)
{
        size_t n;

        skip_space(reader);
        if (*reader->p == '"' || *reader->p == '\'')
                return read_quoted(reader, key);
        n = strspn(reader->p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
        if (n == 0)
                return fail(reader, "a key was expected");
        text_append_bytes(key, reader->p, n);
        reader->p += n;
        return 0;
}

static int read_value(struct reader *reader, unsigned depth, json_t **ret_value);

static int read_string(struct reader *reader, json_t **ret_value)
{
        scoped_text struct text text = { 0 };
        int r = read_quoted(reader, &text);

        if (r < 0)
                return r;
        *ret_value = json_string(text.s);
        return *ret_value ? 0 : fail(reader, "not UTF-8");
}

static void skip_lines(struct reader *reader)
{
        for (;;) {
                skip_comment(reader);
                if (*reader->p != '\n' && *reader->p != '\r')
                        return;
                if (*reader->p == '\n')
                        reader->line++;
                reader->p++;
        }
}

/* Recursion is bounded by ARRAY_DEPTH_MAX. */
static int read_array(struct reader *reader, unsigned depth, json_t **ret_value)
{
        json_auto_t *array = json_array();

        if (depth >= ARRAY_DEPTH_MAX)
                return fail(reader, "arrays nested too deeply");
        reader->p++;
        for (;;) {
                json_t *item = NULL;
                int r;

                skip_lines(reader);
                if (*reader->p == ']')
                        break;
                r = read_value(reader, depth + 1, &item);
                if (r < 0)
                        return r;
                (void) json_array_append_new(array, item);
                skip_lines(reader);
                if (*reader->p == ',')
                        reader->p++;
                else if (*reader->p != ']')
                        return fail(reader, "',' or ']' was expected");
        }
        reader->p++;
        *ret_value = take_ptr(array);
        return 0;
}

static int read_integer(struct reader *reader, json_t **ret_value)
{
        bool negative = *reader->p == '-';
        char digits[24];
        size_t n = 0;
        uint64_t value;

        if (*reader->p == '-' || *reader->p == '+')
                reader->p++;
        for (; (*reader->p >= '0' && *reader->p <= '9') || *reader->p == '_'; reader->p++) {
                if (n + 1 >= sizeof(digits))
                        return fail(reader, "a number too large");
                if (*reader->p != '_')
                        digits[n++] = *reader->p;
        }
        digits[n] = '\0';
        if (n == 0 || strchr(".eExXoObB:-", *reader->p ? *reader->p : 'q'))
                return fail(reader,
                            "a value was expected: text in quotes, a whole number, true, false or [...]");
        if (text_parse_u64(digits, INT64_MAX, &value) < 0)
                return fail(reader, "a number too large");
        *ret_value = json_integer(negative ? -(json_int_t) value : (json_int_t) value);
        return 0;
}

static int read_value(struct reader *reader, unsigned depth, json_t **ret_value)
{
        skip_space(reader);
        if (*reader->p == '"' || *reader->p == '\'')
                return read_string(reader, ret_value);
        if (*reader->p == '[')
                return read_array(reader, depth, ret_value);
        if (*reader->p == '{')
                return fail(reader, "inline tables are not supported");
        if (text_starts_with(reader->p, "true")) {
                reader->p += 4;
                *ret_value = json_true();
                return 0;
        }
        if (text_starts_with(reader->p, "false")) {
                reader->p += 5;
                *ret_value = json_false();
                return 0;
        }
        return read_integer(reader, ret_value);
}

/* The table called key below parent, made when missing; the last one of an array of tables. */
static int descend(struct reader *reader, json_t *parent, const char *key, json_t **ret_table)
{
        json_t *child = json_object_get(parent, key);

        if (!child) {
                child = json_object();
                if (json_object_set_new(parent, key, child) < 0)
                        return fail(reader, "not UTF-8");
        }
        if (json_is_array(child))
                child = json_array_get(child, json_array_size(child) - 1);
        if (!json_is_object(child))
                return fail(reader, "a key is used both as a table and as a value");
        *ret_table = child;
        return 0;
}

/* Reads a.b.c; *table becomes the table of the last part, whose name is left in key. */
static int read_dotted(struct reader *reader, json_t **table, struct text *key)
{
        for (unsigned depth = 0; depth < KEY_DEPTH_MAX; depth++) {
                int r = read_key(reader, key);

                if (r < 0)
                        return r;
                skip_space(reader);
                if (*reader->p != '.')
                        return 0;
                reader->p++;
                r = descend(reader, *table, key->s, table);
                if (r < 0)
                        return r;
                text_done(key);
        }
        return fail(reader, "a key with too many parts");
}

static int append_table(struct reader *reader, json_t *parent, const char *key, json_t **ret_table)
{
        json_t *array = json_object_get(parent, key);

        if (!array) {
                array = json_array();
                if (json_object_set_new(parent, key, array) < 0)
                        return fail(reader, "not UTF-8");
        }
        if (!json_is_array(array) ||
            (json_array_size(array) > 0 && !json_is_object(json_array_get(array, 0))))
                return fail(reader, "a key is used both as an array of tables and as a value");
        (void) json_array_append_new(array, json_object());
        *ret_table = json_array_get(array, json_array_size(array) - 1);
        return 0;
}

static int read_header(struct reader *reader, json_t *root, json_t **ret_table)
{
        bool is_array = reader->p[1] == '[';
        scoped_text struct text key = { 0 };
        json_t *table = root;
        int r;

        reader->p += is_array ? 2 : 1;
        r = read_dotted(reader, &table, &key);
        if (r < 0)
                return r;
        r = is_array ? append_table(reader, table, key.s, ret_table)
                     : descend(reader, table, key.s, ret_table);
        if (r < 0)
                return r;
        if (!text_starts_with(reader->p, is_array ? "]]" : "]"))
                return fail(reader, "a table header without its closing bracket");
        reader->p += is_array ? 2 : 1;
        return end_line(reader);
}

static int read_pair(struct reader *reader, json_t *table)
{
        scoped_text struct text key = { 0 };
        json_t *value = NULL;
        int r = read_dotted(reader, &table, &key);

        if (r < 0)
                return r;
        if (*reader->p != '=')
                return fail(reader, "'=' was expected");
        reader->p++;
        if (json_object_get(table, key.s))
                return fail(reader, "a key is set twice");
        r = read_value(reader, 0, &value);
        if (r < 0)
                return r;
        if (json_object_set_new(table, key.s, value) < 0)
                return fail(reader, "not UTF-8");
        return end_line(reader);
}

int toml_parse(const char *text, const char *what, json_t **ret_object, struct err *err)
{
        struct reader reader = { .p = text, .what = what, .line = 1, .err = err };
        json_auto_t *root = json_object();
        json_t *table = root;

        for (;;) {
                int r;

                skip_lines(&reader);
                if (*reader.p == '\0')
                        break;
                r = *reader.p == '[' ? read_header(&reader, root, &table) : read_pair(&reader, table);
                if (r < 0)
                        return r;
        }
        *ret_object = take_ptr(root);
        return 0;
}
