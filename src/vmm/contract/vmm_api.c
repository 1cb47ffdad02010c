#include "vmm/contract/vmm_api.h"

#include <assert.h>
#include <string.h>

/* A field is a line: the member's name is the API's name. What follows are designated initializers. */
#define FIELD(c_type, member, ...)                                               \
        {                                                                        \
                .name = #member, .offset = offsetof(c_type, member), __VA_ARGS__ \
        }
#define FLAG(c_type, member, ...) \
        FIELD(c_type, member, .kind = VMM_FIELD_BOOL, .type = "a boolean", __VA_ARGS__)
#define TEXT(c_type, member, ...) \
        FIELD(c_type, member, .kind = VMM_FIELD_TEXT, .type = "a string", __VA_ARGS__)
#define PATH(c_type, member, ...) \
        FIELD(c_type, member, .kind = VMM_FIELD_TEXT, .type = "path string", __VA_ARGS__)
#define NUMBER(c_type, member, rust, top, ...) \
        FIELD(c_type, member, .kind = VMM_FIELD_NUMBER, .type = (rust), .max = (top), __VA_ARGS__)
#define CHOICE(c_type, member, names, ...)                                                            \
        FIELD(c_type, member, .kind = VMM_FIELD_CHOICE, .type = "string or map", .variants = (names), \
              __VA_ARGS__)
#define OBJECT(c_type, member, inner) \
        FIELD(c_type, member, .kind = VMM_FIELD_OBJECT, .nullable = true, .shape = &(inner))
#define END          \
        {            \
                NULL \
        }
#define SHAPE(variable, rust_name, type, table, ...)                                      \
        const struct vmm_shape variable = {                                               \
                .name = (rust_name), .size = sizeof(type), .fields = (table), __VA_ARGS__ \
        };                                                                                \
        static_assert(offsetof(type, given) == 0, "given comes first");                   \
        static_assert(sizeof(table) / sizeof((table)[0]) <= 32, "a bit for every field")

static const char *const cache_types[] = { "Unsafe", "Writeback", NULL };
static const char *const io_engines[] = { "Async", "Sync", NULL };
static const char *const cpu_templates[] = { "C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None", NULL };
static const char *const huge_pages[] = { "None", "2M", NULL };
static const char *const mmds_versions[] = { "V1", "V2", NULL };
static const char *const action_types[] = { "FlushMetrics", "InstanceStart", "SendCtrlAltDel", NULL };
static const char *const vm_states[] = { "Paused", "Resumed", NULL };
const char *const vmm_log_levels[] = { "Off", "Trace", "Debug", "Info", "Warn", "Warning", "Error", NULL };
static_assert(sizeof(vmm_log_levels) / sizeof(vmm_log_levels[0]) == VMM_N_LOG_LEVELS + 1,
              "a name for every level");

static const struct vmm_field token_bucket_fields[] = {
        NUMBER(struct vmm_token_bucket, size, "u64", UINT64_MAX, .required = true),
        NUMBER(struct vmm_token_bucket, one_time_burst, "u64", UINT64_MAX, .nullable = true),
        NUMBER(struct vmm_token_bucket, refill_time, "u64", UINT64_MAX, .required = true),
        END,
};
SHAPE(vmm_shape_token_bucket, "TokenBucketConfig", struct vmm_token_bucket, token_bucket_fields,
      .ignores_unknown = true);

static const struct vmm_field rate_limiter_fields[] = {
        OBJECT(struct vmm_rate_limiter, bandwidth, vmm_shape_token_bucket),
        OBJECT(struct vmm_rate_limiter, ops, vmm_shape_token_bucket),
        END,
};
SHAPE(vmm_shape_rate_limiter, "RateLimiterConfig", struct vmm_rate_limiter, rate_limiter_fields);

static const struct vmm_field boot_source_fields[] = {
        TEXT(struct vmm_boot_source, kernel_image_path, .required = true),
        TEXT(struct vmm_boot_source, initrd_path, .nullable = true),
        TEXT(struct vmm_boot_source, boot_args, .nullable = true),
        END,
};
SHAPE(vmm_shape_boot_source, "BootSourceConfig", struct vmm_boot_source, boot_source_fields);

static const struct vmm_field drive_fields[] = {
        TEXT(struct vmm_drive_body, drive_id, .required = true),
        TEXT(struct vmm_drive_body, partuuid, .nullable = true),
        FLAG(struct vmm_drive_body, is_root_device, .required = true),
        CHOICE(struct vmm_drive_body, cache_type, cache_types, .fallback = VMM_CACHE_UNSAFE),
        FLAG(struct vmm_drive_body, is_read_only, .nullable = true),
        TEXT(struct vmm_drive_body, path_on_host, .nullable = true),
        OBJECT(struct vmm_drive_body, rate_limiter, vmm_shape_rate_limiter),
        CHOICE(struct vmm_drive_body, io_engine, io_engines, .nullable = true, .fallback = 1),
        TEXT(struct vmm_drive_body, socket, .nullable = true),
        END,
};
SHAPE(vmm_shape_drive, "BlockDeviceConfig", struct vmm_drive_body, drive_fields);

static const struct vmm_field drive_update_fields[] = {
        TEXT(struct vmm_drive_update, drive_id, .required = true),
        TEXT(struct vmm_drive_update, path_on_host, .nullable = true),
        OBJECT(struct vmm_drive_update, rate_limiter, vmm_shape_rate_limiter),
        END,
};
SHAPE(vmm_shape_drive_update, "BlockDeviceUpdateConfig", struct vmm_drive_update, drive_update_fields);

static const struct vmm_field interface_fields[] = {
        TEXT(struct vmm_interface, iface_id, .required = true),
        TEXT(struct vmm_interface, host_dev_name, .required = true),
        TEXT(struct vmm_interface, guest_mac, .nullable = true),
        OBJECT(struct vmm_interface, rx_rate_limiter, vmm_shape_rate_limiter),
        OBJECT(struct vmm_interface, tx_rate_limiter, vmm_shape_rate_limiter),
        END,
};
SHAPE(vmm_shape_interface, "NetworkInterfaceConfig", struct vmm_interface, interface_fields);

static const struct vmm_field interface_update_fields[] = {
        TEXT(struct vmm_interface_update, iface_id, .required = true),
        OBJECT(struct vmm_interface_update, rx_rate_limiter, vmm_shape_rate_limiter),
        OBJECT(struct vmm_interface_update, tx_rate_limiter, vmm_shape_rate_limiter),
        END,
};
SHAPE(vmm_shape_interface_update, "NetworkInterfaceUpdateConfig", struct vmm_interface_update,
      interface_update_fields);

/* `required` is not set: PATCH shares the shape; PUT asks for the first two itself. */
static const struct vmm_field machine_config_fields[] = {
        NUMBER(struct vmm_machine_config, vcpu_count, "u8", UINT8_MAX, .fallback = 1),
        NUMBER(struct vmm_machine_config, mem_size_mib, "usize", UINT64_MAX, .fallback = 128),
        FLAG(struct vmm_machine_config, smt),
        CHOICE(struct vmm_machine_config, cpu_template, cpu_templates, .nullable = true),
        FLAG(struct vmm_machine_config, track_dirty_pages),
        CHOICE(struct vmm_machine_config, huge_pages, huge_pages),
        END,
};
SHAPE(vmm_shape_machine_config, "MachineConfig", struct vmm_machine_config, machine_config_fields);

static const struct vmm_field vsock_fields[] = {
        TEXT(struct vmm_vsock, vsock_id, .nullable = true),
        NUMBER(struct vmm_vsock, guest_cid, "u32", UINT32_MAX, .required = true),
        TEXT(struct vmm_vsock, uds_path, .required = true),
        END,
};
SHAPE(vmm_shape_vsock, "VsockDeviceConfig", struct vmm_vsock, vsock_fields);

static const struct vmm_field entropy_fields[] = {
        OBJECT(struct vmm_entropy, rate_limiter, vmm_shape_rate_limiter),
        END,
};
SHAPE(vmm_shape_entropy, "EntropyDeviceConfig", struct vmm_entropy, entropy_fields);

static const struct vmm_field balloon_fields[] = {
        NUMBER(struct vmm_balloon, amount_mib, "u32", UINT32_MAX, .required = true),
        FLAG(struct vmm_balloon, deflate_on_oom, .required = true),
        NUMBER(struct vmm_balloon, stats_polling_interval_s, "u16", UINT16_MAX),
        FLAG(struct vmm_balloon, free_page_hinting),
        FLAG(struct vmm_balloon, free_page_reporting),
        END,
};
SHAPE(vmm_shape_balloon, "BalloonDeviceConfig", struct vmm_balloon, balloon_fields);

static const struct vmm_field balloon_update_fields[] = {
        NUMBER(struct vmm_balloon_update, amount_mib, "u32", UINT32_MAX, .required = true),
        END,
};
SHAPE(vmm_shape_balloon_update, "BalloonUpdateConfig", struct vmm_balloon_update, balloon_update_fields);

static const struct vmm_field balloon_stats_update_fields[] = {
        NUMBER(struct vmm_balloon_stats_update, stats_polling_interval_s, "u16", UINT16_MAX,
               .required = true),
        END,
};
SHAPE(vmm_shape_balloon_stats_update, "BalloonUpdateStatsConfig", struct vmm_balloon_stats_update,
      balloon_stats_update_fields);

static const struct vmm_field logger_fields[] = {
        PATH(struct vmm_logger, log_path, .nullable = true),
        CHOICE(struct vmm_logger, level, vmm_log_levels, .nullable = true, .any_case = true,
               .fallback = VMM_LOG_INFO),
        FLAG(struct vmm_logger, show_level, .nullable = true),
        FLAG(struct vmm_logger, show_log_origin, .nullable = true),
        TEXT(struct vmm_logger, module, .nullable = true),
        END,
};
SHAPE(vmm_shape_logger, "LoggerConfig", struct vmm_logger, logger_fields);

static const struct vmm_field metrics_fields[] = {
        PATH(struct vmm_metrics, metrics_path, .required = true),
        END,
};
SHAPE(vmm_shape_metrics, "MetricsConfig", struct vmm_metrics, metrics_fields, .ignores_unknown = true);

static const struct vmm_field serial_fields[] = {
        PATH(struct vmm_serial, serial_out_path, .nullable = true),
        END,
};
SHAPE(vmm_shape_serial, "SerialConfig", struct vmm_serial, serial_fields);

static const struct vmm_field mmds_config_fields[] = {
        CHOICE(struct vmm_mmds_config, version, mmds_versions),
        FIELD(struct vmm_mmds_config, network_interfaces, .kind = VMM_FIELD_NAMES, .type = "a sequence",
              .required = true),
        TEXT(struct vmm_mmds_config, ipv4_address, .nullable = true),
        FLAG(struct vmm_mmds_config, imds_compat),
        END,
};
SHAPE(vmm_shape_mmds_config, "MmdsConfig", struct vmm_mmds_config, mmds_config_fields);

static const struct vmm_field action_fields[] = {
        CHOICE(struct vmm_action, action_type, action_types, .required = true),
        END,
};
SHAPE(vmm_shape_action, "ActionBody", struct vmm_action, action_fields);

static const struct vmm_field vm_fields[] = {
        CHOICE(struct vmm_vm, state, vm_states, .required = true),
        END,
};
SHAPE(vmm_shape_vm, "Vm", struct vmm_vm, vm_fields);

bool vmm_field_is_given(const struct vmm_shape *shape, const void *body, size_t offset)
{
        uint32_t given;

        memcpy(&given, body, sizeof(given));
        for (unsigned i = 0; shape->fields[i].name; i++)
                if (shape->fields[i].offset == offset)
                        return given & (UINT32_C(1) << i);
        assert(false); /* no such field in the shape */
        return false;
}

static json_t *encode_field(const struct vmm_field *field, const void *slot)
{
        switch (field->kind) {
        case VMM_FIELD_BOOL:
                return json_boolean(*(const bool *) slot);
        case VMM_FIELD_NUMBER:
                return json_integer((json_int_t) * (const uint64_t *) slot);
        case VMM_FIELD_TEXT:
                return json_string(*(const char *const *) slot ?: "");
        case VMM_FIELD_CHOICE:
                return json_string(field->variants[*(const unsigned *) slot]);
        case VMM_FIELD_OBJECT:
                return vmm_encode(field->shape, slot);
        case VMM_FIELD_NAMES:
                return json_incref(*(json_t *const *) slot);
        case VMM_N_FIELD_KINDS:
                break;
        }
        return json_null();
}

json_t *vmm_encode(const struct vmm_shape *shape, const void *body)
{
        json_t *object = json_object();

        for (const struct vmm_field *f = shape->fields; f->name; f++) {
                bool absent = f->nullable && !vmm_field_is_given(shape, body, f->offset);

                (void) json_object_set_new(object, f->name,
                                           absent ? json_null()
                                                  : encode_field(f, (const char *) body + f->offset));
        }
        return object;
}
