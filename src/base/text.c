#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *xmalloc(size_t n)
{
        void *p = malloc(n > 0 ? n : 1);

        if (!p)
                abort();
        return p;
}

void *xcalloc(size_t n, size_t size)
{
        void *p = calloc(n > 0 ? n : 1, size > 0 ? size : 1);

        if (!p)
                abort();
        return p;
}

void *xrealloc(void *p, size_t n)
{
        void *bigger = realloc(p, n > 0 ? n : 1);

        if (!bigger)
                abort();
        return bigger;
}

char *xstrdup(const char *s)
{
        char *copy = strdup(s);

        if (!copy)
                abort();
        return copy;
}

char *xasprintf(const char *format, ...)
{
        char *s = NULL;
        va_list args;
        int n;

        va_start(args, format);
        n = vasprintf(&s, format, args);
        va_end(args);
        if (n < 0)
                abort();
        return s;
}

static void reserve(struct text *text, size_t more)
{
        size_t wanted = text->n + more + 1;

        if (wanted <= text->capacity)
                return;
        text->capacity = wanted < 64 ? 64 : wanted + wanted / 2;
        text->s = xrealloc(text->s, text->capacity);
}

char *text_reserve(struct text *text, size_t n)
{
        if (text->n + n + 1 > text->capacity) {
                text->capacity = text->n + n + 1;
                text->s = xrealloc(text->s, text->capacity);
        }
        return text->s + text->n;
}

void text_grow(struct text *text, size_t n)
{
        text->n += n;
        text->s[text->n] = '\0';
}

void text_append_bytes(struct text *text, const void *data, size_t n)
{
        reserve(text, n);
        if (n > 0)
                memcpy(text->s + text->n, data, n);
        text->n += n;
        text->s[text->n] = '\0';
}

void text_append(struct text *text, const char *s)
{
        text_append_bytes(text, s, strlen(s));
}

void text_appendf(struct text *text, const char *format, ...)
{
        scoped_free char *formatted = NULL;
        va_list args;
        int n;

        va_start(args, format);
        n = vasprintf(&formatted, format, args);
        va_end(args);
        if (n < 0)
                abort();
        text_append_bytes(text, formatted, (size_t) n);
}

void text_done(struct text *text)
{
        free(text->s);
        *text = (struct text){ 0 };
}

char *text_take(struct text *text)
{
        char *s = text->s ? text->s : xstrdup("");

        *text = (struct text){ 0 };
        return s;
}

bool text_is_blank(const char *s)
{
        if (!s)
                return true;
        while (isspace((unsigned char) *s))
                s++;
        return *s == '\0';
}

bool text_starts_with(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool text_ends_with(const char *s, const char *suffix)
{
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* Moves *at past the digits it took. */
static int take_digits(const char **at, uint64_t max, uint64_t *ret_value)
{
        const char *s = *at;
        uint64_t value = 0;

        if (*s < '0' || *s > '9')
                return -EINVAL;
        for (; *s >= '0' && *s <= '9'; s++) {
                uint64_t digit = (uint64_t) (*s - '0');

                if (value > (UINT64_MAX - digit) / 10)
                        return -EINVAL;
                value = value * 10 + digit;
        }
        if (value > max)
                return -EINVAL;
        *at = s;
        *ret_value = value;
        return 0;
}

int text_parse_u64(const char *s, uint64_t max, uint64_t *ret_value)
{
        uint64_t value;

        if (take_digits(&s, max, &value) < 0 || *s != '\0')
                return -EINVAL;
        *ret_value = value;
        return 0;
}

int text_take_u64(const char **at, uint64_t max, uint64_t *ret_value)
{
        const char *s = *at + strspn(*at, " \t\n");
        int r = take_digits(&s, max, ret_value);

        if (r == 0)
                *at = s;
        return r;
}

void text_hex(const void *data, size_t n, char *out)
{
        static const char digits[] = "0123456789abcdef";
        const unsigned char *bytes = data;

        for (size_t i = 0; i < n; i++) {
                out[2 * i] = digits[bytes[i] >> 4];
                out[2 * i + 1] = digits[bytes[i] & 15];
        }
        out[2 * n] = '\0';
}

void text_make_printable(char *s)
{
        for (unsigned char *c = (unsigned char *) s; *c; c++) {
                if (*c < ' ' || *c == 0x7f)
                        *c = '?';
                else if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
                        c[0] = c[1] = '?';
        }
}

char *text_last_line(char *text)
{
        size_t n = strlen(text);
        char *newline;

        while (n > 0 && strchr(" \r\n", text[n - 1]))
                text[--n] = '\0';
        newline = strrchr(text, '\n');
        return newline ? newline + 1 : text;
}

void text_append_cell(struct text *text, const char *cell, const char *ends, char end)
{
        size_t from = text->n;

        text_append(text, cell);
        for (; from < text->n; from++)
                if ((unsigned char) text->s[from] < ' ' || strchr(ends, text->s[from]))
                        text->s[from] = '?';
        text_append_bytes(text, &end, 1);
}

char *text_cut_cell(char **at, char end)
{
        char *cell = *at, *stop = strchr(cell, end);

        if (!stop)
                return strchr(cell, '\0');
        *stop = '\0';
        *at = stop + 1;
        return cell;
}

char *text_shell_quote(const char *s)
{
        struct text quoted = { 0 };

        text_append(&quoted, "'");
        for (; *s != '\0'; s++) {
                if (*s == '\'')
                        text_append(&quoted, "'\\''");
                else
                        text_append_bytes(&quoted, s, 1);
        }
        text_append(&quoted, "'");
        return text_take(&quoted);
}
