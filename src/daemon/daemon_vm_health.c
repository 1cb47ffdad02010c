/* vm.ping, vm.health, vm.ports: what a guest answers about itself. */
#include <errno.h>
#include <string.h>

#include "api/api_vm.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/daemon_inquiry.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_vm.h"
#include "daemon/daemon_watch.h"
#include "guest/client/guest_clock.h"

#define PING_MS      2000
#define PORTS_MS     5000
#define SYSTEM_MS    5000 /* systemctl under emulation takes a second */
#define FREE_MIN     20   /* a disk with less than one in so many bytes free is a problem */
#define CLOCK_MAX_NS INT64_C(100000000)
#define NS_PER_MS    1e6

int daemon_vm_need_awake(const struct daemon *daemon, const struct store_vm *vm, const char *op,
                         struct err *err)
{
        const struct daemon_guard *guard = daemon_guard_find(daemon, vm->id);

        if (vm->state != VM_RUNNING)
                return err_set(err, EIO, op, "vm '%s' is not running (%s); 'banger vm start %s' starts it",
                               vm->name, vm_state_name(vm->state), vm->name);
        if (guard && guard->paused)
                return err_set(err, EIO, op, "vm '%s' is paused; 'banger vm resume %s' lets it go on",
                               vm->name, vm->name);
        return 0;
}

/* ---- ping, ports: the guest's word or a failure ---- */

static int64_t round_trip_us(const struct daemon_guest_answer *answer)
{
        return answer->answered_ns > answer->sent_ns
                       ? (int64_t) ((answer->answered_ns - answer->sent_ns) / 1000)
                       : 0;
}

static void fail(struct daemon_inquiry *inquiry, const json_t *about, const struct err *err)
{
        inquiry->failure = *err;
        (void) err_wrap(&inquiry->failure, "vm '%s'", json_text(about, "name"));
}

static void take_ping(struct daemon_inquiry *inquiry, json_t *about, const struct daemon_guest_answer *answer)
{
        if (!answer->json) {
                fail(inquiry, about, answer->err);
                return;
        }
        (void) json_object_set_new(about, "round_trip_us", json_integer(round_trip_us(answer)));
        (void) json_object_set_new(about, "agent_version", json_string(json_text(answer->json, "version")));
}

static void take_ports(struct daemon_inquiry *inquiry, json_t *about,
                       const struct daemon_guest_answer *answer)
{
        if (!answer->json)
                fail(inquiry, about, answer->err);
        else
                (void) json_object_update(about, answer->json);
}

static int ask_awake(struct rpc_call *call, const char *reference,
                     const struct daemon_guest_question *question,
                     void (*take)(struct daemon_inquiry *inquiry, json_t *about,
                                  const struct daemon_guest_answer *answer),
                     struct err *err)
{
        struct daemon *daemon = daemon_of(call);
        scoped(store_vm_done) struct store_vm vm = { 0 };
        struct daemon_guest_question asked = *question;
        struct daemon_inquiry *inquiry;
        int r = store_vm_find(daemon->store, reference, &vm, err);

        if (r == 0)
                r = daemon_vm_need_awake(daemon, &vm, call->method->name, err);
        if (r < 0)
                return r;
        inquiry = daemon_inquiry_new(
                call, json_pack("{s:s, s:s, s:s}", "id", vm.id, "name", vm.name, "address", vm.address));
        asked.vm_id = vm.id;
        daemon_inquiry_ask(inquiry, &asked, inquiry->result, take);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_vm_ping)
{
        static const struct daemon_guest_question question = { .question = GUEST_ASK_HEALTH,
                                                               .timeout_ms = PING_MS };

        (void) ret_result;
        return ask_awake(call, ((const struct vm_ref_params *) params)->vm, &question, take_ping, err);
}

DAEMON_HANDLER(daemon_vm_ports)
{
        static const struct daemon_guest_question question = { .question = GUEST_ASK_PORTS,
                                                               .timeout_ms = PORTS_MS };

        (void) ret_result;
        return ask_awake(call, ((const struct vm_ref_params *) params)->vm, &question, take_ports, err);
}

/* ---- health: problems are part of the answer ---- */

static void add_problem(json_t *about, char *owned_text)
{
        scoped_free char *text = owned_text;

        (void) json_array_append_new(json_object_get(about, "problems"), json_string(text));
}

static void judge_clock(json_t *about, const struct daemon_guest_answer *answer)
{
        struct guest_clock clock;
        struct err err = { 0 };
        int64_t off_by;

        if (guest_clock_of(answer->json, answer->sent_ns, answer->answered_ns, &clock, &err) < 0)
                return;
        (void) json_object_set_new(about, "clock",
                                   json_pack("{s:f, s:f, s:b}", "offset_ms",
                                             (double) clock.offset_ns / NS_PER_MS, "uncertainty_ms",
                                             (double) clock.uncertainty_ns / NS_PER_MS, "ntp",
                                             (int) clock.ntp));
        off_by = clock.offset_ns < 0 ? -clock.offset_ns : clock.offset_ns;
        if (off_by > CLOCK_MAX_NS + (int64_t) clock.uncertainty_ns)
                add_problem(about, xasprintf("the guest's clock is %.1f s off",
                                             (double) clock.offset_ns / NS_PER_MS / 1000));
}

static void judge_disks(json_t *about, const json_t *disks)
{
        const char *mount;
        json_t *disk;

        json_object_foreach ((json_t *) (uintptr_t) disks, mount, disk) {
                uint64_t total = json_u64(disk, "total_bytes", 0), left = json_u64(disk, "free_bytes", 0);

                if (total > 0 && left < total / FREE_MIN)
                        add_problem(about, xasprintf("the guest's '%s' has only %.1f %% free", mount,
                                                     100.0 * (double) left / (double) total));
        }
}

/* systemctl(1), is-system-running. Starting up is no fault, and without systemd there is nobody to ask. */
static void judge_system(json_t *about, const char *system)
{
        static const char *const faults[] = { "degraded", "maintenance", "stopping", "offline", "unknown" };

        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
                if (strcmp(system, faults[i]) == 0)
                        add_problem(about,
                                    xasprintf("systemd in the guest is %s; 'banger vm exec %s -- systemctl "
                                              "--failed' shows more",
                                              system, json_text(about, "name")));
}

static void take_system(struct daemon_inquiry *inquiry, json_t *about,
                        const struct daemon_guest_answer *answer)
{
        const json_t *disks = answer->json ? json_object_get(answer->json, "disks") : NULL;

        (void) inquiry;
        if (!answer->json) {
                add_problem(about, xasprintf("%s", answer->err->message));
                return;
        }
        (void) json_object_set_new(about, "system", json_string(json_text(answer->json, "system")));
        (void) json_object_set(about, "disks", (json_t *) (uintptr_t) disks);
        judge_system(about, json_text(answer->json, "system"));
        judge_disks(about, disks);
}

static void take_health(struct daemon_inquiry *inquiry, json_t *about,
                        const struct daemon_guest_answer *answer)
{
        struct daemon_guest_question question = { .vm_id = json_text(about, "id"),
                                                  .question = GUEST_ASK_SYSTEM,
                                                  .timeout_ms = SYSTEM_MS };
        json_t *agent = json_pack("{s:b}", "answers", answer->json != NULL);

        (void) json_object_set_new(about, "agent", agent);
        if (!answer->json) {
                add_problem(about, xasprintf("%s", answer->err->message));
                return;
        }
        (void) json_object_set_new(agent, "round_trip_us", json_integer(round_trip_us(answer)));
        (void) json_object_set(agent, "version", json_object_get(answer->json, "version"));
        (void) json_object_set(about, "uptime_s", json_object_get(answer->json, "uptime_s"));
        (void) json_object_set(about, "sessions", json_object_get(answer->json, "sessions"));
        (void) json_object_set(about, "connections", json_object_get(answer->json, "connections"));
        judge_clock(about, answer);
        daemon_inquiry_ask(inquiry, &question, about, take_system);
}

static void conclude(struct daemon_inquiry *inquiry)
{
        (void) json_object_set_new(
                inquiry->result, "healthy",
                json_boolean(json_array_size(json_object_get(inquiry->result, "problems")) == 0));
}

DAEMON_HANDLER(daemon_vm_health)
{
        const struct vm_ref_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(store_vm_done) struct store_vm vm = { 0 };
        struct daemon_guest_question question = { .question = GUEST_ASK_HEALTH, .timeout_ms = PING_MS };
        struct daemon_inquiry *inquiry;
        struct err asleep = { 0 };
        int r = store_vm_find(daemon->store, p->vm, &vm, err);

        (void) ret_result;
        if (r < 0)
                return r;
        inquiry = daemon_inquiry_new(call, json_pack("{s:s, s:s, s:s, s:b, s:[], s:{s:b}}", "id", vm.id,
                                                     "name", vm.name, "state", daemon_vm_state(daemon, &vm),
                                                     "healthy", 0, "problems", "vmm", "alive",
                                                     daemon_guard_signal(daemon, vm.id, 0) == 0));
        inquiry->complete = conclude;
        question.vm_id = vm.id;
        if (daemon_vm_need_awake(daemon, &vm, "vm.health", &asleep) < 0)
                add_problem(inquiry->result, xstrdup(asleep.message));
        else
                daemon_inquiry_ask(inquiry, &question, inquiry->result, take_health);
        daemon_inquiry_settle(inquiry);
        return RPC_LATER;
}
