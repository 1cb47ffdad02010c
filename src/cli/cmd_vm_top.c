/*
 * vm top: what running VMs use, refreshed. Rates are differences between two looks of the daemon's, divided by its own clock.
 * On a terminal it takes the other screen (DECSET 1049), cuts lines to its width and gives everything back at the end,
 * whatever the end is. Elsewhere it looks twice, prints one table, and ends.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/cli_signals.h"
#include "cli/render_table.h"

#define INTERVAL_MS     2000
#define INTERVAL_MIN_MS 500
#define INTERVAL_MAX_MS 3600000
#define FIRST_MS        500 /* between the first two looks: the first rates come soon */
#define ROWS_MAX        1024

enum sort {
        SORT_CPU,
        SORT_MEMORY,
        SORT_DISK,
        SORT_NETWORK,
        SORT_NAME,
        N_SORTS
};
static const char *const sort_names[N_SORTS] = { "cpu", "memory", "disk", "network", "name" };
static const char sort_keys[N_SORTS] = { 'c', 'm', 'd', 't', 'n' };

/* A VM between two looks. */
struct row {
        const json_t *now;                    /* borrowed */
        double cpu;                           /* of one processor: 1.0 */
        double sent, received, read, written; /* bytes a second */
        uint64_t resident;
};

struct top {
        struct cli *cli;
        const struct cli_args *args;
        json_t *before, *now; /* owned: answers of vm.top */
        enum sort sort;
        uint64_t interval_ms;
        struct row rows[ROWS_MAX];
        size_t n_rows;
};

static void top_done(struct top *top)
{
        json_decref(top->before);
        json_decref(top->now);
}

static bool is_wanted(const struct top *top, const json_t *vm)
{
        for (size_t i = 0; i < top->args->n_operands; i++)
                if (strcmp(json_text(vm, "name"), top->args->operands[i]) == 0 ||
                    text_starts_with(json_text(vm, "id"), top->args->operands[i]))
                        return true;
        return top->args->n_operands == 0;
}

static const json_t *find(const json_t *answer, const char *id)
{
        const json_t *vm;
        size_t i;

        json_array_foreach (json_object_get(answer, "vms"), i, vm)
                if (strcmp(json_text(vm, "id"), id) == 0)
                        return vm;
        return NULL;
}

/* The sum of a counter over the guest's disks or links. */
static uint64_t sum(const json_t *named, const char *key)
{
        const char *name;
        json_t *one;
        uint64_t all = 0;

        json_object_foreach ((json_t *) (uintptr_t) named, name, one)
                all += json_u64(one, key, 0);
        return all;
}

/* A counter that went back was of an earlier start. */
static double rate(uint64_t now, uint64_t before, uint64_t elapsed_ms)
{
        return now >= before && elapsed_ms > 0 ? (double) (now - before) * 1000 / (double) elapsed_ms : 0;
}

static void row_fill(struct row *row, const json_t *now, const json_t *before)
{
        const json_t *vmm = json_object_get(now, "vmm"), *old_vmm = json_object_get(before, "vmm");
        const json_t *network = json_object_get(now, "network"),
                     *old_network = json_object_get(before, "network");
        const json_t *io = json_object_get(json_object_get(now, "guest"), "io"),
                     *old_io = json_object_get(json_object_get(before, "guest"), "io");
        uint64_t elapsed = json_u64(now, "sampled_ms", 0) - json_u64(before, "sampled_ms", 0);

        *row = (struct row){ .now = now, .resident = json_u64(vmm, "resident_bytes", 0) };
        if (!before || json_u64(vmm, "pid", 0) != json_u64(old_vmm, "pid", 0))
                return;
        row->cpu =
                rate(json_u64(vmm, "cpu_user_ms", 0) + json_u64(vmm, "cpu_system_ms", 0),
                     json_u64(old_vmm, "cpu_user_ms", 0) + json_u64(old_vmm, "cpu_system_ms", 0), elapsed) /
                1000;
        row->sent = rate(json_u64(network, "sent_bytes", 0), json_u64(old_network, "sent_bytes", 0), elapsed);
        row->received = rate(json_u64(network, "received_bytes", 0),
                             json_u64(old_network, "received_bytes", 0), elapsed);
        if (io && old_io) {
                row->read = rate(sum(io, "read_bytes"), sum(old_io, "read_bytes"), elapsed);
                row->written = rate(sum(io, "written_bytes"), sum(old_io, "written_bytes"), elapsed);
        }
}

static double weight(const struct row *row, enum sort sort)
{
        switch (sort) {
        case SORT_CPU:
                return row->cpu;
        case SORT_MEMORY:
                return (double) row->resident;
        case SORT_DISK:
                return row->read + row->written;
        case SORT_NETWORK:
                return row->sent + row->received;
        case SORT_NAME:
        case N_SORTS:
                break;
        }
        return 0;
}

static int compare(const void *a, const void *b, void *context)
{
        const struct row *one = a, *other = b;
        double first = weight(one, *(const enum sort *) context),
               second = weight(other, *(const enum sort *) context);

        if (first > second || first < second)
                return first > second ? -1 : 1;
        return strcmp(json_text(one->now, "name"), json_text(other->now, "name"));
}

static void make_rows(struct top *top)
{
        const json_t *vm;
        size_t i;

        top->n_rows = 0;
        json_array_foreach (json_object_get(top->now, "vms"), i, vm)
                if (is_wanted(top, vm) && top->n_rows < ROWS_MAX)
                        row_fill(&top->rows[top->n_rows++], vm, find(top->before, json_text(vm, "id")));
        qsort_r(top->rows, top->n_rows, sizeof(*top->rows), compare, &top->sort);
}

static void add_owned(struct table *table, char *owned_cell)
{
        scoped_free char *cell = owned_cell;

        table_add(table, cell);
}

static char *rates_text(double in, double out)
{
        char one[SIZE_TEXT_MAX], other[SIZE_TEXT_MAX];

        size_human((uint64_t) in, one);
        size_human((uint64_t) out, other);
        return xasprintf("%s / %s", one, other);
}

static char *uptime_text(const json_t *guest)
{
        unsigned s = (unsigned) json_number_value(json_object_get(guest, "uptime_s"));

        if (s >= 86400)
                return xasprintf("%ud %uh", s / 86400, s % 86400 / 3600);
        return s >= 3600 ? xasprintf("%uh %um", s / 3600, s % 3600 / 60)
                         : xasprintf("%um %us", s / 60, s % 60);
}

static double some(const json_t *guest, const char *resource)
{
        const json_t *pressure = json_object_get(json_object_get(guest, "pressure"), resource);

        return json_number_value(json_object_get(pressure, "some"));
}

/* Of a guest that does not answer (or is paused), dashes. */
static void add_row(struct table *table, const struct row *row)
{
        const json_t *guest = json_object_get(row->now, "guest"), *memory = json_object_get(guest, "memory");
        uint64_t total = json_u64(memory, "total_bytes", 0),
                 available = json_u64(memory, "available_bytes", 0);
        char resident[SIZE_TEXT_MAX], used[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];
        bool answers = json_is_object(guest);

        size_human(row->resident, resident);
        size_human(total > available ? total - available : 0, used);
        size_human(total, all);
        table_add(table, json_text(row->now, "name"));
        table_add(table, json_text(row->now, "state"));
        add_owned(table, xasprintf("%.1f%%", row->cpu * 100));
        table_add(table, resident);
        add_owned(table, answers ? xasprintf("%s / %s", used, all) : NULL);
        add_owned(table, rates_text(row->received, row->sent));
        add_owned(table, answers ? rates_text(row->read, row->written) : NULL);
        add_owned(table, answers && json_object_size(json_object_get(guest, "pressure")) > 0
                                 ? xasprintf("%.0f %.0f %.0f", some(guest, "cpu"), some(guest, "memory"),
                                             some(guest, "io"))
                                 : NULL);
        add_owned(table, answers ? uptime_text(guest) : NULL);
}

static void make_table(const struct top *top, size_t n_rows, struct table *table)
{
        static const char *const heads[] = { "NAME",       "STATE",          "CPU",
                                             "MEMORY",     "GUEST MEMORY",   "NET IN / OUT",
                                             "DISK R / W", "PRESSURE C M I", "UP" };

        table->n_columns = sizeof(heads) / sizeof(heads[0]);
        for (size_t i = 0; i < table->n_columns; i++)
                table_add(table, heads[i]);
        for (size_t i = 0; i < n_rows; i++)
                add_row(table, &top->rows[i]);
}

static int look(struct top *top, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        int r = cli_call(top->cli, &api_vm_top, NULL, &reply, err);

        if (r < 0)
                return r;
        json_decref(top->before);
        top->before = top->now;
        top->now = json_incref(reply.result);
        make_rows(top);
        return 0;
}

/* ---- one table ---- */

static int check_wanted(const struct top *top, struct err *err)
{
        for (size_t i = 0; i < top->args->n_operands; i++) {
                const char *reference = top->args->operands[i];
                bool found = false;

                for (size_t k = 0; k < top->n_rows && !found; k++)
                        found = strcmp(json_text(top->rows[k].now, "name"), reference) == 0 ||
                                text_starts_with(json_text(top->rows[k].now, "id"), reference);
                if (!found)
                        return err_set(err, ENOENT, "vm.top",
                                       "no vm '%s' is running; 'banger ps' lists those that are", reference);
        }
        return 0;
}

static int print_once(struct top *top, struct err *err)
{
        scoped(table_done) struct table table = { 0 };
        int r = look(top, err);

        if (r == 0)
                r = check_wanted(top, err);
        if (r < 0)
                return r;
        (void) poll(NULL, 0, (int) FIRST_MS);
        r = look(top, err);
        if (r < 0)
                return r;
        make_table(top, top->n_rows, &table);
        table_print(&table, stdout);
        return 0;
}

/* ---- live ---- */

struct screen {
        struct termios before;
        int signals; /* owned */
        unsigned rows, columns;
};

static void screen_measure(struct screen *screen)
{
        struct winsize size;

        screen->rows = 24;
        screen->columns = 80;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
                screen->rows = size.ws_row;
                screen->columns = size.ws_col;
        }
}

static bool screen_begin(struct screen *screen)
{
        static const char enter[] = "\033[?1049h\033[?25l"; /* xterm: the other screen; no cursor */
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &screen->before) < 0)
                return false;
        raw = screen->before;
        raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
        (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
        signals_hold();
        screen->signals = signals_begin(true);
        screen_measure(screen);
        (void) fd_write_full(STDOUT_FILENO, enter, sizeof(enter) - 1);
        return true;
}

static void screen_end(struct screen *screen)
{
        static const char leave[] = "\033[?25h\033[?1049l";

        (void) fd_write_full(STDOUT_FILENO, leave, sizeof(leave) - 1);
        (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &screen->before);
        signals_end(screen->signals);
        signals_release();
}

/* Lines cut to the width; everything behind and below them is wiped (ECMA-48 EL, ED). */
static void screen_show(const struct screen *screen, const char *lines)
{
        scoped_text struct text out = { 0 };
        unsigned row = 0, column = 0;

        text_append(&out, "\033[H");
        for (const char *c = lines; *c != '\0' && row < screen->rows; c++) {
                bool goes_on = ((unsigned char) *c & 0xc0U) == 0x80;

                if (*c == '\n') {
                        text_append(&out, ++row < screen->rows ? "\033[K\r\n" : "\033[K");
                        column = 0;
                } else if (column < screen->columns || (goes_on && column == screen->columns)) {
                        text_append_bytes(&out, c, 1);
                        column += !goes_on;
                }
        }
        text_append(&out, "\033[J");
        (void) fd_write_full(STDOUT_FILENO, out.s, out.n);
}

static void show_live(const struct top *top, const struct screen *screen)
{
        scoped(table_done) struct table table = { 0 };
        size_t room = screen->rows > 3 ? screen->rows - 3 : 0;
        char *lines = NULL;
        size_t n = 0;
        FILE *memory = open_memstream(&lines, &n);

        if (!memory)
                return;
        (void) fprintf(memory, "%zu running, by %s (c m d t n; q ends)\n\n", top->n_rows,
                       sort_names[top->sort]);
        make_table(top, top->n_rows < room ? top->n_rows : room, &table);
        table_print(&table, memory);
        (void) fclose(memory);
        screen_show(screen, lines);
        free(lines);
}

/* 1: the end is wanted. */
static int take_key(struct top *top)
{
        char keys[32];
        ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
                return 1;
        for (ssize_t i = 0; i < n; i++) {
                if (keys[i] == 'q' || keys[i] == 'Q')
                        return 1;
                for (unsigned sort = 0; sort < N_SORTS; sort++)
                        if (keys[i] == sort_keys[sort])
                                top->sort = (enum sort) sort;
        }
        return 0;
}

/* 1: the end is wanted. */
static int take_signal(struct top *top, struct screen *screen)
{
        int signal = signals_take(screen->signals);

        if (signal != SIGWINCH && signal != 0) {
                top->cli->signal = signal;
                return 1;
        }
        screen_measure(screen);
        return 0;
}

/* Waits for the time of the next look; keys and a new size are answered meanwhile. 1: the end is wanted. */
static int wait_live(struct top *top, struct screen *screen, uint64_t ms)
{
        uint64_t deadline_ms = clock_monotonic_ms() + ms;
        struct pollfd p[2] = {
                {.fd = STDIN_FILENO,     .events = POLLIN},
                { .fd = screen->signals, .events = POLLIN}
        };

        while (clock_left_ms(deadline_ms) > 0 && poll(p, 2, clock_left_ms(deadline_ms)) != 0) {
                if (p[0].revents && take_key(top))
                        return 1;
                if (p[1].revents && take_signal(top, screen))
                        return 1;
                make_rows(top);
                show_live(top, screen);
        }
        return 0;
}

static int run_live(struct top *top, struct err *err)
{
        struct screen screen;
        uint64_t wait_ms = FIRST_MS;
        int r;

        if (!screen_begin(&screen))
                return print_once(top, err);
        do {
                r = look(top, err);
                if (r < 0)
                        break;
                show_live(top, &screen);
                r = wait_live(top, &screen, wait_ms);
                wait_ms = top->interval_ms;
        } while (r == 0);
        screen_end(&screen);
        if (top->cli->signal == SIGINT) { /* the usual way to leave such a program */
                top->cli->signal = 0;
                *err = (struct err){ 0 };
                return 0;
        }
        return r < 0 ? r : 0;
}

static int take_options(struct top *top, struct err *err)
{
        const char *sort = json_text(top->args->options, "sort"),
                   *interval = json_text(top->args->options, "interval");
        unsigned i = 0;

        top->interval_ms = INTERVAL_MS;
        if (*interval && (clock_parse_duration(interval, &top->interval_ms) < 0 ||
                          top->interval_ms < INTERVAL_MIN_MS || top->interval_ms > INTERVAL_MAX_MS))
                return err_set(err, EINVAL, "vm.top",
                               "--interval must be a duration from 500ms to 1h, not '%s'", interval);
        while (*sort && i < N_SORTS && strcmp(sort_names[i], sort) != 0)
                i++;
        if (i == N_SORTS)
                return err_set(err, EINVAL, "vm.top",
                               "--sort must be cpu, memory, disk, network or name, not '%s'", sort);
        top->sort = (enum sort) i;
        return 0;
}

int cmd_vm_top(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped_free struct top *top = xcalloc(1, sizeof(*top));
        bool live =
                !json_flag(args->options, "once") && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
        int r;

        top->cli = cli;
        top->args = args;
        r = take_options(top, err);
        if (r == 0)
                r = live ? run_live(top, err) : print_once(top, err);
        top_done(top);
        return r;
}
