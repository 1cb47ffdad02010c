/* Time: monotonic for waiting, real for people. */
#pragma once

#include <stdint.h>

#define CLOCK_TEXT_MAX 32

uint64_t clock_monotonic_ns(void);
uint64_t clock_monotonic_ms(void);
uint64_t clock_real_ns(void); /* since 1970, UTC */
uint64_t clock_boot_ns(void); /* monotonic, and goes on while the host sleeps */

/* "2026-04-28T20:45:50Z"; ns is since 1970, UTC. */
void clock_format(uint64_t real_ns, char out[CLOCK_TEXT_MAX]);

/* Milliseconds from now until a monotonic deadline, 0 when it has passed, capped for poll(2). */
int clock_left_ms(uint64_t deadline_ms);

/* "90s", "10m", "1h30m", "2d", "500ms", any of them added up, or "0"; at most a hundred years. 0, or -EINVAL. */
int clock_parse_duration(const char *text, uint64_t *ret_ms);
