#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "daemon/daemon_config.h"
#include "unit.h"

static int read_config(const char *text, struct daemon_config *config, struct err *err)
{
        char path[] = "/tmp/config-XXXXXX";
        int fd = mkstemp(path), r;
        struct err write_err = { 0 };

        assert_true(fd >= 0);
        (void) close(fd);
        assert_int_equal(file_replace(path, text, strlen(text), 0600, &write_err), 0);
        r = daemon_config_read(path, "/home/me", config, err);
        (void) unlink(path);
        return r;
}

static void a_missing_file_gives_the_defaults(void **state)
{
        struct daemon_config config;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(daemon_config_read("/nonexistent/config.toml", "/home/me", &config, &err), 0);
        assert_string_equal(config.bridge, "br-fc");
        assert_string_equal(config.bridge_ip, "172.16.0.1");
        assert_int_equal(config.prefix, 24);
        assert_string_equal(config.default_image, "debian-bookworm");
        assert_string_equal(config.vmm, "auto");
        assert_in_range(config.vcpu, 1, 4);
        assert_in_range(config.memory_mib, 128, 8192);
        assert_int_equal(config.auto_stop_ms, 0);
        assert_int_equal(config.stats_poll_ms, 10000);
        assert_int_equal(config.disk_bytes, 8 * GIB);
        daemon_config_done(&config);
}

static void every_key_is_read(void **state)
{
        struct daemon_config config;
        struct err err = { 0 };

        (void) state;
        assert_int_equal(
                read_config("log_level = \"debug\"\nvmm = \"qemu\"\nfirecracker_bin = \"~/bin/firecracker\"\n"
                            "default_image_name = \"alpine\"\nbridge_name = \"br-fc-2\"\nbridge_ip = "
                            "\"10.9.0.1\"\n"
                            "cidr = \"16\"\ndefault_dns = \"9.9.9.9\"\nboot_timeout = 5\n"
                            "auto_stop_stale_after = \"1h30m\"\nstats_poll_interval = \"1s\"\n"
                            "[vm_defaults]\nvcpu = 3\nmemory_mib = 512\ndisk_size = \"2G\"\n"
                            "system_overlay_size = \"4GiB\"\n",
                            &config, &err),
                0);
        assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
        assert_string_equal(config.vmm, "qemu");
        assert_string_equal(config.firecracker_bin, "/home/me/bin/firecracker");
        assert_string_equal(config.default_image, "alpine");
        assert_string_equal(config.bridge, "br-fc-2");
        assert_string_equal(config.bridge_ip, "10.9.0.1");
        assert_int_equal(config.prefix, 16);
        assert_string_equal(config.dns, "9.9.9.9");
        assert_int_equal(config.boot_timeout_ms, 5000);
        assert_int_equal(config.auto_stop_ms, 5400000);
        assert_int_equal(config.stats_poll_ms, 1000);
        assert_int_equal(config.vcpu, 3);
        assert_int_equal(config.memory_mib, 512);
        assert_int_equal(config.disk_bytes, 2 * GIB);
        assert_int_equal(config.overlay_bytes, 4 * GIB);
        daemon_config_done(&config);
}

static void what_is_wrong_is_named_with_the_accepted_form(void **state)
{
        static const struct {
                const char *text, *part;
        } cases[] = {
                {"colour = \"red\"\n",                    "unknown key 'colour'"                              },
                { "[vm_defaults]\ncpus = 2\n",            "unknown key 'vm_defaults.cpus'"                    },
                { "vmm = \"xen\"\n",                      "vmm must be \"auto\""                              },
                { "log_level = 3\n",                      "log_level must be \"debug\""                       },
                { "bridge_name = \"eth0\"\n",             "bridge_name must be \"br-fc\""                     },
                { "bridge_name = \"br-fc-\"\n",           "bridge_name must be \"br-fc\""                     },
                { "bridge_name = \"br-fc-0123456789\"\n", "at most 15 characters"                             },
                { "bridge_ip = \"fe80::1\"\n",            "bridge_ip must be an IPv4 address"                 },
                { "cidr = \"7\"\n",                       "cidr must be a prefix length"                      },
                { "cidr = \"33\"\n",                      "cidr must be a prefix length"                      },
                { "firecracker_bin = \"bin/fc\"\n",       "firecracker_bin must be an absolute path"          },
                { "[vm_defaults]\nvcpu = 0\n",            "vm_defaults.vcpu must be a number"                 },
                { "[vm_defaults]\nvcpu = 33\n",           "vm_defaults.vcpu must be a number"                 },
                { "[vm_defaults]\ndisk_size = \"1M\"\n",  "vm_defaults.disk_size must be a size"              },
                { "auto_stop_stale_after = 60\n",         "auto_stop_stale_after must be a duration"          },
                { "auto_stop_stale_after = \"60\"\n",     "auto_stop_stale_after must be a duration"          },
                { "stats_poll_interval = \"999ms\"\n",    "stats_poll_interval must be a duration from \"1s\""},
                { "stats_poll_interval = \"301s\"\n",     "stats_poll_interval must be a duration from \"1s\""},
                { "vmm = \n",                             "line 1"                                            },
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct daemon_config config = { 0 };
                struct err err = { 0 };

                assert_int_equal(read_config(cases[i].text, &config, &err), -EINVAL);
                assert_non_null(strstr(err.message, cases[i].part));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_missing_file_gives_the_defaults),
                cmocka_unit_test(every_key_is_read),
                cmocka_unit_test(what_is_wrong_is_named_with_the_accepted_form),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
