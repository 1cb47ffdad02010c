/*
 * How it works: all cells stand in one text, one behind the other with their NULs, and the lines are made in another one that is
 * written at once: a list may have thousands of cells.
 */
#include "cli/render_table.h"

#include <string.h>

#include "base/size.h"

#define PADDING 2

void table_add(struct table *table, const char *cell)
{
        const char *shown = text_is_blank(cell) ? "-" : cell;
        size_t from = table->cells.n;

        text_append_bytes(&table->cells, shown, strlen(shown) + 1);
        text_make_printable(table->cells.s + from);
        table->n_cells++;
}

void table_add_size(struct table *table, const char *digits, uint64_t unit)
{
        char size[SIZE_TEXT_MAX] = "";
        uint64_t n;

        if (text_parse_u64(digits, UINT64_MAX / unit, &n) == 0)
                size_human(n * unit, size);
        table_add(table, size);
}

/* Characters, not bytes: UTF-8 continuation bytes (RFC 3629) take no place of their own. */
static size_t width_of(const char *cell)
{
        size_t n = 0;

        for (; *cell; cell++)
                n += (*cell & 0xc0) != 0x80;
        return n;
}

static void measure(const struct table *table, size_t widths[TABLE_COLUMNS_MAX])
{
        const char *cell = table->cells.s;

        for (size_t i = 0; i < table->n_cells; i++, cell += strlen(cell) + 1) {
                size_t width = width_of(cell);

                if (width > widths[i % table->n_columns])
                        widths[i % table->n_columns] = width;
        }
}

static void add_spaces(struct text *lines, size_t n)
{
        static const char spaces[] = "                                ";

        for (; n > sizeof(spaces) - 1; n -= sizeof(spaces) - 1)
                text_append_bytes(lines, spaces, sizeof(spaces) - 1);
        text_append_bytes(lines, spaces, n);
}

void table_print(const struct table *table, FILE *out)
{
        size_t widths[TABLE_COLUMNS_MAX] = { 0 };
        scoped_text struct text lines = { 0 };
        const char *cell = table->cells.s;

        measure(table, widths);
        for (size_t i = 0; i < table->n_cells; i++, cell += strlen(cell) + 1) {
                size_t column = i % table->n_columns;

                text_append(&lines, cell);
                if (column + 1 == table->n_columns)
                        text_append_bytes(&lines, "\n", 1);
                else
                        add_spaces(&lines, widths[column] + PADDING - width_of(cell));
        }
        (void) fwrite(lines.s ? lines.s : "", 1, lines.n, out);
}

void table_done(struct table *table)
{
        text_done(&table->cells);
        *table = (struct table){ 0 };
}
