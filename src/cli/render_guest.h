/*
 * A guest's output on its way to a terminal. What comes out is plain text in UTF-8: escape sequences (ECMA-48, and the
 * strings of terminals' own that they open) are taken out whole, other control characters and those that reorder text
 * are dropped or shown as "?". It keeps its place across any cutting of the input.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum guest_filter_state {
        GUEST_FILTER_TEXT,
        GUEST_FILTER_ESCAPE,
        GUEST_FILTER_CSI,
        GUEST_FILTER_STRING,     /* OSC, DCS, APC, PM, SOS */
        GUEST_FILTER_STRING_END, /* ESC within one */
};

/* Start with { 0 }. */
struct guest_filter {
        enum guest_filter_state state;
        bool has_return; /* a carriage return waits for what follows */
        unsigned n_due;  /* continuation bytes of a character */
        uint32_t code, least;
};

void guest_filter_run(struct guest_filter *filter, const char *bytes, size_t n, struct text *out);
