#include "cli/render_table.h"

#include <string.h>

#include "base/text.h"

#define PADDING 2

void table_add(struct table *table, const char *cell)
{
        char *copy = xstrdup(text_is_blank(cell) ? "-" : cell);

        text_make_printable(copy);
        if ((table->n_cells & (table->n_cells - 1)) == 0) /* full: room for twice as many */
                table->cells = xrealloc(table->cells,
                                        (table->n_cells ? 2 * table->n_cells : 1) * sizeof(*table->cells));
        table->cells[table->n_cells++] = copy;
}

/* Characters, not bytes: UTF-8 continuation bytes (RFC 3629) take no place of their own. */
static size_t width_of(const char *cell)
{
        size_t n = 0;

        for (; *cell; cell++)
                n += (*cell & 0xc0) != 0x80;
        return n;
}

void table_print(const struct table *table, FILE *out)
{
        size_t widths[TABLE_COLUMNS_MAX] = { 0 };

        for (size_t i = 0; i < table->n_cells; i++) {
                size_t width = width_of(table->cells[i]);

                if (width > widths[i % table->n_columns])
                        widths[i % table->n_columns] = width;
        }
        for (size_t i = 0; i < table->n_cells; i++) {
                size_t column = i % table->n_columns;

                (void) fputs(table->cells[i], out);
                if (column + 1 == table->n_columns)
                        (void) fputc('\n', out);
                else
                        (void) fprintf(out, "%*s",
                                       (int) (widths[column] + PADDING - width_of(table->cells[i])), "");
        }
}

void table_done(struct table *table)
{
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i]);
        free(table->cells);
        *table = (struct table){ 0 };
}
