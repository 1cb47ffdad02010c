/* "Did you mean": the nearest of the words that exist. */
#pragma once

#include <stddef.h>

/* Start with { .typed = word }. */
struct suggest {
        const char *typed; /* borrowed */
        const char *best;  /* borrowed; NULL: nothing is near enough */
        size_t distance;
};

void suggest_offer(struct suggest *suggest, const char *word);

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b; words longer than 31 are far from all. */
size_t suggest_distance(const char *a, const char *b);
