#include "daemon/daemon_pulse.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon_clock.h"
#include "daemon/daemon_guest.h"
#include "daemon/daemon_logs.h"
#include "daemon/daemon_stale.h"
#include "daemon/daemon_watch.h"

#define ANSWER_MS    5000
#define ACCURACY_DIV 10 /* a tenth of the interval: the loop may wake for several things at once */

/* The guard may be gone when the answer comes. */
struct beat {
        struct daemon *daemon;
        char *vm_id;
        pid_t pid;
};

static void beat_free(struct beat *beat)
{
        free(beat->vm_id);
        free(beat);
}
SCOPED_FUNC(struct beat *, beat_free);

static void tell_silence(struct daemon_guard *guard, const struct err *err)
{
        if (!guard->pulse.is_silent)
                log_warn("a guest's agent does not answer", "{s:s, s:s}", "vm_id", guard->vm_id, "error",
                         err->message);
        guard->pulse.is_silent = true;
}

static void answered(void *userdata, const struct daemon_guest_answer *answer)
{
        scoped(beat_free) struct beat *beat = userdata;
        struct daemon_guard *guard = daemon_guard_find(beat->daemon, beat->vm_id);
        bool after_gap;

        if (!guard || guard->pid != beat->pid)
                return;
        after_gap = guard->pulse.after_gap;
        guard->pulse.is_asked = false;
        guard->pulse.after_gap = false;
        if (guard->paused)
                return;
        if (!answer->json) {
                tell_silence(guard, answer->err);
                return;
        }
        guard->pulse.is_silent = false;
        daemon_clock_beat(guard, answer, after_gap);
        daemon_stale_beat(guard, answer->json); /* last: it may end the VM */
}

static void beat_one(struct daemon_guard *guard, bool after_gap)
{
        const struct daemon_guest_question question = { .vm_id = guard->vm_id,
                                                        .question = GUEST_ASK_HEALTH,
                                                        .timeout_ms = ANSWER_MS };
        struct beat *beat;

        daemon_logs_beat(guard);
        if (guard->paused)
                return;
        guard->pulse.after_gap |= after_gap;
        if (guard->pulse.is_asked)
                return;
        guard->pulse.is_asked = true;
        beat = xcalloc(1, sizeof(*beat));
        *beat = (struct beat){ .daemon = guard->daemon, .vm_id = xstrdup(guard->vm_id), .pid = guard->pid };
        daemon_guest_ask(guard->daemon, &question, answered, beat);
}

void daemon_pulse_all(struct daemon *daemon, bool after_gap)
{
        for (struct daemon_guard *guard = daemon->guards; guard; guard = guard->next)
                beat_one(guard, after_gap);
}

static int on_pulse(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *daemon = userdata;
        uint64_t slept_ns;

        (void) usec;
        if (!daemon->guards) {
                daemon->pulse = sd_event_source_disable_unref(source);
                return 0;
        }
        daemon_pulse_all(daemon, daemon_clock_watch_slept(&daemon->clock_watch, &slept_ns));
        (void) sd_event_source_set_time_relative(source, daemon->config.stats_poll_ms * 1000);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

void daemon_pulse_begin(struct daemon_guard *guard)
{
        struct daemon *daemon = guard->daemon;
        uint64_t interval_us = daemon->config.stats_poll_ms * 1000;
        int r = 0;

        daemon_stale_begin(guard);
        daemon_logs_begin(guard);
        if (!daemon->pulse)
                r = sd_event_add_time_relative(daemon->event, &daemon->pulse, CLOCK_MONOTONIC, interval_us,
                                               interval_us / ACCURACY_DIV, on_pulse, daemon);
        if (r < 0)
                log_warn("no timer to look after running vms", "{s:s}", "error", strerror(-r));
}

void daemon_pulse_done(struct daemon *daemon)
{
        daemon->pulse = sd_event_source_disable_unref(daemon->pulse);
}
