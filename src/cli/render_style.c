#include "cli/render_style.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ECMA-48 8.3.117, select graphic rendition */
static const char *const starts[] = {
        [STYLE_PASS] = "\033[32m", [STYLE_FAIL] = "\033[31m", [STYLE_WARN] = "\033[33m",
        [STYLE_DIM] = "\033[2m",   [STYLE_BOLD] = "\033[1m",
};
static_assert(sizeof(starts) / sizeof(starts[0]) == STYLE_N, "a start for every style");

bool style_is_on(FILE *stream)
{
        const char *no_color = getenv("NO_COLOR"); /* set and not empty: no-color.org */
        const char *term = getenv("TERM");

        if ((no_color && *no_color) || !term || strcmp(term, "dumb") == 0)
                return false;
        return isatty(fileno(stream)) == 1;
}

const char *style_on(FILE *stream, enum style style)
{
        return style_is_on(stream) ? starts[style] : "";
}

const char *style_off(FILE *stream)
{
        return style_is_on(stream) ? "\033[0m" : "";
}
