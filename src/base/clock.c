#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t read_ns(clockid_t id)
{
        struct timespec t;

        (void) clock_gettime(id, &t);
        return (uint64_t) t.tv_sec * 1000000000U + (uint64_t) t.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
        return read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_monotonic_ms(void)
{
        return clock_monotonic_ns() / 1000000U;
}

uint64_t clock_real_ns(void)
{
        return read_ns(CLOCK_REALTIME);
}

uint64_t clock_boot_ns(void)
{
        return read_ns(CLOCK_BOOTTIME);
}

void clock_format(uint64_t real_ns, char out[CLOCK_TEXT_MAX])
{
        time_t seconds = (time_t) (real_ns / 1000000000U);
        struct tm tm;

        if (!gmtime_r(&seconds, &tm) || strftime(out, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                out[0] = '\0';
}

int clock_left_ms(uint64_t deadline_ms)
{
        uint64_t now = clock_monotonic_ms();

        if (now >= deadline_ms)
                return 0;
        return deadline_ms - now > INT_MAX ? INT_MAX : (int) (deadline_ms - now);
}

#define DURATION_MAX_MS UINT64_C(3155760000000)

static const struct {
        const char *name;
        uint64_t ms;
} units[] = {
        {"ms", 1       },
        { "s", 1000    },
        { "m", 60000   },
        { "h", 3600000 },
        { "d", 86400000},
};

/* The unit at *text, which is moved behind it; 0: none. */
static uint64_t take_unit(const char **text)
{
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                size_t n = strlen(units[i].name);

                if (strncmp(*text, units[i].name, n) == 0 && !isalpha((unsigned char) (*text)[n])) {
                        *text += n;
                        return units[i].ms;
                }
        }
        return 0;
}

int clock_parse_duration(const char *text, uint64_t *ret_ms)
{
        uint64_t sum = 0;

        if (strcmp(text, "0") == 0) {
                *ret_ms = 0;
                return 0;
        }
        do {
                uint64_t number = 0, unit;

                if (!isdigit((unsigned char) *text))
                        return -EINVAL;
                for (; isdigit((unsigned char) *text); text++) {
                        number = number * 10 + (uint64_t) (*text - '0');
                        if (number > DURATION_MAX_MS)
                                return -EINVAL;
                }
                unit = take_unit(&text);
                if (unit == 0 || number > DURATION_MAX_MS / unit)
                        return -EINVAL;
                sum += number * unit;
                if (sum > DURATION_MAX_MS)
                        return -EINVAL;
        } while (*text != '\0');
        *ret_ms = sum;
        return 0;
}
