#include "cli/cli_suggest.h"

#include <stdint.h>
#include <string.h>

#include "base/text.h"

#define WORD_MAX 31

static size_t smallest(size_t a, size_t b, size_t c)
{
        size_t least = a < b ? a : b;

        return least < c ? least : c;
}

/* Damerau-Levenshtein, restricted: one row of the table for each letter of a. */
size_t suggest_distance(const char *a, const char *b)
{
        size_t cost[WORD_MAX + 1][WORD_MAX + 1];
        size_t n = strlen(a), m = strlen(b);

        if (n > WORD_MAX || m > WORD_MAX)
                return SIZE_MAX;
        for (size_t i = 0; i <= n; i++)
                cost[i][0] = i;
        for (size_t j = 0; j <= m; j++)
                cost[0][j] = j;
        for (size_t i = 1; i <= n; i++)
                for (size_t j = 1; j <= m; j++) {
                        cost[i][j] = smallest(cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                                              cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                            cost[i - 2][j - 2] + 1 < cost[i][j])
                                cost[i][j] = cost[i - 2][j - 2] + 1;
                }
        return cost[n][m];
}

void suggest_offer(struct suggest *suggest, const char *word)
{
        size_t n = strlen(suggest->typed);
        size_t distance = suggest_distance(suggest->typed, word);
        /* one slip in three letters; a word that was cut short is a slip too */
        bool is_near = distance <= (n + 2) / 3 || (n >= 2 && text_starts_with(word, suggest->typed));

        if (!is_near || (suggest->best && suggest->distance <= distance))
                return;
        suggest->best = word;
        suggest->distance = distance;
}
