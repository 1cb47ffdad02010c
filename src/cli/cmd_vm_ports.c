/*
 * vm ports: what listens in guests, and which of it answers HTTP. The guest's agent tells who listens; whether it speaks HTTP
 * is tried from here, over the network, as a browser of this host would reach it: one "HEAD /" for each listener
 * that is reachable, all at the same time, until PROBE_MS have passed. A guest's answer is only looked at, never shown.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_vms.h"
#include "cli/render_table.h"

#define PROBE_MS   2000
#define PROBES_MAX 128 /* at the same time; listeners beyond get no link */
#define ANSWER_MAX 16  /* bytes that are looked at */

/* One listener that is being tried. */
struct probe {
        json_t *listener;    /* borrowed */
        const char *address; /* borrowed: the guest's */
        uint16_t port;
        int sock; /* owned; FD_NONE: over */
        bool asked;
        char answer[ANSWER_MAX];
        size_t n;
};

/* What a command gathers: vms_do_each() hands over one VM at a time. */
struct gathered {
        struct probe probes[PROBES_MAX];
        size_t n;
        json_t *vms; /* owned */
};

/* Whether this host's packets to the guest's address reach it: not when it listens on the guest's loopback alone. */
static bool is_reachable(const json_t *listener, const char *vm_address)
{
        const char *address = json_text(listener, "address");

        if (strcmp(json_text(listener, "protocol"), "tcp") != 0)
                return false;
        return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0 ||
               strcmp(address, vm_address) == 0 ||
               (text_starts_with(address, "::ffff:") && strcmp(address + 7, vm_address) == 0);
}

static void probe_end(struct probe *probe)
{
        close_at_scope_end(&probe->sock);
        probe->sock = FD_NONE;
}

static void probe_begin(struct probe *probe)
{
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(probe->port) };

        if (inet_pton(AF_INET, probe->address, &to.sin_addr) != 1)
                return;
        probe->sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (probe->sock >= 0 && connect(probe->sock, (const struct sockaddr *) &to, sizeof(to)) < 0 &&
            errno != EINPROGRESS)
                probe_end(probe);
}

/* RFC 9112 §4: a status line; a TLS server answers what is no handshake with an alert (RFC 8446 §5.1, §6). */
static const char *scheme_of(const struct probe *probe)
{
        if (probe->n >= 7 && memcmp(probe->answer, "HTTP/1.", 7) == 0)
                return "http";
        if (probe->n >= 3 && probe->answer[0] == 0x15 && probe->answer[1] == 0x03)
                return "https";
        return NULL;
}

static void probe_conclude(struct probe *probe)
{
        const char *scheme = scheme_of(probe);
        scoped_free char *url = NULL;

        probe_end(probe);
        if (!scheme)
                return;
        url = xasprintf("%s://%s:%u/", scheme, probe->address, probe->port);
        (void) json_object_set_new(probe->listener, "url", json_string(url));
}

static void probe_ask(struct probe *probe)
{
        char request[128];
        int n = snprintf(request, sizeof(request),
                         "HEAD / HTTP/1.0\r\nHost: %s:%u\r\nUser-Agent: banger\r\n\r\n", probe->address,
                         probe->port);

        probe->asked = true;
        if (send(probe->sock, request, (size_t) n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
                probe_end(probe);
}

static void probe_hear(struct probe *probe)
{
        ssize_t got = recv(probe->sock, probe->answer + probe->n, ANSWER_MAX - probe->n, MSG_DONTWAIT);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (got > 0)
                probe->n += (size_t) got;
        if (got <= 0 || probe->n == ANSWER_MAX || scheme_of(probe))
                probe_conclude(probe);
}

static void run_probes(struct gathered *gathered)
{
        uint64_t deadline_ms = clock_monotonic_ms() + PROBE_MS;
        struct pollfd polled[PROBES_MAX];

        for (size_t i = 0; i < gathered->n; i++)
                probe_begin(&gathered->probes[i]);
        for (;;) {
                size_t n_open = 0;

                for (size_t i = 0; i < gathered->n; i++) {
                        const struct probe *probe = &gathered->probes[i];

                        n_open += probe->sock >= 0;
                        polled[i] = (struct pollfd){ .fd = probe->sock,
                                                     .events = probe->asked ? POLLIN : POLLOUT };
                }
                if (n_open == 0 || clock_left_ms(deadline_ms) == 0 ||
                    poll(polled, gathered->n, clock_left_ms(deadline_ms)) <= 0)
                        break;
                for (size_t i = 0; i < gathered->n; i++) {
                        struct probe *probe = &gathered->probes[i];

                        if (polled[i].revents != 0 && probe->asked)
                                probe_hear(probe);
                        else if (polled[i].revents != 0)
                                probe_ask(probe);
                }
        }
        for (size_t i = 0; i < gathered->n; i++)
                probe_end(&gathered->probes[i]);
}

static bool gather(const char *name, json_t *result, void *userdata)
{
        struct gathered *gathered = userdata;
        const char *address = json_text(result, "address");
        json_t *listener;
        size_t i;

        (void) name;
        (void) json_array_append(gathered->vms, result);
        json_array_foreach (json_object_get(result, "listeners"), i, listener)
                if (is_reachable(listener, address) && gathered->n < PROBES_MAX)
                        gathered->probes[gathered->n++] =
                                (struct probe){ .listener = listener,
                                                .address = address,
                                                .port = (uint16_t) json_u64(listener, "port", 0),
                                                .sock = FD_NONE };
        return true;
}

static void add_listener(struct table *table, const json_t *vm, const json_t *listener)
{
        unsigned port = (unsigned) json_u64(listener, "port", 0);
        scoped_free char *endpoint = xasprintf("%s.vm:%u", json_text(vm, "name"), port);
        scoped_free char *pid = json_u64(listener, "pid", 0) > 0
                                        ? xasprintf("%u", (unsigned) json_u64(listener, "pid", 0))
                                        : NULL;

        table_add(table, json_text(listener, "protocol"));
        table_add(table, endpoint);
        table_add(table, json_text(listener, "address"));
        table_add(table, json_text(listener, "process"));
        table_add(table, pid);
        table_add(table, json_text(listener, "url"));
}

static void print_table(const json_t *vms)
{
        static const char *const heads[] = { "PROTO", "ENDPOINT", "LISTENS ON", "PROCESS", "PID", "URL" };
        scoped(table_done) struct table table = { .n_columns = sizeof(heads) / sizeof(heads[0]) };
        const json_t *vm, *listener;
        size_t i, k;

        for (i = 0; i < table.n_columns; i++)
                table_add(&table, heads[i]);
        json_array_foreach (vms, i, vm)
                json_array_foreach (json_object_get(vm, "listeners"), k, listener)
                        add_listener(&table, vm, listener);
        table_print(&table, stdout);
}

int cmd_vm_ports(struct cli *cli, const struct cli_args *args, struct err *err)
{
        struct gathered gathered = { .vms = json_array() };
        int r = vms_do_each(cli, args, &api_vm_ports, gather, &gathered, err);

        if (!json_flag(args->options, "no_probe"))
                run_probes(&gathered);
        if (r >= 0 && json_flag(args->options, "json"))
                print_json(gathered.vms);
        else if (r >= 0)
                print_table(gathered.vms);
        json_decref(gathered.vms);
        return r;
}
