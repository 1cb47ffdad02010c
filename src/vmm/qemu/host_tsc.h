/* The rate of this host's time stamp counter. */
#pragma once

#include <stdint.h>

/* A first reading, so that host_tsc_khz() some time later need not wait. */
void host_tsc_begin(void);

/* kHz; 0 where the counter does not count. Waits at most 20 ms, and only where CPUID does not tell. */
uint64_t host_tsc_khz(void);
