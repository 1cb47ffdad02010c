#include "vm/vm_stop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "base/text.h"
#include "guest/client/guest_client.h"
#include "vm/vm_clean.h"
#include "vm/vm_ledger.h"
#include "vm/vm_process.h"
#include "vmm/client/vmm_client.h"

#define DEAF_AFTER_MS 2000  /* in all, until one of the two ways has answered (S-175, S-176) */
#define AGENT_MS      1000  /* of these for the first way */
#define SYNC_MS       30000 /* once one has: its disks may be slow, and the sync is what matters */
#define SSH_PORT      22
#define SSH_GREETING  "SSH-2.0-" /* RFC 4253 §4.2 */
#define PAUSED        "Paused"   /* Firecracker's API, InstanceInfo.state */

struct stop {
        const struct vm_spec *spec;        /* borrowed */
        const struct vm_step_watch *watch; /* borrowed */
};

static bool vmm_is_gone(const struct vm_spec *spec)
{
        scoped_free char *api = vm_path_api(spec->runtime);
        scoped_close int pidfd = FD_NONE;
        struct vm_ledger ledger;
        struct err err = { 0 };

        return vm_ledger_read(spec->folder, &ledger, &err) == 0 && !vm_process_is_ours(&ledger, api, &pidfd);
}

/* A guest that does not run cannot sync. */
static void resume_when_paused(const struct vm_spec *spec)
{
        scoped_free char *api = vm_path_api(spec->runtime);
        char id[65], state[16];
        struct err err = { 0 };

        if (vmm_ask(api, id, state, &err) == 0 && strcmp(state, PAUSED) == 0)
                (void) vmm_resume(api, &err);
        if (err.code != 0)
                log_warn("the VMM does not answer", "{s:s, s:s}", "vm_id", spec->id, "error", err.message);
}

/* 0 when the agent answered in time and has synced. */
static int ask_agent(const struct vm_spec *spec, struct err *err)
{
        uint64_t deadline = clock_monotonic_ms() + AGENT_MS;
        scoped_free char *vsock = vm_path_vsock(spec->runtime);
        scoped_close int ping = guest_connect(vsock, AGENT_MS, err);
        scoped_close int order = FD_NONE;
        json_auto_t *health = NULL;
        int r;

        if (ping < 0)
                return ping;
        r = guest_health(ping, (uint64_t) clock_left_ms(deadline), &health, err);
        if (r < 0)
                return r;
        order = guest_connect(vsock, AGENT_MS, err);
        return order < 0 ? order : guest_power_off(order, SYNC_MS, err);
}

/* A port that is open is not enough: a guest that hangs accepts too. */
static int wait_for_greeting(const char *address, uint64_t deadline_ms, struct err *err)
{
        struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(SSH_PORT) };
        scoped_close int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        char greeting[sizeof(SSH_GREETING) - 1];
        int r;

        if (sock < 0 || inet_pton(AF_INET, address, &peer.sin_addr) != 1)
                return err_errno(err, "vm.stop", "a socket to '%s'", address);
        if (connect(sock, (const struct sockaddr *) &peer, sizeof(peer)) < 0 && errno != EINPROGRESS)
                return err_errno(err, "vm.stop", "connect to the sshd of '%s'", address);
        r = fd_wait(sock, POLLIN, clock_left_ms(deadline_ms));
        if (r == 0)
                r = fd_read_until(sock, greeting, sizeof(greeting), deadline_ms);
        if (r == 0 && memcmp(greeting, SSH_GREETING, sizeof(greeting)) != 0)
                r = -EBADMSG;
        return r < 0 ? err_set(err, -r, "vm.stop", "the sshd of '%s' does not greet: %s", address,
                               strerror(-r))
                     : 0;
}

static int ask_sshd(const struct vm_spec *spec, uint64_t deadline_ms, struct err *err)
{
        scoped_free char *target = xasprintf("root@%s", spec->address ? spec->address : "");
        const char *const argv[] = { "ssh",
                                     "-i",
                                     spec->ssh_key_path,
                                     "-F",
                                     "/dev/null",
                                     "-o",
                                     "BatchMode=yes",
                                     "-o",
                                     "IdentitiesOnly=yes",
                                     "-o",
                                     "StrictHostKeyChecking=no", /* it is told to sync, and nothing else */
                                     "-o",
                                     "UserKnownHostsFile=/dev/null",
                                     "-o",
                                     "LogLevel=ERROR",
                                     target,
                                     "sync; systemctl --no-block poweroff || /sbin/poweroff -f &",
                                     NULL };
        int r;

        if (!spec->ssh_key_path || !spec->address)
                return err_set(err, ENOENT, "vm.stop", "no ssh key or no address");
        r = wait_for_greeting(spec->address, deadline_ms, err);
        if (r < 0)
                return r;
        r = spawn_run(argv, SYNC_MS, 65536, NULL, NULL, err);
        return r > 0 ? err_set(err, EIO, "vm.stop", "ssh ended with status %d: %s", r, err->message) : r;
}

static int guest_begin(void *context, struct err *err)
{
        const struct stop *stop = context;
        const struct vm_spec *spec = stop->spec;
        uint64_t deadline = clock_monotonic_ms() + DEAF_AFTER_MS;
        struct err deaf = { 0 }, ssh = { 0 };

        (void) err; /* a guest that is deaf is stopped all the same */
        if (vmm_is_gone(spec))
                return 0;
        resume_when_paused(spec);
        if (ask_agent(spec, &deaf) == 0)
                return 0;
        if (ask_sshd(spec, deadline, &ssh) == 0) {
                log_info("the guest's agent was silent; it was stopped over ssh", "{s:s, s:s}", "vm_id",
                         spec->id, "error", deaf.message);
                return 0;
        }
        log_warn("the guest answered neither its agent nor ssh; what it had not written to its disk is lost",
                 "{s:s, s:s, s:s}", "vm_id", spec->id, "error", deaf.message, "ssh", ssh.message);
        if (stop->watch && stop->watch->warned)
                stop->watch->warned(stop->watch->userdata, "sync",
                                    "the guest did not answer; what it had not written to its disk is lost");
        return 0;
}

static int clean_begin(void *context, struct err *err)
{
        const struct stop *stop = context;

        return vm_clean(stop->spec, err);
}

int vm_stop(const struct vm_spec *spec, const struct vm_step_watch *watch, struct err *err)
{
        static const struct vm_step steps[] = {
                {"sync",   guest_begin, NULL, NULL},
                { "clean", clean_begin, NULL, NULL},
        };
        struct stop stop = { .spec = spec, .watch = watch };

        return vm_steps_run("vm.stop", steps, sizeof(steps) / sizeof(steps[0]), &stop, watch, err);
}
