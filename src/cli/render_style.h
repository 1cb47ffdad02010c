/* Colour for people: nothing where the stream is no terminal or NO_COLOR is set (S-034). */
#pragma once

#include <stdbool.h>
#include <stdio.h>

enum style {
        STYLE_PASS,
        STYLE_FAIL,
        STYLE_WARN,
        STYLE_DIM,
        STYLE_BOLD,
        STYLE_N
};

bool style_is_on(FILE *stream);
/* What to print before and after styled words on this stream: "" when off (static storage). */
const char *style_on(FILE *stream, enum style style);
const char *style_off(FILE *stream);
