#include "vmm/qemu/host_tsc.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#include "base/clock.h"

#define MEASURE_NS     UINT64_C(20000000)
#define MEASURE_NS_MAX UINT64_C(10000000000) /* an older reading may have slept through a suspend */

static struct {
        uint64_t ticks, ns; /* 0: none */
} first;

/* Intel SDM vol. 2A, CPUID leaf 15H: TSC = crystal (ECX, Hz) * EBX / EAX. Zero in most virtual machines. */
static uint64_t from_cpuid(void)
{
        unsigned denominator = 0, numerator = 0, crystal_hz = 0, rest = 0;

        if (!__get_cpuid_count(0x15, 0, &denominator, &numerator, &crystal_hz, &rest))
                return 0;
        if (denominator == 0 || numerator == 0 || crystal_hz == 0)
                return 0;
        return (uint64_t) crystal_hz * numerator / denominator / 1000;
}

/* Counter and clock as one moment: of several readings the one with the least between its two clock readings. */
static void read_both(uint64_t *ret_ticks, uint64_t *ret_ns)
{
        uint64_t best = UINT64_MAX;

        for (int i = 0; i < 5; i++) {
                struct timespec before, after;
                uint64_t ticks, ns0, ns1;

                (void) clock_gettime(CLOCK_MONOTONIC_RAW, &before);
                ticks = __rdtsc();
                (void) clock_gettime(CLOCK_MONOTONIC_RAW, &after);
                ns0 = (uint64_t) before.tv_sec * 1000000000 + (uint64_t) before.tv_nsec;
                ns1 = (uint64_t) after.tv_sec * 1000000000 + (uint64_t) after.tv_nsec;
                if (ns1 - ns0 < best) {
                        best = ns1 - ns0;
                        *ret_ticks = ticks;
                        *ret_ns = ns0 + (ns1 - ns0) / 2;
                }
        }
}

void host_tsc_begin(void)
{
        read_both(&first.ticks, &first.ns);
}

uint64_t host_tsc_khz(void)
{
        struct timespec pause = { 0 };
        uint64_t khz = from_cpuid(), ticks = 0, ns = 0;

        if (khz > 0)
                return khz;
        read_both(&ticks, &ns);
        if (first.ns == 0 || ns - first.ns > MEASURE_NS_MAX) {
                host_tsc_begin();
                ns = first.ns;
        }
        if (ns - first.ns < MEASURE_NS) {
                pause.tv_nsec = (long) (MEASURE_NS - (ns - first.ns));
                (void) nanosleep(&pause, NULL);
                read_both(&ticks, &ns);
        }
        if (ns <= first.ns || ticks <= first.ticks)
                return 0;
        return (uint64_t) ((__uint128_t) (ticks - first.ticks) * 1000000 / (ns - first.ns));
}
