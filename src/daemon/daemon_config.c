#include "daemon/daemon_config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "base/toml.h"

#define CONFIG_MAX         (256 * 1024)
#define DEFAULT_VCPU_MAX   4
#define DEFAULT_MEMORY_MAX 8192
#define MEMORY_MIN_MIB     128
#define BRIDGE_NAME_MAX    15 /* IFNAMSIZ - 1 */
#define BOOT_TIMEOUT_MS    90000
#define STATS_POLL_MS      10000
#define STATS_POLL_MIN_MS  1000
#define STATS_POLL_MAX_MS  (5 * 60 * 1000)

/* A key: where it is, and what takes it. The setter returns NULL or the accepted form. */
struct key {
        const char *table; /* "" : top level */
        const char *name;
        const char *(*set)(struct daemon_config *config, const json_t *value, const char *home);
};

static void replace(char **slot, const char *value)
{
        free(*slot);
        *slot = xstrdup(value);
}

static const char *text_of(const json_t *value)
{
        const char *text = json_string_value(value);

        return text && text[0] != '\0' ? text : NULL;
}

static const char *set_path(char **slot, const json_t *value, const char *home)
{
        const char *text = text_of(value);

        if (text && text_starts_with(text, "~/")) {
                free(*slot);
                *slot = xasprintf("%s/%s", home, text + 2);
                return NULL;
        }
        if (!text || text[0] != '/')
                return "an absolute path or one that begins with ~/";
        replace(slot, text);
        return NULL;
}

static const char *set_address(char **slot, const json_t *value)
{
        const char *text = text_of(value);
        struct in_addr address;

        if (!text || inet_pton(AF_INET, text, &address) != 1)
                return "an IPv4 address such as \"172.16.0.1\"";
        replace(slot, text);
        return NULL;
}

static const char *set_size(uint64_t *slot, const json_t *value)
{
        const char *text = text_of(value);
        uint64_t bytes;

        if (!text || size_parse(text, &bytes) < 0 || bytes < 16 * MIB)
                return "a size of at least 16M, such as \"8G\"";
        *slot = bytes;
        return NULL;
}

static const char *set_log_level(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        return text_of(value) && log_level_from_name(text_of(value), &config->log_level) == 0
                       ? NULL
                       : "\"debug\", \"info\", \"warn\" or \"error\"";
}

static const char *set_vmm(struct daemon_config *config, const json_t *value, const char *home)
{
        const char *text = text_of(value);

        (void) home;
        if (!text ||
            (strcmp(text, "auto") != 0 && strcmp(text, "firecracker") != 0 && strcmp(text, "qemu") != 0))
                return "\"auto\", \"firecracker\" or \"qemu\"";
        replace(&config->vmm, text);
        return NULL;
}

static const char *set_firecracker_bin(struct daemon_config *config, const json_t *value, const char *home)
{
        return set_path(&config->firecracker_bin, value, home);
}

static const char *set_ssh_key_path(struct daemon_config *config, const json_t *value, const char *home)
{
        return set_path(&config->ssh_key_path, value, home);
}

static const char *set_default_image(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        if (!text_of(value))
                return "an image's name";
        replace(&config->default_image, text_of(value));
        return NULL;
}

/* S-127. */
static const char *set_bridge(struct daemon_config *config, const json_t *value, const char *home)
{
        const char *text = text_of(value);

        (void) home;
        if (!text || strlen(text) > BRIDGE_NAME_MAX ||
            (strcmp(text, "br-fc") != 0 && !(text_starts_with(text, "br-fc-") && text[6] != '\0')))
                return "\"br-fc\" or a name that begins with \"br-fc-\", at most 15 characters";
        replace(&config->bridge, text);
        return NULL;
}

static const char *set_bridge_ip(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        return set_address(&config->bridge_ip, value);
}

static const char *set_dns(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        return set_address(&config->dns, value);
}

static const char *set_cidr(struct daemon_config *config, const json_t *value, const char *home)
{
        const char *text = text_of(value);
        uint64_t prefix;

        (void) home;
        if (!text || text_parse_u64(text, 32, &prefix) < 0 || prefix < 8)
                return "a prefix length in quotes, \"8\" to \"32\"";
        config->prefix = (uint32_t) prefix;
        return NULL;
}

static const char *set_tap_pool_size(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) > DAEMON_TAP_POOL_MAX)
                return "a number from 0 to 64";
        config->tap_pool_size = (uint32_t) json_integer_value(value);
        return NULL;
}

static const char *set_vcpu(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > 32)
                return "a number from 1 to 32";
        config->vcpu = (uint32_t) json_integer_value(value);
        return NULL;
}

static const char *set_memory(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        if (!json_is_integer(value) || json_integer_value(value) < MEMORY_MIN_MIB)
                return "a number of MiB, at least 128";
        config->memory_mib = (uint64_t) json_integer_value(value);
        return NULL;
}

static const char *set_disk(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        return set_size(&config->disk_bytes, value);
}

static const char *set_overlay(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        return set_size(&config->overlay_bytes, value);
}

static const char *set_boot_timeout(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > 3600)
                return "a number of seconds from 1 to 3600";
        config->boot_timeout_ms = (uint64_t) json_integer_value(value) * 1000;
        return NULL;
}

static const char *set_auto_stop(struct daemon_config *config, const json_t *value, const char *home)
{
        (void) home;
        if (!text_of(value) || clock_parse_duration(text_of(value), &config->auto_stop_ms) < 0)
                return "a duration such as \"90m\" or \"1h30m\", or \"0\" for never";
        return NULL;
}

static const char *set_stats_poll(struct daemon_config *config, const json_t *value, const char *home)
{
        uint64_t ms;

        (void) home;
        if (!text_of(value) || clock_parse_duration(text_of(value), &ms) < 0 || ms < STATS_POLL_MIN_MS ||
            ms > STATS_POLL_MAX_MS)
                return "a duration from \"1s\" to \"5m\"";
        config->stats_poll_ms = ms;
        return NULL;
}

static const struct key keys[] = {
        {"",             "log_level",             set_log_level      },
        { "",            "vmm",                   set_vmm            },
        { "",            "firecracker_bin",       set_firecracker_bin},
        { "",            "ssh_key_path",          set_ssh_key_path   },
        { "",            "default_image_name",    set_default_image  },
        { "",            "bridge_name",           set_bridge         },
        { "",            "bridge_ip",             set_bridge_ip      },
        { "",            "cidr",                  set_cidr           },
        { "",            "tap_pool_size",         set_tap_pool_size  },
        { "",            "default_dns",           set_dns            },
        { "",            "boot_timeout",          set_boot_timeout   },
        { "",            "auto_stop_stale_after", set_auto_stop      },
        { "",            "stats_poll_interval",   set_stats_poll     },
        { "vm_defaults", "vcpu",                  set_vcpu           },
        { "vm_defaults", "memory_mib",            set_memory         },
        { "vm_defaults", "disk_size",             set_disk           },
        { "vm_defaults", "system_overlay_size",   set_overlay        },
};

static const struct key *find_key(const char *table, const char *name)
{
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
                if (strcmp(keys[i].table, table) == 0 && strcmp(keys[i].name, name) == 0)
                        return &keys[i];
        return NULL;
}

static bool are_all_texts(const json_t *list)
{
        const json_t *item = NULL;
        size_t i;

        json_array_foreach (list, i, item)
                if (!text_of(item))
                        return false;
        return json_is_array(list);
}

/* One key of [registry."host"]: NULL or the accepted form. "~/" is resolved. */
static const char *check_registry_key(json_t *registry, const char *name, const json_t *value,
                                      const char *home)
{
        scoped_free char *path = NULL;
        const char *wanted;

        if (strcmp(name, "insecure") == 0)
                return json_is_boolean(value) ? NULL : "true or false";
        if (strcmp(name, "mirrors") == 0)
                return are_all_texts(value) ? NULL : "a list such as [\"https://mirror.example\"]";
        wanted = set_path(&path, value, home);
        if (!wanted)
                (void) json_object_set_new(registry, name, json_string(path));
        return wanted;
}

static bool is_registry_key(const char *name)
{
        return strcmp(name, "insecure") == 0 || strcmp(name, "mirrors") == 0 || strcmp(name, "ca") == 0;
}

/* [registry."host:port"] tables: how a registry is reached. */
static int apply_registries(struct daemon_config *config, json_t *registries, const char *path,
                            const char *home, struct err *err)
{
        const char *host, *name;
        json_t *registry, *value;
        void *next;

        json_object_foreach (registries, host, registry) {
                if (!json_is_object(registry))
                        return err_set(err, EINVAL, "config.read",
                                       "'%s': registry.%s must be a table: [registry.\"%s\"]", path, host,
                                       host);
                json_object_foreach_safe(registry, next, name, value)
                {
                        const char *wanted = is_registry_key(name)
                                                     ? check_registry_key(registry, name, value, home)
                                                     : NULL;

                        if (!is_registry_key(name))
                                return err_set(err, EINVAL, "config.read",
                                               "'%s': unknown key 'registry.%s.%s'", path, host, name);
                        if (wanted)
                                return err_set(err, EINVAL, "config.read", "'%s': registry.%s.%s must be %s",
                                               path, host, name, wanted);
                }
        }
        config->registries = json_incref(registries);
        return 0;
}

static int apply_table(struct daemon_config *config, const char *table, json_t *values, const char *path,
                       const char *home, struct err *err)
{
        const char *name, *dot = table[0] != '\0' ? "." : "";
        json_t *value;

        json_object_foreach (values, name, value) {
                const struct key *key = find_key(table, name);
                const char *wanted;

                if (table[0] == '\0' && json_is_object(value) && strcmp(name, "vm_defaults") == 0) {
                        int r = apply_table(config, name, value, path, home, err);

                        if (r < 0)
                                return r;
                        continue;
                }
                if (table[0] == '\0' && json_is_object(value) && strcmp(name, "registry") == 0) {
                        int r = apply_registries(config, value, path, home, err);

                        if (r < 0)
                                return r;
                        continue;
                }
                if (!key)
                        return err_set(err, EINVAL, "config.read", "'%s': unknown key '%s%s%s'", path, table,
                                       dot, name);
                wanted = key->set(config, value, home);
                if (wanted)
                        return err_set(err, EINVAL, "config.read", "'%s': %s%s%s must be %s", path, table,
                                       dot, name, wanted);
        }
        return 0;
}

/* Spec 4: cpus / 4, at most 4, at least 1; RAM / 8, at most 8192 MiB. */
static void fill_defaults(struct daemon_config *config)
{
        long cpus = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES),
             page = sysconf(_SC_PAGESIZE);
        uint64_t ram_mib = pages > 0 && page > 0 ? (uint64_t) pages * (uint64_t) page / MIB : 0;

        *config = (struct daemon_config){
                .log_level = LOG_LEVEL_INFO,
                .vmm = xstrdup("auto"),
                .default_image = xstrdup("debian-bookworm"),
                .bridge = xstrdup("br-fc"),
                .bridge_ip = xstrdup("172.16.0.1"),
                .prefix = 24,
                .tap_pool_size = 4,
                .dns = xstrdup("1.1.1.1"),
                .vcpu = cpus / 4 < 1                  ? 1
                        : cpus / 4 > DEFAULT_VCPU_MAX ? DEFAULT_VCPU_MAX
                                                      : (uint32_t) (cpus / 4),
                .memory_mib = ram_mib / 8 < MEMORY_MIN_MIB       ? MEMORY_MIN_MIB
                              : ram_mib / 8 > DEFAULT_MEMORY_MAX ? DEFAULT_MEMORY_MAX
                                                                 : ram_mib / 8,
                .disk_bytes = 8 * GIB,
                .overlay_bytes = 8 * GIB,
                .boot_timeout_ms = BOOT_TIMEOUT_MS,
                .stats_poll_ms = STATS_POLL_MS,
        };
}

int daemon_config_read(const char *path, const char *owner_home, struct daemon_config *ret_config,
                       struct err *err)
{
        scoped_free char *text = NULL;
        json_auto_t *document = NULL;
        struct daemon_config config;
        int r;

        fill_defaults(&config);
        if (access(path, F_OK) < 0 && errno == ENOENT) {
                *ret_config = config;
                return 0;
        }
        r = file_read(path, CONFIG_MAX, &text, NULL, err);
        if (r == 0)
                r = toml_parse(text, path, &document, err);
        if (r == 0)
                r = apply_table(&config, "", document, path, owner_home, err);
        if (r < 0) {
                daemon_config_done(&config);
                return r;
        }
        *ret_config = config;
        return 0;
}

void daemon_config_done(struct daemon_config *config)
{
        free(config->vmm);
        free(config->firecracker_bin);
        free(config->default_image);
        free(config->bridge);
        free(config->bridge_ip);
        free(config->dns);
        free(config->ssh_key_path);
        json_decref(config->registries);
        *config = (struct daemon_config){ 0 };
}
