/* The one layout of all lists: every column as wide as its longest cell and two spaces, left aligned (S-036). */
#pragma once

#include <stddef.h>
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
void table_print(const struct table *table, FILE *out);
void table_done(struct table *table);

static inline void table_done_at_scope_end(struct table *table)
{
        table_done(table);
}
