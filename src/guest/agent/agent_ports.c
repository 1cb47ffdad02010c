/*
 * Who listens: sockets of /proc/net/{tcp,udp}{,6} in state LISTEN (TCP) or unconnected (UDP), and the process that has
 * each open, found by its inode under /proc/PID/fd (proc(5), Documentation/networking/proc_net_tcp.rst).
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_serve.h"

#define TABLE_MAX     (4U << 20)
#define LISTENERS_MAX 1024
#define TCP_LISTEN_   0x0a /* TCP_LISTEN, net/tcp_states.h */
#define UDP_OPEN      0x07 /* TCP_CLOSE: a UDP socket without a peer */

struct listener {
        const char *protocol;
        char address[INET6_ADDRSTRLEN];
        unsigned port;
        unsigned long inode;
        pid_t pid;
        char process[64];
};

struct listeners {
        struct listener *all; /* owned */
        size_t n;
};

/* 32-bit words in the machine's order, in hex. */
static void format_address(const char *hex, bool v6, char out[INET6_ADDRSTRLEN])
{
        uint32_t words[4] = { 0 };

        for (int i = 0; i < (v6 ? 4 : 1); i++) {
                unsigned word = 0;

                (void) sscanf(hex + 8 * i, "%8x", &word);
                words[i] = word;
        }
        (void) inet_ntop(v6 ? AF_INET6 : AF_INET, words, out, INET6_ADDRSTRLEN);
}

static void take_line(struct listeners *listeners, const char *line, const char *protocol, bool tcp, bool v6)
{
        struct listener listener = { .protocol = protocol };
        char address[33];
        unsigned state;

        if (listeners->n == LISTENERS_MAX ||
            sscanf(line, " %*u: %32[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu", address,
                   &listener.port, &state, &listener.inode) != 4 ||
            strlen(address) != (v6 ? 32 : 8) || state != (tcp ? TCP_LISTEN_ : UDP_OPEN))
                return;
        format_address(address, v6, listener.address);
        listeners->all[listeners->n++] = listener;
}

static void take_table(struct listeners *listeners, const char *protocol, bool tcp, bool v6)
{
        scoped_free char *path = xasprintf("/proc/net/%s%s", tcp ? "tcp" : "udp", v6 ? "6" : "");
        scoped_free char *text = NULL;
        struct err err = { 0 };
        char *rest = NULL;

        if (file_read(path, TABLE_MAX, &text, NULL, &err) < 0)
                return;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                take_line(listeners, line, protocol, tcp, v6);
}

/* The name of a process: what /proc/PID/comm says, without its newline. */
static void read_name(const char *pid, char out[64])
{
        scoped_free char *path = xasprintf("/proc/%s/comm", pid);
        scoped_free char *text = NULL;
        struct err err = { 0 };

        if (file_read(path, 4096, &text, NULL, &err) < 0)
                return;
        text[strcspn(text, "\n")] = '\0';
        (void) snprintf(out, 64, "%.63s", text);
}

static void match_fd(struct listeners *listeners, int folder, const char *fd, const char *pid)
{
        char link[64];
        ssize_t n = readlinkat(folder, fd, link, sizeof(link) - 1);
        unsigned long inode;

        if (n < 0)
                return;
        link[n] = '\0';
        if (sscanf(link, "socket:[%lu]", &inode) != 1)
                return;
        for (size_t i = 0; i < listeners->n; i++) {
                struct listener *listener = &listeners->all[i];
                uint64_t number;

                if (listener->inode != inode || listener->pid != 0 ||
                    text_parse_u64(pid, INT32_MAX, &number) < 0)
                        continue;
                listener->pid = (pid_t) number;
                read_name(pid, listener->process);
        }
}

static void match_process(struct listeners *listeners, const char *pid)
{
        scoped_free char *path = xasprintf("/proc/%s/fd", pid);
        DIR *folder = opendir(path);
        const struct dirent *entry;

        if (!folder)
                return;
        while ((entry = readdir(folder)))
                match_fd(listeners, dirfd(folder), entry->d_name, pid);
        (void) closedir(folder);
}

static void match_processes(struct listeners *listeners)
{
        DIR *folder = listeners->n > 0 ? opendir("/proc") : NULL;
        const struct dirent *entry;

        if (!folder)
                return;
        while ((entry = readdir(folder)))
                if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
                        match_process(listeners, entry->d_name);
        (void) closedir(folder);
}

json_t *agent_ports(void)
{
        scoped_free struct listener *all = xcalloc(LISTENERS_MAX, sizeof(*all));
        struct listeners listeners = { .all = all };
        json_t *array = json_array();

        take_table(&listeners, "tcp", true, false);
        take_table(&listeners, "tcp6", true, true);
        take_table(&listeners, "udp", false, false);
        take_table(&listeners, "udp6", false, true);
        match_processes(&listeners);
        for (size_t i = 0; i < listeners.n; i++) {
                const struct listener *listener = &all[i];
                json_t *json = json_pack("{s:s, s:s, s:i}", "protocol", listener->protocol, "address",
                                         listener->address, "port", (int) listener->port);

                if (listener->pid != 0) {
                        (void) json_object_set_new(json, "pid", json_integer(listener->pid));
                        (void) json_object_set_new(json, "process", json_string(listener->process));
                }
                (void) json_array_append_new(array, json);
        }
        return json_pack("{s:o}", "listeners", array);
}
