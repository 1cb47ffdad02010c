/* Files between this host and a guest, with the rules of cp(1) and docker cp for where they go. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "cli/cli_commands.h"
#include "cli/cli_guest.h"
#include "cli/cli_signals.h"
#include "cli/render_progress.h"
#include "guest/client/guest_copy.h"
#include "tar/tar_pack.h"

#define OP_CP        "vm.cp"
#define LEFT_PERCENT 5 /* of the destination's file system stay free, whatever a guest sends */

/* One operand: "vm:path" or a path of this host, "-" for a stream. */
struct side {
        char *vm;         /* owned; NULL: this host */
        const char *path; /* borrowed */
        bool is_stream;
};

struct copy {
        const struct cli_args *args;
        struct side *sources; /* owned, as the strings in it */
        size_t n_sources;
        struct side destination;
        const char **paths; /* owned array: those of the sources, NULL-terminated */
        struct progress progress;
        uint64_t shown_ms;
};

static void copy_done(struct copy *copy)
{
        for (size_t i = 0; i < copy->n_sources; i++)
                free(copy->sources[i].vm);
        free(copy->sources);
        free(copy->destination.vm);
        free(copy->paths);
        progress_done(&copy->progress);
}

static inline void copy_done_at_scope_end(struct copy *copy)
{
        copy_done(copy);
}

/* As with docker cp and scp: a colon makes it a guest's, unless a slash or a dot before it says otherwise. */
static void read_side(const char *word, struct side *ret_side)
{
        const char *colon = strchr(word, ':'), *slash = strchr(word, '/');

        *ret_side = (struct side){ .path = word, .is_stream = strcmp(word, "-") == 0 };
        if (!colon || colon == word || word[0] == '.' || (slash && slash < colon))
                return;
        ret_side->vm = strndup(word, (size_t) (colon - word));
        ret_side->path = colon + 1;
}

static int check_sides(const struct copy *copy, struct err *err)
{
        const struct side *first = &copy->sources[0], *to = &copy->destination;

        for (size_t i = 1; i < copy->n_sources; i++) {
                const char *vm = copy->sources[i].vm;

                if (!vm != !first->vm || (vm && strcmp(vm, first->vm) != 0))
                        return err_set(err, EINVAL, OP_CP,
                                       "all sources must be of this host, or all of the same vm; '%s' and "
                                       "'%s' are not",
                                       copy->args->operands[0], copy->args->operands[i]);
                if (copy->sources[i].is_stream)
                        return err_set(err, EINVAL, OP_CP,
                                       "'-' is a whole stream; nothing else goes with it");
        }
        if (first->is_stream && copy->n_sources > 1)
                return err_set(err, EINVAL, OP_CP, "'-' is a whole stream; nothing else goes with it");
        if (first->vm && to->vm)
                return err_set(err, EINVAL, OP_CP,
                               "from one vm to another it goes through this host: banger vm cp %s - | banger "
                               "vm cp - %s",
                               copy->args->operands[0], copy->args->operands[copy->n_sources]);
        if (!first->vm && !to->vm)
                return err_set(err, EINVAL, OP_CP,
                               "neither '%s' nor '%s' is in a vm; write its side as web:/path",
                               copy->args->operands[0], copy->args->operands[copy->n_sources]);
        return 0;
}

static int read_operands(const struct cli_args *args, struct copy *copy, struct err *err)
{
        if (args->n_operands < 2)
                return err_set(err, EINVAL, OP_CP, "'banger vm cp' wants <source>... and <destination>");
        copy->args = args;
        copy->n_sources = args->n_operands - 1;
        copy->sources = xcalloc(copy->n_sources, sizeof(*copy->sources));
        copy->paths = xcalloc(copy->n_sources + 1, sizeof(*copy->paths));
        for (size_t i = 0; i < copy->n_sources; i++) {
                read_side(args->operands[i], &copy->sources[i]);
                copy->paths[i] = copy->sources[i].path;
        }
        read_side(args->operands[copy->n_sources], &copy->destination);
        return check_sides(copy, err);
}

static void show_moved(void *context, const struct guest_progress *done)
{
        struct copy *copy = context;
        uint64_t now_ms = clock_monotonic_ms(), past_ms = now_ms - copy->progress.started_ms;
        char size[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX];
        scoped_free char *detail = NULL;

        if (!copy->progress.is_live || now_ms - copy->shown_ms < PROGRESS_TICK_MS)
                return;
        copy->shown_ms = now_ms;
        size_human(done->n_bytes, size);
        size_human(past_ms > 0 ? done->n_bytes * 1000 / past_ms : 0, rate);
        detail = xasprintf("%llu files, %s, %s/s", (unsigned long long) done->n_entries, size, rate);
        (void) snprintf(copy->progress.detail, sizeof(copy->progress.detail), "%.40s", detail);
        copy->progress.done = done->n_bytes;
        progress_tick(&copy->progress);
}

static void begin_progress(struct copy *copy, const char *stage)
{
        (void) snprintf(copy->progress.stage, sizeof(copy->progress.stage), "%s", stage);
        copy->progress.started_ms = clock_monotonic_ms();
}

static void tell_skipped(const struct guest_progress *done)
{
        if (done->n_skipped > 0)
                (void) fprintf(stderr, "%llu sockets, pipes or devices were left out\n",
                               (unsigned long long) done->n_skipped);
}

/* A signal cuts the connection, after which everything comes to its end in order. */
static int finish(struct cli *cli, int r, const struct guest_progress *done, struct err *err)
{
        cli->signal = signals_unguard();
        if (cli->signal != 0 && r < 0)
                (void) fprintf(stderr,
                               "banger: interrupted; %llu files and folders were sent, the last one perhaps "
                               "not whole: "
                               "it is not there then\n",
                               (unsigned long long) done->n_entries);
        else
                cli->signal = 0;
        if (r < 0 && done->n_entries > 0)
                return err_wrap(err, "after %llu files and folders, which stay",
                                (unsigned long long) done->n_entries);
        return r;
}

/* S-043 does not matter here: paths are this process's own. */
static int copy_in(struct cli *cli, struct copy *copy, int fd, struct err *err)
{
        struct guest_copy wish = { .paths = copy->paths,
                                   .destination = copy->destination.path,
                                   .into = copy->n_sources > 1,
                                   .follow = json_flag(copy->args->options, "follow"),
                                   .moved = show_moved,
                                   .context = copy };
        int r;

        begin_progress(copy, "copy");
        if (copy->progress.is_live)
                for (size_t i = 0; i < copy->n_sources; i++)
                        tar_pack_measure(copy->paths[i], wish.follow, &copy->progress.total);
        signals_guard(fd);
        r = finish(cli, guest_copy_in(fd, &wish, err), &wish.done, err);
        progress_done(&copy->progress);
        if (r == 0)
                tell_skipped(&wish.done);
        return r;
}

/* What a guest may send at most, unless the caller says: so much that the file system has some room left. */
static int find_limits(const struct copy *copy, struct guest_copy *wish, struct err *err)
{
        const char *given = json_text(copy->args->options, "max_size");
        const char *slash = strrchr(wish->destination, '/');
        scoped_free char *parent =
                slash ? strndup(wish->destination, (size_t) (slash - wish->destination) + 1) : xstrdup(".");
        struct statvfs vfs;

        if (*given)
                return size_parse(given, &wish->bytes_max) < 0 || wish->bytes_max == 0
                               ? err_set(err, EINVAL, OP_CP,
                                         "--max-size: '%s' is not a size; write it as 4GiB, 512M or 1024 "
                                         "(MiB)",
                                         given)
                               : 0;
        if (statvfs(wish->destination, &vfs) < 0 && statvfs(parent, &vfs) < 0)
                return 0; /* opening it will say what is wrong with it */
        wish->bytes_max = (uint64_t) vfs.f_bavail * vfs.f_frsize / 100 * (100 - LEFT_PERCENT) + 1;
        wish->entries_max = vfs.f_files > 0 ? vfs.f_favail / 100 * (100 - LEFT_PERCENT) + 1 : 0;
        return 0;
}

static int explain_limit(const struct copy *copy, struct err *err)
{
        if (*json_text(copy->args->options, "max_size"))
                return err_wrap(err, "--max-size");
        return err_wrap(
                err,
                "the guest sends more than may be written (%d %% of the file system stay free; --max-size "
                "sets another limit)",
                LEFT_PERCENT);
}

static int copy_out(struct cli *cli, struct copy *copy, int fd, struct err *err)
{
        struct guest_copy wish = { .paths = copy->paths,
                                   .destination = copy->destination.path,
                                   .into = copy->n_sources > 1,
                                   .follow = json_flag(copy->args->options, "follow"),
                                   .moved = show_moved,
                                   .context = copy };
        int r = find_limits(copy, &wish, err);

        if (r < 0)
                return r;
        for (size_t i = 0; i < copy->n_sources; i++) /* several can come of one */
                wish.into = wish.into || strpbrk(copy->paths[i], "*?[");
        begin_progress(copy, "copy");
        signals_guard(fd);
        r = guest_copy_out(fd, &wish, err);
        if (r == -EFBIG)
                r = explain_limit(copy, err);
        r = finish(cli, r, &wish.done, err);
        progress_done(&copy->progress);
        if (r == 0)
                tell_skipped(&wish.done);
        return r;
}

static int run_copy(struct cli *cli, struct copy *copy, int fd, struct err *err)
{
        const struct guest_copy wish = { .paths = copy->paths,
                                         .follow = json_flag(copy->args->options, "follow") };

        if (copy->sources[0].is_stream)
                return guest_copy_in_stream(fd, copy->destination.path, STDIN_FILENO, err);
        if (copy->destination.is_stream)
                return guest_copy_out_stream(fd, &wish, STDOUT_FILENO, err);
        return copy->destination.vm ? copy_in(cli, copy, fd, err) : copy_out(cli, copy, fd, err);
}

/* What is wrong here is found before a guest is bothered. */
static int check_host(const struct copy *copy, struct err *err)
{
        struct stat st;

        if (copy->destination.is_stream && isatty(STDOUT_FILENO) == 1)
                return err_set(err, EINVAL, OP_CP,
                               "a tar stream is not for a terminal; redirect it to a file or to tar");
        if (copy->sources[0].is_stream && isatty(STDIN_FILENO) == 1)
                return err_set(err, EINVAL, OP_CP,
                               "'-' reads a tar stream from standard input, which is a terminal");
        for (size_t i = 0; i < copy->n_sources && copy->destination.vm && !copy->sources[0].is_stream; i++)
                if (lstat(copy->paths[i], &st) < 0)
                        return err_errno(err, OP_CP, "copy '%s'", copy->paths[i]);
        return 0;
}

int cmd_vm_cp(struct cli *cli, const struct cli_args *args, struct err *err)
{
        scoped(copy_done) struct copy copy = { 0 };
        scoped_close int fd = FD_NONE;
        int r = read_operands(args, &copy, err);

        if (r == 0)
                r = check_host(&copy, err);
        if (r < 0)
                return r;
        fd = cli_connect(cli, copy.destination.vm ? copy.destination.vm : copy.sources[0].vm, NULL, err);
        if (fd < 0)
                return fd;
        progress_init(&copy.progress, NULL);
        return run_copy(cli, &copy, fd, err);
}
