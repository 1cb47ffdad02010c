#include "daemon/daemon_stale.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/daemon_vm.h"
#include "daemon/daemon_watch.h"
#include "vmm/client/vmm_client.h"

#define BUSY_DIVISOR 5 /* a fifth of one processor; an idle emulated guest takes a few hundredths */

void daemon_stale_begin(struct daemon_guard *guard)
{
        guard->pulse.last_ms = guard->pulse.used_ms = clock_monotonic_ms();
}

void daemon_stale_touch(struct daemon *daemon, const char *vm_id)
{
        struct daemon_guard *guard = daemon_guard_find(daemon, vm_id);

        if (guard)
                guard->pulse.used_ms = clock_monotonic_ms();
}

bool daemon_stale_take(struct daemon_guard *guard, const struct daemon_stale_sample *sample,
                       uint64_t idle_max_ms)
{
        uint64_t elapsed = sample->now_ms - guard->pulse.last_ms,
                 busy = sample->cpu_ms > guard->pulse.cpu_ms ? sample->cpu_ms - guard->pulse.cpu_ms : 0;

        guard->pulse.last_ms = sample->now_ms;
        guard->pulse.cpu_ms = sample->cpu_ms;
        if (sample->sessions > 0 || sample->connections > 0 || busy > elapsed / BUSY_DIVISOR)
                guard->pulse.used_ms = sample->now_ms;
        return idle_max_ms > 0 && sample->now_ms - guard->pulse.used_ms >= idle_max_ms;
}

void daemon_stale_beat(struct daemon_guard *guard, const json_t *health)
{
        struct daemon_stale_sample sample = { .now_ms = clock_monotonic_ms(),
                                              .sessions = json_u64(health, "sessions", 0),
                                              .connections = json_u64(health, "connections", 0) };
        struct vmm_usage usage;

        if (vmm_usage_read(guard->pid, &usage) < 0)
                return;
        sample.cpu_ms = usage.user_ms + usage.system_ms;
        if (!daemon_stale_take(guard, &sample, guard->daemon->config.auto_stop_ms))
                return;
        log_info("stopping a vm that nobody uses", "{s:s, s:I}", "vm_id", guard->vm_id, "idle_ms",
                 (json_int_t) (sample.now_ms - guard->pulse.used_ms));
        daemon_vm_stop_unasked(guard->daemon, guard->vm_id); /* the guard is gone then */
}
