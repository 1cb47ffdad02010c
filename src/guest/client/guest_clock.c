#include "guest/client/guest_clock.h"

#include <errno.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/scoped.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_report.h"

#define YEAR_2200_NS (UINT64_C(7258118400) * 1000000000)
#define SYNC_ROUNDS  3
#define READINGS_MAX 4
#define CERTAIN_NS   10000000

int guest_clock_of(const json_t *health, uint64_t sent_ns, uint64_t answered_ns,
                   struct guest_clock *ret_clock, struct err *err)
{
        uint64_t guest_ns = json_u64(health, "real_ns", 0);

        if (guest_ns == 0 || guest_ns > YEAR_2200_NS || sent_ns > YEAR_2200_NS || answered_ns < sent_ns ||
            answered_ns > YEAR_2200_NS)
                return err_set(err, EBADMSG, "guest.clock", "the guest tells no time");
        *ret_clock = (struct guest_clock){
                .offset_ns = (int64_t) guest_ns - (int64_t) (sent_ns + (answered_ns - sent_ns) / 2),
                .uncertainty_ns = (answered_ns - sent_ns) / 2,
                .ntp = json_flag(health, "ntp"),
        };
        return 0;
}

bool guest_clock_correction(const struct guest_clock *clock, bool after_gap, int64_t *ret_shift_ns,
                            bool *ret_slew)
{
        int64_t off_by = clock->offset_ns < 0 ? -clock->offset_ns : clock->offset_ns;

        if (clock->ntp && !after_gap)
                return false;
        if (off_by <= GUEST_CLOCK_LEAVE_NS + (int64_t) clock->uncertainty_ns)
                return false;
        *ret_shift_ns = -clock->offset_ns;
        *ret_slew = off_by <= GUEST_CLOCK_STEP_NS && !after_gap;
        return true;
}

static int read_once(const char *vsock_uds, uint64_t timeout_ms, struct guest_clock *ret_clock,
                     struct err *err)
{
        scoped_close int fd = guest_connect(vsock_uds, timeout_ms, err);
        json_auto_t *raw = NULL, *health = NULL;
        uint64_t sent_ns;
        int r;

        if (fd < 0)
                return fd;
        sent_ns = clock_real_ns();
        r = guest_health(fd, timeout_ms, &raw, err);
        if (r < 0)
                return r;
        health = guest_report_check(GUEST_ASK_HEALTH, raw);
        return guest_clock_of(health, sent_ns, clock_real_ns(), ret_clock, err);
}

/* The most certain of several readings: the first after a pause may wait for all that the guest has to do. */
static int read_clock(const char *vsock_uds, uint64_t deadline_ms, struct guest_clock *ret_clock,
                      struct err *err)
{
        int r = read_once(vsock_uds, (uint64_t) clock_left_ms(deadline_ms), ret_clock, err);

        for (int i = 1; r == 0 && i < READINGS_MAX && ret_clock->uncertainty_ns > CERTAIN_NS; i++) {
                struct guest_clock again;

                r = read_once(vsock_uds, (uint64_t) clock_left_ms(deadline_ms), &again, err);
                if (r == 0 && again.uncertainty_ns < ret_clock->uncertainty_ns)
                        *ret_clock = again;
        }
        return r;
}

int guest_clock_sync(const char *vsock_uds, uint64_t timeout_ms, struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
        struct guest_clock clock;
        int64_t shift_ns;
        bool slew;

        for (int i = 0; i < SYNC_ROUNDS; i++) {
                scoped_close int fd = FD_NONE;
                int r = read_clock(vsock_uds, deadline_ms, &clock, err);

                if (r < 0)
                        return r;
                if (!guest_clock_correction(&clock, true, &shift_ns, &slew))
                        return 0;
                fd = guest_connect(vsock_uds, (uint64_t) clock_left_ms(deadline_ms), err);
                if (fd < 0)
                        return fd;
                r = guest_shift_clock(fd, shift_ns, slew, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
