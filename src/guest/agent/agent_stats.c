/* Health and numbers, read from /proc when asked (proc(5)). What is not there is left out. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "base/version.h"
#include "guest/agent/agent_serve.h"
#include "guest/contract/guest_frame.h"

#define PROC_MAX         (256U << 10)
#define TCP_ESTABLISHED_ 0x01 /* TCP_ESTABLISHED, net/tcp_states.h */
#define SECTOR_SIZE      512  /* the unit of /sys/block/.../stat, whatever the disk's is */

static void set_u64(json_t *json, const char *key, unsigned long long value)
{
        (void) json_object_set_new(json, key, json_integer((json_int_t) value));
}

/* The file's text, "" when it cannot be read; the caller owns it. */
static char *read_proc(const char *path)
{
        struct err err = { 0 };
        char *text = NULL;

        return file_read(path, PROC_MAX, &text, NULL, &err) < 0 ? xstrdup("") : text;
}

/* In the words of the kernel's table: 127/8 of an IPv4 address ends its first word, also when mapped into IPv6. */
static bool is_loopback(const char *address, size_t digits)
{
        const char *last = address + digits - 8;

        if (digits == 32 && strcmp(address, "00000000000000000000000001000000") == 0) /* ::1 */
                return true;
        if (digits == 32 && strncmp(address, "0000000000000000FFFF0000", 24) != 0)
                return false;
        return strcmp(last + 6, "7F") == 0;
}

static void add_uptime(json_t *json)
{
        scoped_free char *text = read_proc("/proc/uptime");
        double seconds = 0;

        if (sscanf(text, "%lf", &seconds) == 1)
                (void) json_object_set_new(json, "uptime_s", json_real(seconds));
}

/* Documentation/networking/proc_net_tcp.rst: established connections with somebody outside of the guest. */
static unsigned count_connections(const char *path, size_t address_digits)
{
        scoped_free char *text = read_proc(path);
        unsigned n = 0;
        char *rest = NULL;

        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                char remote[33];
                unsigned state;

                if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%*x %32[0-9A-Fa-f]:%*x %x", remote, &state) == 2 &&
                    strlen(remote) == address_digits && state == TCP_ESTABLISHED_ &&
                    !is_loopback(remote, address_digits))
                        n++;
        }
        return n;
}

static bool is_session(const char *pid)
{
        scoped_free char *path = xasprintf("/proc/%s/comm", pid);
        scoped_free char *comm = read_proc(path);

        return strcmp(comm, AGENT_SESSION_NAME "\n") == 0;
}

static unsigned count_sessions(void)
{
        DIR *proc = opendir("/proc");
        const struct dirent *entry;
        unsigned n = 0;

        while (proc && (entry = readdir(proc)))
                n += entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && is_session(entry->d_name);
        if (proc)
                (void) closedir(proc);
        return n;
}

/* Whether somebody uses this guest: commands run through the agent, connections from outside. */
static void add_use(json_t *json)
{
        set_u64(json, "sessions", count_sessions());
        set_u64(json, "connections",
                (unsigned long long) count_connections("/proc/net/tcp", 8) +
                        count_connections("/proc/net/tcp6", 32));
}

json_t *agent_health(void)
{
        json_t *json = json_object();

        (void) json_object_set_new(json, "version", json_string(BANGER_VERSION));
        set_u64(json, "protocol", GUEST_PROTOCOL);
        (void) json_object_set_new(json, "systemd", json_boolean(access("/run/systemd/system", F_OK) == 0));
        add_uptime(json);
        add_use(json);
        agent_clock_tell(json); /* last: the time of the answer */
        return json;
}

static json_t *cpu_stats(void)
{
        scoped_free char *stat = read_proc("/proc/stat"), *load = read_proc("/proc/loadavg");
        unsigned long long user = 0, nice = 0, system = 0, idle = 0, wait = 0;
        double one = 0, five = 0, fifteen = 0;
        json_t *json = json_object();
        long hz = sysconf(_SC_CLK_TCK);

        set_u64(json, "count", (unsigned long long) sysconf(_SC_NPROCESSORS_ONLN));
        if (hz > 0 &&
            sscanf(stat, "cpu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait) == 5) {
                unsigned long long ms = 1000 / (unsigned long long) hz;

                set_u64(json, "user_ms", (user + nice) * ms);
                set_u64(json, "system_ms", system * ms);
                set_u64(json, "idle_ms", idle * ms);
                set_u64(json, "io_wait_ms", wait * ms);
        }
        if (sscanf(load, "%lf %lf %lf", &one, &five, &fifteen) == 3)
                (void) json_object_set_new(json, "load", json_pack("[f, f, f]", one, five, fifteen));
        return json;
}

static json_t *memory_stats(void)
{
        static const struct {
                const char *label, *key;
        } wanted[] = {
                {"MemTotal:",      "total_bytes"     },
                { "MemFree:",      "free_bytes"      },
                { "MemAvailable:", "available_bytes" },
                { "Cached:",       "cached_bytes"    },
                { "SwapTotal:",    "swap_total_bytes"},
                { "SwapFree:",     "swap_free_bytes" },
        };
        scoped_free char *text = read_proc("/proc/meminfo");
        json_t *json = json_object();
        char *rest = NULL;

        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
                        unsigned long long kib;

                        if (text_starts_with(line, wanted[i].label) &&
                            sscanf(line + strlen(wanted[i].label), "%llu", &kib) == 1)
                                set_u64(json, wanted[i].key, kib * 1024);
                }
        return json;
}

/* {"cpu": {"some": percent, "full": percent}}: the share of the last ten seconds in which something waited. */
static json_t *pressure_stats(void)
{
        static const char *const resources[] = { "cpu", "memory", "io" };
        json_t *json = json_object();

        for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
                scoped_free char *path = xasprintf("/proc/pressure/%s", resources[i]);
                scoped_free char *text = read_proc(path);
                const char *full = strstr(text, "full avg10=");
                double some_share, full_share;

                if (sscanf(text, "some avg10=%lf", &some_share) != 1)
                        continue;
                if (!full || sscanf(full, "full avg10=%lf", &full_share) != 1)
                        full_share = 0;
                (void) json_object_set_new(json, resources[i],
                                           json_pack("{s:f, s:f}", "some", some_share, "full", full_share));
        }
        return json;
}

json_t *agent_disks(void)
{
        static const char *const mounts[] = { "/", "/root" };
        json_t *json = json_object();

        for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
                struct statvfs st;
                json_t *disk;

                if (statvfs(mounts[i], &st) < 0)
                        continue;
                disk = json_object();
                set_u64(disk, "total_bytes", (unsigned long long) st.f_blocks * st.f_frsize);
                set_u64(disk, "free_bytes", (unsigned long long) st.f_bavail * st.f_frsize);
                set_u64(disk, "inodes", st.f_files);
                set_u64(disk, "inodes_free", st.f_favail);
                (void) json_object_set_new(json, mounts[i], disk);
        }
        return json;
}

/* Virtual disks' traffic: Documentation/admin-guide/iostats.rst. */
static json_t *io_stats(void)
{
        scoped_free char *text = read_proc("/proc/diskstats");
        json_t *json = json_object();
        char *rest = NULL;

        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                unsigned long long read_sectors, written_sectors;
                char name[32];
                json_t *disk;

                if (sscanf(line, "%*u %*u %31s %*u %*u %llu %*u %*u %*u %llu", name, &read_sectors,
                           &written_sectors) != 3 ||
                    !text_starts_with(name, "vd"))
                        continue;
                disk = json_object();
                set_u64(disk, "read_bytes", read_sectors * SECTOR_SIZE);
                set_u64(disk, "written_bytes", written_sectors * SECTOR_SIZE);
                (void) json_object_set_new(json, name, disk);
        }
        return json;
}

static json_t *network_stats(void)
{
        scoped_free char *text = read_proc("/proc/net/dev");
        json_t *json = json_object();
        char *rest = NULL;

        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                unsigned long long received, sent;
                char name[32];
                json_t *link;

                if (sscanf(line, " %31[^: ]: %llu %*u %*u %*u %*u %*u %*u %*u %llu", name, &received,
                           &sent) != 3 ||
                    strcmp(name, "lo") == 0)
                        continue;
                link = json_object();
                set_u64(link, "received_bytes", received);
                set_u64(link, "sent_bytes", sent);
                (void) json_object_set_new(json, name, link);
        }
        return json;
}

json_t *agent_stats(void)
{
        json_t *json = json_object();

        add_uptime(json);
        (void) json_object_set_new(json, "cpu", cpu_stats());
        (void) json_object_set_new(json, "memory", memory_stats());
        (void) json_object_set_new(json, "pressure", pressure_stats());
        (void) json_object_set_new(json, "disks", agent_disks());
        (void) json_object_set_new(json, "io", io_stats());
        (void) json_object_set_new(json, "network", network_stats());
        return json;
}
