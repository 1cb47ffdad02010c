/*
 * vm.stats, vm.top: what VMs use. The host's numbers are read here, in the loop, from files of the kernel that never wait;
 * the guest's are its own word.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/daemon_inquiry.h"
#include "daemon/daemon_objects.h"
#include "daemon/daemon_watch.h"
#include "vm/vm_ledger.h"
#include "vm/vm_spec.h"
#include "vmm/client/vmm_client.h"

#define ANSWER_MS  2000 /* of a guest, or its numbers are left out */
#define NUMBER_MAX 64   /* bytes of a file of one number */

static json_t *process_numbers(const struct daemon_guard *guard)
{
        struct vmm_usage usage;

        if (!guard || vmm_usage_read(guard->pid, &usage) < 0)
                return json_null();
        return json_pack("{s:i, s:I, s:I, s:I}", "pid", (int) guard->pid, "cpu_user_ms",
                         (json_int_t) usage.user_ms, "cpu_system_ms", (json_int_t) usage.system_ms,
                         "resident_bytes", (json_int_t) usage.resident_bytes);
}

/* What the file promises, and what it takes on the host. */
static json_t *disk_numbers(char *owned_path)
{
        scoped_free char *path = owned_path;
        struct stat st;

        if (stat(path, &st) < 0)
                return json_null();
        return json_pack("{s:I, s:I}", "apparent_bytes", (json_int_t) st.st_size, "real_bytes",
                         (json_int_t) st.st_blocks * 512);
}

static json_int_t link_number(const char *tap, const char *name)
{
        scoped_free char *path = xasprintf("/sys/class/net/%s/statistics/%s", tap, name), *text = NULL;
        struct err err = { 0 };

        return file_read(path, NUMBER_MAX, &text, NULL, &err) < 0 ? 0 : strtoll(text, NULL, 10);
}

/* The tap counts from the host's side: what it received, the guest sent. */
static json_t *network_numbers(const char *folder)
{
        struct vm_ledger ledger = { 0 };
        struct err err = { 0 };
        json_int_t dropped;

        if (vm_ledger_read(folder, &ledger, &err) < 0 || ledger.tap[0] == '\0')
                return json_null();
        dropped = link_number(ledger.tap, "rx_dropped") + link_number(ledger.tap, "tx_dropped");
        return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "tap", ledger.tap, "sent_bytes",
                         link_number(ledger.tap, "rx_bytes"), "received_bytes",
                         link_number(ledger.tap, "tx_bytes"), "sent_packets",
                         link_number(ledger.tap, "rx_packets"), "received_packets",
                         link_number(ledger.tap, "tx_packets"), "dropped_packets", dropped);
}

static json_t *host_numbers(const struct daemon *daemon, const struct store_vm *vm)
{
        scoped_free char *folder = layout_join(daemon->vms_folder, vm->id, NULL);
        const struct vm_spec spec = { .folder = folder };
        const struct daemon_guard *guard = daemon_guard_find(daemon, vm->id);
        json_t *numbers;

        numbers = json_pack("{s:s, s:s, s:s, s:i, s:I}", "id", vm->id, "name", vm->name, "state",
                            daemon_vm_state(daemon, vm), "vcpu", (int) vm->vcpu, "memory_bytes",
                            (json_int_t) vm->memory_mib << 20);
        (void) json_object_set_new(numbers, "sampled_ms", json_integer((json_int_t) clock_monotonic_ms()));
        (void) json_object_set_new(numbers, "vmm", process_numbers(guard));
        (void) json_object_set_new(numbers, "disks",
                                   json_pack("{s:o, s:o}", "root", disk_numbers(vm_path_rootfs(&spec)),
                                             "work", disk_numbers(vm_path_work_disk(&spec))));
        (void) json_object_set_new(numbers, "network", guard ? network_numbers(folder) : json_null());
        (void) json_object_set_new(numbers, "guest", json_null());
        return numbers;
}

static void take_guest(struct daemon_inquiry *inquiry, json_t *about,
                       const struct daemon_guest_answer *answer)
{
        (void) inquiry;
        if (answer->json)
                (void) json_object_set(about, "guest", answer->json);
        else
                (void) json_object_set_new(about, "guest_error", json_string(answer->err->message));
}

/* A paused guest is not asked: it cannot answer. */
static void ask_guest(struct daemon_inquiry *inquiry, const char *vm_id, json_t *numbers)
{
        const struct daemon_guard *guard = daemon_guard_find(inquiry->daemon, vm_id);
        const struct daemon_guest_question question = { .vm_id = vm_id,
                                                        .question = GUEST_ASK_STATS,
                                                        .timeout_ms = ANSWER_MS };

        if (guard && !guard->paused)
                daemon_inquiry_ask(inquiry, &question, numbers, take_guest);
}

DAEMON_HANDLER(daemon_vm_stats)
{
        const struct vm_ref_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped(store_vm_done) struct store_vm vm = { 0 };
        struct daemon_inquiry *inquiry;
        int r = store_vm_find(daemon->store, p->vm, &vm, err);

        (void) ret_result;
        if (r < 0)
                return r;
        inquiry = daemon_inquiry_new(call, host_numbers(daemon, &vm));
        ask_guest(inquiry, vm.id, inquiry->result);
        daemon_inquiry_settle(inquiry);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_vm_top)
{
        struct daemon *daemon = daemon_of(call);
        json_t *array = json_array();
        struct daemon_inquiry *inquiry;
        struct store_vm *vms = NULL;
        unsigned n = 0;
        int r = store_vm_list(daemon->store, &vms, &n, err);

        (void) params;
        (void) ret_result;
        if (r < 0) {
                json_decref(array);
                return r;
        }
        inquiry = daemon_inquiry_new(call, json_pack("{s:o}", "vms", array));
        for (unsigned i = 0; i < n; i++) {
                if (vms[i].state == VM_RUNNING) {
                        json_t *numbers = host_numbers(daemon, &vms[i]);

                        (void) json_array_append_new(array, numbers);
                        ask_guest(inquiry, vms[i].id, numbers);
                }
                store_vm_done(&vms[i]);
        }
        free(vms);
        daemon_inquiry_settle(inquiry);
        return RPC_LATER;
}
