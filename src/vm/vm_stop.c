#include "vm/vm_stop.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "base/text.h"
#include "guest/client/guest_client.h"
#include "vm/vm_clean.h"

#define DEAF_AFTER_MS 2000  /* in all, both ways (S-175, S-176) */
#define AGENT_MS      1000  /* of these for the first way */
#define SYNC_MS       30000 /* once it has answered: its disks may be slow, and the sync is what matters */

/* 0 when the agent answered in time and has synced. */
static int ask_agent(const struct vm_spec *spec, struct err *err)
{
        scoped_free char *vsock = vm_path_vsock(spec->runtime);
        scoped_close int ping = guest_connect(vsock, AGENT_MS / 2, err);
        scoped_close int order = FD_NONE;
        json_auto_t *health = NULL;
        int r;

        if (ping < 0)
                return ping;
        r = guest_health(ping, AGENT_MS / 2, &health, err);
        if (r < 0)
                return r;
        order = guest_connect(vsock, AGENT_MS / 2, err);
        if (order < 0)
                return order;
        return guest_power_off(order, SYNC_MS, err);
}

static void ask_sshd(const struct vm_spec *spec, uint64_t deadline_ms, struct err *err)
{
        scoped_free char *target = xasprintf("root@%s", spec->address);
        const char *const argv[] = { "ssh",
                                     "-i",
                                     spec->ssh_key_path,
                                     "-F",
                                     "/dev/null",
                                     "-o",
                                     "BatchMode=yes",
                                     "-o",
                                     "ConnectTimeout=1",
                                     "-o",
                                     "StrictHostKeyChecking=no",
                                     "-o",
                                     "UserKnownHostsFile=/dev/null",
                                     target,
                                     "sync; systemctl --no-block poweroff || /sbin/poweroff -f &",
                                     NULL };
        int left = clock_left_ms(deadline_ms);

        if (left > 0 && spec->ssh_key_path && spec->address)
                (void) spawn_run(argv, (uint64_t) left, 65536, NULL, NULL, err);
}

static int guest_begin(void *context, struct err *err)
{
        const struct vm_spec *spec = context;
        uint64_t deadline = clock_monotonic_ms() + DEAF_AFTER_MS;
        struct err deaf = { 0 };

        (void) err;
        if (ask_agent(spec, &deaf) < 0) {
                struct err ssh = { 0 };

                ask_sshd(spec, deadline, &ssh);
                log_warn("the guest's agent did not answer; what it had not written to its disk may be lost",
                         "{s:s, s:s, s:s}", "vm_id", spec->id, "error", deaf.message, "ssh", ssh.message);
        }
        return 0;
}

static int clean_begin(void *context, struct err *err)
{
        const struct vm_spec *spec = context;

        return vm_clean(spec, err);
}

int vm_stop(const struct vm_spec *spec, const struct vm_step_watch *watch, struct err *err)
{
        static const struct vm_step steps[] = {
                {"sync",   guest_begin, NULL},
                { "clean", clean_begin, NULL},
        };

        return vm_steps_run("vm.stop", steps, sizeof(steps) / sizeof(steps[0]), (void *) (uintptr_t) spec,
                            watch, err);
}
