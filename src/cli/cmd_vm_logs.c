#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/api_vm.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_commands.h"
#include "cli/render_guest.h"

#define FOLLOW_MS 1000 /* without an event, to see that the log is gone */
#define LINES_MAX 1000000000
#define BLOCK     65536
#define NS_PER_MS 1000000U
#define NS_PER_S  1000000000U

enum {
        LOG_CONSOLE,
        LOG_VMM
}; /* the order of vm.logs' descriptors */

/* What to show of a log. */
struct view {
        int fd;      /* borrowed */
        off_t place; /* the next byte */
        bool to_terminal;
        struct guest_filter filter;
};

static int parse_since(const char *text, uint64_t *ret_ns, struct err *err)
{
        struct tm tm = { 0 };
        const char *end;
        uint64_t ms;

        if (clock_parse_duration(text, &ms) == 0) {
                uint64_t now = clock_real_ns();

                *ret_ns = now / NS_PER_MS > ms ? now - ms * NS_PER_MS : 1;
                return 0;
        }
        end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
        if (!end || *end != '\0' || timegm(&tm) <= 0)
                return err_set(err, EINVAL, "vm.logs",
                               "--since must be a duration (10m, 2h30m) or a time in UTC "
                               "(2026-04-28T20:45:50Z), not "
                               "'%s'",
                               text);
        *ret_ns = (uint64_t) timegm(&tm) * NS_PER_S;
        return 0;
}

/* Reads up to n bytes at a place; 0 at the end. */
static ssize_t read_at(int fd, char *buffer, size_t n, off_t place, struct err *err)
{
        ssize_t got;

        do
                got = pread(fd, buffer, n, place);
        while (got < 0 && errno == EINTR);
        return got < 0 ? err_errno(err, "vm.logs", "read the log") : got;
}

/* A bounded log may begin with a hole where its front was. */
static off_t skip_hole(int fd, off_t place, off_t size)
{
        off_t data = lseek(fd, place, SEEK_DATA);

        return data >= 0 ? data : errno == ENXIO ? size : place;
}

/* Of a block: the place behind the *n-th newline from its end, counting *n down; -1 when it has fewer. */
static ssize_t back_lines(const char *block, ssize_t n_block, bool is_last, uint64_t *n)
{
        for (ssize_t i = n_block - 1; i >= 0; i--) {
                if (block[i] != '\n' ||
                    (is_last && i == n_block - 1)) /* the end of the last line begins none */
                        continue;
                if (--*n == 0)
                        return i + 1;
        }
        return -1;
}

/* Where the last n lines before size begin, not before first. */
static int find_last_lines(int fd, off_t first, off_t size, uint64_t n, off_t *ret_place, struct err *err)
{
        scoped_free char *block = xmalloc(BLOCK);
        off_t end = size;

        *ret_place = n == 0 ? size : first;
        while (n > 0 && end > first) {
                off_t begin = end - first > BLOCK ? end - BLOCK : first;
                ssize_t got = read_at(fd, block, (size_t) (end - begin), begin, err), place;

                if (got < 0)
                        return (int) got;
                place = back_lines(block, got, end == size, &n);
                if (place >= 0)
                        *ret_place = begin + place;
                end = begin;
        }
        return 0;
}

/* A line on its way past, as far as its time goes. */
struct line_time {
        char text[CLOCK_TEXT_MAX];
        size_t n;
        off_t place;
};
#define LINE_TIME_N (sizeof("2026-04-28T20:45:50") - 1)

/* True when the byte at this place completes a time that is not before since. */
static bool line_reaches(struct line_time *line, char c, off_t place, const char *since)
{
        if (c == '\n') {
                line->n = 0;
                line->place = place + 1;
                return false;
        }
        if (line->n == LINE_TIME_N)
                return false;
        line->text[line->n++] = c;
        return line->n == LINE_TIME_N && memcmp(line->text, since, LINE_TIME_N) >= 0;
}

/* A VMM's lines begin with their time in UTC, Firecracker docs/logger.md; the first that is not before since. */
static int find_time(int fd, off_t size, uint64_t since_ns, off_t *ret_place, struct err *err)
{
        scoped_free char *block = xmalloc(BLOCK);
        struct line_time line = { .n = 0 };
        char since[CLOCK_TEXT_MAX];
        ssize_t got = 0;

        clock_format(since_ns, since);
        *ret_place = size;
        for (off_t place = 0; place < size; place += got) {
                got = read_at(fd, block, BLOCK, place, err);
                if (got <= 0)
                        return (int) got;
                for (ssize_t i = 0; i < got; i++)
                        if (line_reaches(&line, block[i], place + i, since)) {
                                *ret_place = line.place;
                                return 0;
                        }
        }
        return 0;
}

static int show(struct view *view, const char *bytes, size_t n, struct err *err)
{
        scoped_text struct text plain = { 0 };
        int r;

        if (view->to_terminal) {
                guest_filter_run(&view->filter, bytes, n, &plain);
                r = plain.n > 0 ? fd_write_full(STDOUT_FILENO, plain.s, plain.n) : 0;
        } else {
                r = fd_write_full(STDOUT_FILENO, bytes, n);
        }
        return r < 0 && r != -EPIPE ? err_set(err, -r, "vm.logs", "write: %s", strerror(-r)) : r;
}

/* All there is from view->place on. -EPIPE: nobody reads any more. */
static int show_rest(struct view *view, struct err *err)
{
        scoped_free char *block = xmalloc(BLOCK);

        for (;;) {
                ssize_t got = read_at(view->fd, block, BLOCK, view->place, err);
                int r;

                if (got <= 0)
                        return (int) got;
                view->place += got;
                r = show(view, block, (size_t) got, err);
                if (r < 0)
                        return r;
        }
}

static void wait_for_more(int watch)
{
        char events[4096];
        struct pollfd p = { .fd = watch, .events = POLLIN };

        if (poll(&p, 1, FOLLOW_MS) > 0)
                (void) !read(watch, events, sizeof(events));
}

static int follow(struct view *view, struct err *err)
{
        scoped_close int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        char path[64];
        struct stat st;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", view->fd);
        if (watch >= 0)
                (void) inotify_add_watch(watch, path, IN_MODIFY | IN_ATTRIB);
        for (;;) {
                r = show_rest(view, err);
                if (r < 0)
                        return r;
                if (fstat(view->fd, &st) < 0 || st.st_nlink == 0) /* the vm is deleted */
                        return 0;
                if (st.st_size < view->place) /* it was cut; what stands there was shown */
                        view->place = st.st_size;
                wait_for_more(watch);
        }
}

static int find_place(struct view *view, const struct cli_args *args, uint64_t since_ns, const json_t *answer,
                      struct err *err)
{
        const char *lines = json_text(args->options, "lines");
        struct stat st;
        uint64_t n;
        int r = 0;

        if (fstat(view->fd, &st) < 0)
                return err_errno(err, "vm.logs", "look at the log");
        if (since_ns > 0 && json_flag(args->options, "vmm"))
                r = find_time(view->fd, st.st_size, since_ns, &view->place, err);
        else if (since_ns > 0)
                view->place = (off_t) json_u64(answer, "console_place", 0);
        if (r < 0)
                return r;
        view->place = skip_hole(view->fd, view->place, st.st_size);
        if (*lines && text_parse_u64(lines, LINES_MAX, &n) < 0)
                return err_set(err, EINVAL, "vm.logs", "--lines must be a number of lines, not '%s'", lines);
        return *lines ? find_last_lines(view->fd, view->place, st.st_size, n, &view->place, err) : 0;
}

int cmd_vm_logs(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(rpc_reply_done) struct rpc_reply reply = { 0 };
        struct view view = { .to_terminal = isatty(STDOUT_FILENO) == 1 };
        const char *since = json_text(args->options, "since");
        uint64_t since_ns = 0;
        int r;

        if (json_flag(args->options, "vmm") && json_flag(args->options, "console"))
                return err_set(err, EINVAL, "vm.logs",
                               "--vmm and --console are different logs; give one of them");
        r = *since ? parse_since(since, &since_ns, err) : 0;
        if (r < 0)
                return r;
        if (since_ns > 0)
                (void) json_object_set_new(args->params, "since_ns", json_integer((json_int_t) since_ns));
        r = cli_call(cli, &api_vm_logs, json_incref(args->params), &reply, err);
        if (r < 0)
                return r;
        if (reply.n_fds != 2)
                return err_set(err, EBADMSG, "vm.logs", "bangerd sent no logs");
        view.fd = reply.fds[json_flag(args->options, "vmm") ? LOG_VMM : LOG_CONSOLE];
        r = find_place(&view, args, since_ns, reply.result, err);
        if (r == 0)
                r = json_flag(args->options, "follow") ? follow(&view, err) : show_rest(&view, err);
        return r == -EPIPE ? 0 : r;
}
