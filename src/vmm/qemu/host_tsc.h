/* The rate of this host's time stamp counter. */
#pragma once

#include <stdint.h>

/* kHz; 0 where the processor has no invariant counter to speak of. Measures for 20 ms where CPUID does not tell. */
uint64_t host_tsc_khz(void);
