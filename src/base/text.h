/* Growing byte strings and the few string questions that libc leaves open. Allocation failure aborts. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/scoped.h"

/* Always NUL-terminated once anything was appended; n does not count the NUL. Start with `struct text t = { 0 };`. */
struct text {
        char *s; /* owned; NULL while empty */
        size_t n;
        size_t capacity;
};

void text_append(struct text *text, const char *s);
void text_append_bytes(struct text *text, const void *data, size_t n);
void text_appendf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * Room for so many bytes more, exactly, behind those that are there; text_grow() takes what was put into it. A page of it
 * is only used when it is written to.
 */
char *text_reserve(struct text *text, size_t n);
void text_grow(struct text *text, size_t n);
void text_done(struct text *text);
/* The string, now owned by the caller, never NULL; text is empty again. */
char *text_take(struct text *text);

static inline void text_done_at_scope_end(struct text *text)
{
        text_done(text);
}
/* scoped_text struct text t = { 0 }; */
#define scoped_text __attribute__((__cleanup__(text_done_at_scope_end)))

/* malloc, strdup, asprintf that abort instead of returning NULL. For sizes that no outsider chooses. */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

bool text_is_blank(const char *s); /* NULL, empty or white space only */
bool text_starts_with(const char *s, const char *prefix);
bool text_ends_with(const char *s, const char *suffix);

/* Decimal digits only, no sign, no space, at most `max`. 0 or -EINVAL. */
int text_parse_u64(const char *s, uint64_t max, uint64_t *ret_value);
/* The next number of a row of them, as /proc has them: white space, then digits as above. *at then stands behind them. */
int text_take_u64(const char **at, uint64_t max, uint64_t *ret_value);

/* Lower-case hex of n bytes into out, which holds 2 n + 1. */
void text_hex(const void *data, size_t n, char *out);

/* A stranger's words before they meet a terminal: its control characters, also those of ISO 6429's C1 in UTF-8, become '?'. */
void text_make_printable(char *s);

/* The last line that says anything, in place: blank ends of text are cut off. */
char *text_last_line(char *text);

/*
 * Rows of text: cells, each followed by its end. ends: all of those that the rows have; what could be taken for one, or is a
 * control character, becomes '?'. Cutting takes the next cell off *at, in place; "" when there is none.
 */
void text_append_cell(struct text *text, const char *cell, const char *ends, char end);
char *text_cut_cell(char **at, char end);

/* A single-quoted POSIX shell word: it's -> 'it'\''s'. The caller owns it. */
char *text_shell_quote(const char *s);
