/* What is said to a VMM before and after its start: Firecracker's API, in Firecracker's order. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "vmm/client/vmm_client.h"
#include "vmm/client/vmm_http.h"
#include "vmm/client/vmm_process.h"

#define REQUEST_TIMEOUT_MS 10000
#define ASK_TIMEOUT_MS     500 /* it looks at two variables; one that hangs is not waited for */
/* InstanceStart loads the kernel and, under QEMU, starts a process. */
#define START_TIMEOUT_MS 60000
#define REFILL_MS        1000
#define INTERFACE_ID     "eth0"
/* PUT /serial came with 1.14; before, the console is standard output. */
static const struct vmm_version serial_since = { 1, 14, 0 };

bool vmm_has_serial(const struct vmm *vmm)
{
        struct vmm_version version;
        scoped_free char *line = xasprintf("Firecracker v%s", vmm->version);
        struct err ignored = { 0 };

        if (vmm->kind == VMM_QEMU)
                return true;
        return vmm_version_parse(line, &version, &ignored) == 0 &&
               vmm_version_compare(&version, &serial_since) >= 0;
}

static int put(struct vmm_http *http, const char *path, json_t *owned_body, struct err *err)
{
        json_auto_t *body = owned_body;
        const struct vmm_http_request request = { "PUT", path, body, REQUEST_TIMEOUT_MS };

        return vmm_http_ask(http, &request, NULL, err);
}

static int put_machine(struct vmm_http *http, const struct vmm_machine *machine, struct err *err)
{
        return put(http, "/machine-config",
                   json_pack("{s:I, s:I}", "vcpu_count", (json_int_t) machine->vcpu, "mem_size_mib",
                             (json_int_t) machine->memory_mib),
                   err);
}

static int put_boot_source(struct vmm_http *http, const struct vmm_machine *machine, struct err *err)
{
        return put(http, "/boot-source",
                   json_pack("{s:s, s:s*, s:s*}", "kernel_image_path", machine->kernel_path, "initrd_path",
                             machine->initrd_path, "boot_args", machine->boot_args),
                   err);
}

/* Firecracker answers an id with anything else in it with 400; ids are ours, so this is a mistake of the caller. */
static bool is_device_id(const char *id)
{
        if (*id == '\0')
                return false;
        for (; *id != '\0'; id++)
                if (!isalnum((unsigned char) *id) && *id != '_')
                        return false;
        return true;
}

/* A bucket that holds a second's worth and is filled again in a second; NULL without a limit. */
static json_t *bucket(uint64_t a_second)
{
        return a_second > 0 ? json_pack("{s:I, s:I}", "size", (json_int_t) a_second, "refill_time",
                                        (json_int_t) REFILL_MS)
                            : NULL;
}

static json_t *rate_limiter(const struct vmm_limit *limit)
{
        if (limit->bytes == 0 && limit->operations == 0)
                return NULL;
        return json_pack("{s:o*, s:o*}", "bandwidth", bucket(limit->bytes), "ops", bucket(limit->operations));
}

/*
 * Writeback offers the guest a flush, so that its sync reaches the file and not only our page cache (S-030). A root
 * disk is thrown away with its VM and need not outlive a crash of the host.
 */
static int put_drive(struct vmm_http *http, const struct vmm_drive *drive, struct err *err)
{
        scoped_free char *path = xasprintf("/drives/%s", drive->id);
        bool durable = !drive->is_root && !drive->read_only;

        assert(is_device_id(drive->id));
        return put(http, path,
                   json_pack("{s:s, s:s, s:b, s:b, s:s, s:o*}", "drive_id", drive->id, "path_on_host",
                             drive->path, "is_root_device", drive->is_root, "is_read_only", drive->read_only,
                             "cache_type", durable ? "Writeback" : "Unsafe", "rate_limiter",
                             rate_limiter(&drive->limit)),
                   err);
}

static int put_drives(struct vmm_http *http, const struct vmm_machine *machine, struct err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < machine->n_drives; i++)
                r = put_drive(http, &machine->drives[i], err);
        return r;
}

static int put_network(struct vmm_http *http, const struct vmm_machine *machine, struct err *err)
{
        const struct vmm_limit limit = { .bytes = machine->net_bytes };

        if (!machine->tap)
                return 0;
        return put(http, "/network-interfaces/" INTERFACE_ID,
                   json_pack("{s:s, s:s, s:s*, s:o*, s:o*}", "iface_id", INTERFACE_ID, "host_dev_name",
                             machine->tap, "guest_mac", machine->mac, "rx_rate_limiter", rate_limiter(&limit),
                             "tx_rate_limiter", rate_limiter(&limit)),
                   err);
}

static int put_vsock(struct vmm_http *http, const struct vmm_machine *machine, struct err *err)
{
        if (!machine->vsock_path)
                return 0;
        return put(http, "/vsock",
                   json_pack("{s:I, s:s}", "guest_cid", (json_int_t) machine->guest_cid, "uds_path",
                             machine->vsock_path),
                   err);
}

/* A guest without a source of entropy waits for one at its first key. Every version we accept has it (1.4). */
static int put_entropy(struct vmm_http *http, const struct vmm_machine *machine, struct err *err)
{
        (void) machine;
        return put(http, "/entropy", json_object(), err);
}

static int put_serial(struct vmm_http *http, const struct vmm_machine *machine, struct err *err)
{
        return put(http, "/serial", json_pack("{s:s}", "serial_out_path", machine->console_path), err);
}

int vmm_configure(const struct vmm *vmm, const struct vmm_machine *machine, struct err *err)
{
        static int (*const parts[])(struct vmm_http * http, const struct vmm_machine *machine,
                                    struct err *err) = {
                put_machine, put_boot_source, put_drives, put_network, put_vsock, put_entropy,
        };
        scoped(vmm_http_done) struct vmm_http http = { machine->api_path, FD_NONE };
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
                r = parts[i](&http, machine, err);
        if (r == 0 && machine->console_path && vmm_has_serial(vmm))
                r = put_serial(&http, machine, err);
        return r;
}

static int say(const char *api_path, const char *method, const char *path, json_t *owned_body,
               struct err *err)
{
        json_auto_t *body = owned_body;
        const struct vmm_http_request request = { method, path, body, START_TIMEOUT_MS };
        scoped(vmm_http_done) struct vmm_http http = { api_path, FD_NONE };

        return vmm_http_ask(&http, &request, NULL, err);
}

int vmm_start(const char *api_path, struct err *err)
{
        return say(api_path, "PUT", "/actions", json_pack("{s:s}", "action_type", "InstanceStart"), err);
}

int vmm_pause(const char *api_path, struct err *err)
{
        return say(api_path, "PATCH", "/vm", json_pack("{s:s}", "state", "Paused"), err);
}

int vmm_resume(const char *api_path, struct err *err)
{
        return say(api_path, "PATCH", "/vm", json_pack("{s:s}", "state", "Resumed"), err);
}

/* A bucket of nothing is Firecracker's word for none (vmm/src/vmm_config/mod.rs, RateLimiterUpdate). */
static json_t *new_bucket(uint64_t a_second)
{
        return a_second > 0 ? bucket(a_second) : json_pack("{s:i, s:i}", "size", 0, "refill_time", 0);
}

static json_t *new_rate_limiter(const struct vmm_limit *limit)
{
        return json_pack("{s:o, s:o}", "bandwidth", new_bucket(limit->bytes), "ops",
                         new_bucket(limit->operations));
}

int vmm_limit_drive(const char *api_path, const char *drive_id, const struct vmm_limit *limit,
                    struct err *err)
{
        scoped_free char *path = xasprintf("/drives/%s", drive_id);

        assert(is_device_id(drive_id));
        return say(api_path, "PATCH", path,
                   json_pack("{s:s, s:o}", "drive_id", drive_id, "rate_limiter", new_rate_limiter(limit)),
                   err);
}

int vmm_limit_network(const char *api_path, uint64_t net_bytes, struct err *err)
{
        const struct vmm_limit limit = { .bytes = net_bytes };

        return say(api_path, "PATCH", "/network-interfaces/" INTERFACE_ID,
                   json_pack("{s:s, s:o, s:o}", "iface_id", INTERFACE_ID, "rx_rate_limiter",
                             new_rate_limiter(&limit), "tx_rate_limiter", new_rate_limiter(&limit)),
                   err);
}

int vmm_ask(const char *api_path, char ret_id[65], char ret_state[16], struct err *err)
{
        static const struct vmm_http_request request = { "GET", "/", NULL, ASK_TIMEOUT_MS };
        scoped(vmm_http_done) struct vmm_http http = { api_path, FD_NONE };
        json_auto_t *reply = NULL;
        int r = vmm_http_ask(&http, &request, &reply, err);

        if (r < 0)
                return r;
        if (strlen(json_text(reply, "id")) > 64 || strlen(json_text(reply, "state")) > 15)
                return err_set(err, EBADMSG, "vmm.ask",
                               "the VMM at '%s' answers with an id or a state that is none", api_path);
        (void) snprintf(ret_id, 65, "%s", json_text(reply, "id"));
        (void) snprintf(ret_state, 16, "%s", json_text(reply, "state"));
        return 0;
}
