/*
 * vmm/contract: Firecracker's HTTP API as data. It owns the shape of every body (which fields, of which type, required
 * or not), the table of endpoints, and the one decoder that both follow from. It opens nothing and keeps nothing.
 *
 * Names, order of fields and Rust type names are those of Firecracker 1.14.1, because its error texts quote them and
 * clients match on them ("unknown field `x`, expected one of `a`, `b`").
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version whose API is served. */
#define VMM_API_VERSION "1.14.1"

enum vmm_field_kind {
        VMM_FIELD_BOOL,   /* bool */
        VMM_FIELD_NUMBER, /* uint64_t, whatever the width in the API */
        VMM_FIELD_TEXT,   /* const char *, borrowed from the document */
        VMM_FIELD_CHOICE, /* unsigned: the index in `variants` */
        VMM_FIELD_OBJECT, /* the struct of `shape`, embedded */
        VMM_FIELD_NAMES,  /* json_t *: a list of strings, borrowed from the document */
        VMM_N_FIELD_KINDS
};

struct vmm_shape;

struct vmm_field {
        const char *name;
        size_t offset;
        enum vmm_field_kind kind;
        bool required;
        bool nullable;     /* an Option<> in Firecracker: may be null, is answered as null when absent */
        bool any_case;     /* CHOICE: case is ignored on input (logger levels) */
        const char *type;  /* NUMBER: "u8"; else what serde would say it expected */
        uint64_t max;      /* NUMBER */
        uint64_t fallback; /* NUMBER, BOOL, CHOICE: value when absent */
        const char *const *variants; /* CHOICE: names, NULL-terminated */
        const struct vmm_shape *shape;
};

/* Every described struct begins with `uint32_t given`: bit i is set when field i was present and not null. */
struct vmm_shape {
        const char *name; /* the Rust name */
        size_t size;
        const struct vmm_field *fields; /* ended by a NULL name */
        bool ignores_unknown;
};

/* True when the field at this offset was given. */
bool vmm_field_is_given(const struct vmm_shape *shape, const void *body, size_t offset);
#define vmm_given(shape, body, member) vmm_field_is_given((shape), (body), offsetof(typeof(*(body)), member))

struct vmm_token_bucket {
        uint32_t given;
        uint64_t size, one_time_burst, refill_time; /* bytes or operations; refill in ms */
};

struct vmm_rate_limiter {
        uint32_t given;
        struct vmm_token_bucket bandwidth, ops;
};

struct vmm_boot_source {
        uint32_t given;
        const char *kernel_image_path, *initrd_path, *boot_args;
};

enum vmm_cache_type {
        VMM_CACHE_UNSAFE,
        VMM_CACHE_WRITEBACK
};

struct vmm_drive_body {
        uint32_t given;
        const char *drive_id, *partuuid, *path_on_host, *socket;
        bool is_root_device, is_read_only;
        unsigned cache_type, io_engine; /* enum vmm_cache_type; 0 Sync, 1 Async */
        struct vmm_rate_limiter rate_limiter;
};

struct vmm_drive_update {
        uint32_t given;
        const char *drive_id, *path_on_host;
        struct vmm_rate_limiter rate_limiter;
};

struct vmm_interface {
        uint32_t given;
        const char *iface_id, *host_dev_name, *guest_mac;
        struct vmm_rate_limiter rx_rate_limiter, tx_rate_limiter;
};

struct vmm_interface_update {
        uint32_t given;
        const char *iface_id;
        struct vmm_rate_limiter rx_rate_limiter, tx_rate_limiter;
};

enum vmm_huge_pages {
        VMM_HUGE_PAGES_NONE,
        VMM_HUGE_PAGES_2M
};

struct vmm_machine_config {
        uint32_t given;
        uint64_t vcpu_count, mem_size_mib;
        bool smt, track_dirty_pages;
        unsigned cpu_template, huge_pages;
};

struct vmm_vsock {
        uint32_t given;
        const char *vsock_id, *uds_path;
        uint64_t guest_cid;
};

struct vmm_entropy {
        uint32_t given;
        struct vmm_rate_limiter rate_limiter;
};

struct vmm_balloon {
        uint32_t given;
        uint64_t amount_mib, stats_polling_interval_s;
        bool deflate_on_oom, free_page_hinting, free_page_reporting;
};

struct vmm_balloon_update {
        uint32_t given;
        uint64_t amount_mib;
};

struct vmm_balloon_stats_update {
        uint32_t given;
        uint64_t stats_polling_interval_s;
};

struct vmm_logger {
        uint32_t given;
        const char *log_path, *module;
        unsigned level;
        bool show_level, show_log_origin;
};

struct vmm_metrics {
        uint32_t given;
        const char *metrics_path;
};

struct vmm_serial {
        uint32_t given;
        const char *serial_out_path;
};

struct vmm_mmds_config {
        uint32_t given;
        unsigned version; /* 0 V1, 1 V2 */
        json_t *network_interfaces;
        const char *ipv4_address;
        bool imds_compat;
};

enum vmm_action_type {
        VMM_ACTION_FLUSH_METRICS,
        VMM_ACTION_INSTANCE_START,
        VMM_ACTION_SEND_CTRL_ALT_DEL
};

struct vmm_action {
        uint32_t given;
        unsigned action_type;
};

enum vmm_vm_state {
        VMM_VM_PAUSED,
        VMM_VM_RESUMED
};

struct vmm_vm {
        uint32_t given;
        unsigned state;
};

extern const struct vmm_shape vmm_shape_token_bucket, vmm_shape_rate_limiter, vmm_shape_boot_source,
        vmm_shape_drive, vmm_shape_drive_update, vmm_shape_interface, vmm_shape_interface_update,
        vmm_shape_machine_config, vmm_shape_vsock, vmm_shape_entropy, vmm_shape_balloon,
        vmm_shape_balloon_update, vmm_shape_balloon_stats_update, vmm_shape_logger, vmm_shape_metrics,
        vmm_shape_serial, vmm_shape_mmds_config, vmm_shape_action, vmm_shape_vm;

extern const char *const vmm_log_levels[]; /* "Off", "Trace", "Debug", "Info", "Warn", "Error" */
enum vmm_log_level {
        VMM_LOG_OFF,
        VMM_LOG_TRACE,
        VMM_LOG_DEBUG,
        VMM_LOG_INFO,
        VMM_LOG_WARN,
        VMM_LOG_WARNING, /* a second spelling of Warn */
        VMM_LOG_ERROR,
        VMM_N_LOG_LEVELS
};

/* Every field in order, absent options as null: how GET answers (a new reference). */
json_t *vmm_encode(const struct vmm_shape *shape, const void *body);
