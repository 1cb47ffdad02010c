#include "base/clock.h"

#include <limits.h>
#include <stdio.h>
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
