/* The one layout of all lists: every column as wide as its longest cell and two spaces, left aligned (S-036). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/text.h"

#define TABLE_COLUMNS_MAX 10

struct table {
        size_t n_columns;
        size_t n_cells;
        struct text cells; /* row after row, each with its NUL */
};

/* Copies; an empty or absent cell becomes "-" (S-041), control characters from outside become "?". */
void table_add(struct table *table, const char *cell);
/* A size of so many units, which are digits from outside; what is no number becomes "-". */
void table_add_size(struct table *table, const char *digits, uint64_t unit);
void table_print(const struct table *table, FILE *out);
void table_done(struct table *table);

static inline void table_done_at_scope_end(struct table *table)
{
        table_done(table);
}
