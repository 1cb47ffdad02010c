/* The guest's clock: what it shows, who keeps it, and shifting it (adjtimex(2)). */
#include <errno.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/timex.h>

#include "base/clock.h"
#include "guest/agent/agent_serve.h"

#define NS_PER_S INT64_C(1000000000)

/*
 * The kernel drops STA_UNSYNC when a program disciplines the clock (systemd-timesyncd, chrony, ntpd), and raises it again
 * when the clock is set by hand or nothing was heard for long: such a guest keeps its own time.
 */
void agent_clock_tell(json_t *json)
{
        struct timex about = { 0 };

        if (adjtimex(&about) >= 0)
                (void) json_object_set_new(json, "ntp", json_boolean((about.status & STA_UNSYNC) == 0));
        (void) json_object_set_new(json, "real_ns", json_integer((json_int_t) clock_real_ns()));
}

static int slew_by(int64_t ns)
{
        struct timeval delta = { .tv_sec = ns / NS_PER_S, .tv_usec = ns % NS_PER_S / 1000 };

        return adjtime(&delta, NULL);
}

/* ADJ_SETOFFSET adds in one go, so that no time is lost between a reading and a setting. */
static int step_by(int64_t ns)
{
        struct timex step = { .modes = ADJ_SETOFFSET | ADJ_NANO };
        int64_t rest = ns % NS_PER_S;

        step.time.tv_sec = ns / NS_PER_S;
        if (rest < 0) {
                rest += NS_PER_S;
                step.time.tv_sec--;
        }
        step.time.tv_usec = rest; /* nanoseconds, with ADJ_NANO */
        return adjtimex(&step);
}

int agent_clock_shift(int64_t shift_ns, bool slew, struct err *err)
{
        int r = slew ? slew_by(shift_ns) : step_by(shift_ns);

        return r < 0 ? err_errno(err, "agent.clock", "set the clock") : 0;
}
