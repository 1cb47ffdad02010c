#include "daemon/daemon_clock.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "daemon/daemon.h"
#include "daemon/daemon_guest.h"
#include "daemon/daemon_pulse.h"
#include "daemon/daemon_watch.h"
#include "guest/client/guest_clock.h"

#define SLEPT_MIN_NS \
        UINT64_C(10000000) /* what reading two clocks one after the other can differ by, many times over */
#define SHIFT_MS      2000
#define TELL_ABOVE_NS 1000000000 /* corrections beyond this are worth a line at info */

const struct daemon_clock_source daemon_clock_source_real = {
        .boot_ns = clock_boot_ns,
        .monotonic_ns = clock_monotonic_ns,
};

static uint64_t asleep(const struct daemon_clock_watch *watch)
{
        uint64_t monotonic = watch->source->monotonic_ns(), boot = watch->source->boot_ns();

        return boot > monotonic ? boot - monotonic : 0;
}

void daemon_clock_watch_init(struct daemon_clock_watch *watch, const struct daemon_clock_source *source)
{
        *watch = (struct daemon_clock_watch){ .source = source, .timer = FD_NONE };
        watch->asleep_ns = asleep(watch);
}

bool daemon_clock_watch_slept(struct daemon_clock_watch *watch, uint64_t *ret_ns)
{
        uint64_t now = asleep(watch);

        if (now < watch->asleep_ns + SLEPT_MIN_NS)
                return false;
        *ret_ns = now - watch->asleep_ns;
        watch->asleep_ns = now;
        return true;
}

/* timerfd_create(2): with this flag a read fails with ECANCELED when the clock was set, which waking up does too. */
static void arm(const struct daemon_clock_watch *watch)
{
        const struct itimerspec never = { .it_value = { .tv_sec = INT32_MAX } };

        (void) timerfd_settime(watch->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

static int on_clock_set(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon *daemon = userdata;
        uint64_t expirations, slept_ns = 0;
        bool slept;

        (void) source;
        (void) events;
        if (read(fd, &expirations, sizeof(expirations)) < 0 && errno != ECANCELED)
                return 0;
        arm(&daemon->clock_watch);
        slept = daemon_clock_watch_slept(&daemon->clock_watch, &slept_ns);
        if (slept)
                log_info("the host slept; putting the guests' clocks right", "{s:I}", "slept_ms",
                         (json_int_t) (slept_ns / 1000000));
        else
                log_info("the host's clock was set; looking at the guests' clocks", NULL);
        daemon_pulse_all(daemon, slept);
        return 0;
}

int daemon_clock_begin(struct daemon *daemon, struct err *err)
{
        struct daemon_clock_watch *watch = &daemon->clock_watch;
        int r;

        daemon_clock_watch_init(watch, &daemon_clock_source_real);
        watch->timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        if (watch->timer < 0)
                return err_errno(err, "daemon.clock", "make a timer");
        arm(watch);
        r = sd_event_add_io(daemon->event, &watch->event, watch->timer, EPOLLIN, on_clock_set, daemon);
        if (r < 0) {
                (void) close(take_fd(&watch->timer));
                return err_set(err, -r, "daemon.clock", "watch the clock: %s", strerror(-r));
        }
        (void) sd_event_source_set_io_fd_own(watch->event, 1);
        return 0;
}

void daemon_clock_done(struct daemon *daemon)
{
        daemon->clock_watch.event = sd_event_source_disable_unref(daemon->clock_watch.event);
}

static void shifted(void *userdata, const struct daemon_guest_answer *answer)
{
        (void) userdata;
        if (!answer->json)
                log_warn("a guest's clock could not be set", "{s:s}", "error", answer->err->message);
}

void daemon_clock_beat(struct daemon_guard *guard, const struct daemon_guest_answer *health, bool after_gap)
{
        struct daemon_guest_question question = { .vm_id = guard->vm_id,
                                                  .question = GUEST_ASK_SHIFT_CLOCK,
                                                  .timeout_ms = SHIFT_MS };
        struct guest_clock clock;
        struct err err = { 0 };
        bool is_far;

        if (guest_clock_of(health->json, health->sent_ns, health->answered_ns, &clock, &err) < 0 ||
            !guest_clock_correction(&clock, after_gap, &question.shift_ns, &question.slew))
                return;
        is_far = question.shift_ns > TELL_ABOVE_NS || question.shift_ns < -TELL_ABOVE_NS;
        log_write(is_far ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "correcting a guest's clock",
                  "{s:s, s:I, s:I, s:b}", "vm_id", guard->vm_id, "offset_us",
                  (json_int_t) (clock.offset_ns / 1000), "uncertainty_us",
                  (json_int_t) (clock.uncertainty_ns / 1000), "slew", (int) question.slew);
        daemon_guest_ask(guard->daemon, &question, shifted, NULL);
}
