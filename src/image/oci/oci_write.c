/*
 * How it works: a child writes, reading each layer from a pipe; we fetch and feed the pipes (oci_fetch.h). What has to be
 * read twice (ESPIPE, oci_layers.h) is read from the files, which are all there by then.
 */
#include "image/oci/oci_write.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/scoped.h"

#define OP        "image.write"
#define PIPE_SIZE (1 << 20)
#define REPORT_MS 100
#define LABEL     "rootfs"

/* What the child tells: memory that both see. */
struct report {
        int r;
        bool is_over;
        struct err err;
        struct oci_layers_result result;
        volatile uint64_t bytes_read;
};

struct writing {
        const struct oci_pull *pull;
        struct oci_fetch *fetch;
        const struct oci_config *config;
        const char *digest;
        struct report *report;
        int *ends; /* the child's ends of the pipes, FD_NONE: it reads the file */
};

static int on_progress(void *userdata, uint64_t bytes_read, uint64_t n_entries)
{
        struct report *report = userdata;

        (void) n_entries;
        report->bytes_read = bytes_read;
        return 0;
}

static int write_layers(const struct writing *writing, bool from_files)
{
        const struct oci_fetch *fetch = writing->fetch;
        scoped_free struct oci_layer *layers = xcalloc(fetch->n_blobs, sizeof(*layers));
        const struct oci_layers_options options = { .image_path = writing->pull->image_path,
                                                    .size = writing->pull->size,
                                                    .image_digest = writing->digest,
                                                    .time = writing->config->created_s,
                                                    .label = LABEL,
                                                    .progress = on_progress,
                                                    .userdata = writing->report };

        for (unsigned i = 0; i < fetch->n_blobs; i++) {
                const struct oci_fetch_blob *blob = &fetch->blobs[i];

                layers[i] = (struct oci_layer){ .fd = !from_files && writing->ends[i] >= 0 ? writing->ends[i]
                                                                                           : blob->fd,
                                                .compression = blob->descriptor->compression,
                                                .digest = blob->descriptor->digest,
                                                .diff_id = writing->config->diff_ids[i],
                                                .size = blob->descriptor->size };
                if (from_files)
                        (void) lseek(blob->fd, 0, SEEK_SET);
        }
        return oci_layers_write(layers, fetch->n_blobs, &options, &writing->report->result,
                                &writing->report->err);
}

__attribute__((noreturn)) static void be_child(const struct writing *writing, pid_t parent)
{
        const struct oci_fetch *fetch = writing->fetch;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(1);
        for (unsigned i = 0; i < fetch->n_blobs; i++)
                if (fetch->blobs[i].feed >= 0)
                        (void) close(fetch->blobs[i].feed); /* or the end would never come */
        writing->report->r = write_layers(writing, false);
        writing->report->is_over = true;
        _exit(0);
}

static void close_ends(struct writing *writing)
{
        for (unsigned i = 0; i < writing->fetch->n_blobs; i++)
                close_at_scope_end(&writing->ends[i]);
}

/* A blob that is a file of its own is read as one; what comes, or is a part of an archive, goes through a pipe. */
static int open_pipes(struct writing *writing, struct err *err)
{
        struct oci_fetch *fetch = writing->fetch;

        for (unsigned i = 0; i < fetch->n_blobs; i++) {
                writing->ends[i] = FD_NONE;
                fetch->blobs[i].feed = FD_NONE;
        }
        for (unsigned i = 0; i < fetch->n_blobs; i++) {
                int pair[2];

                if (fetch->blobs[i].is_here && fetch->blobs[i].offset == 0)
                        continue;
                if (pipe2(pair, O_CLOEXEC) < 0)
                        return err_errno(err, OP, "pipe");
                writing->ends[i] = pair[0];
                fetch->blobs[i].feed = pair[1];
                (void) fcntl(pair[1], F_SETPIPE_SZ, PIPE_SIZE); /* more may not be allowed: slower then */
        }
        return 0;
}

/* After the last byte was handed on: what is left is the writer's. */
static int wait_for_child(const struct writing *writing, int pidfd, struct err *err)
{
        const struct oci_progress *progress = &writing->pull->progress;
        uint64_t total = 0;

        for (unsigned i = 0; i < writing->fetch->n_blobs; i++)
                total += writing->fetch->blobs[i].descriptor->size;
        for (;;) {
                int r = fd_wait(pidfd, POLLIN, REPORT_MS);

                if (r != -ETIMEDOUT)
                        return r < 0 ? err_set(err, -r, OP, "wait for the writer: %s", strerror(-r)) : 0;
                if (progress->stage &&
                    progress->stage(progress->userdata, "write", writing->report->bytes_read, total) < 0)
                        return err_set(err, ECANCELED, OP, "cancelled");
        }
}

/* What is killed cannot take its file away itself. */
static int reap(const struct writing *writing, pid_t pid, bool kill_first, struct err *err)
{
        int status = 0;

        if (kill_first)
                (void) kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return err_errno(err, OP, "wait for the writer");
        if (kill_first)
                (void) unlink(writing->pull->image_path);
        return 0;
}

/* The writer's own failure says more than that nobody reads what is fetched. */
static int judge(const struct writing *writing, int fetched, const struct err *fetch_err, struct err *err)
{
        const struct report *report = writing->report;
        bool is_stopped = fetched == -ECANCELED && !report->is_over;

        if (report->is_over && report->r < 0) {
                *err = report->err;
                return report->r;
        }
        if (fetched < 0 && !is_stopped) {
                *err = *fetch_err;
                return fetched;
        }
        return report->is_over ? 0 : err_set(err, EIO, OP, "the process that writes the image was killed");
}

static bool is_stopped(void *userdata)
{
        const struct report *report = userdata;

        return !report->is_over || report->r < 0;
}

static int run_beside(struct writing *writing, struct err *err)
{
        struct err fetch_err = { 0 };
        scoped_close int pidfd = FD_NONE;
        pid_t parent = getpid(), pid = fork();
        int fetched;

        if (pid < 0)
                return err_errno(err, OP, "fork");
        if (pid == 0)
                be_child(writing, parent);
        close_ends(writing);
        pidfd = fd_pidfd_open(pid);
        writing->fetch->stop_fd = pidfd;
        writing->fetch->is_stopped = is_stopped;
        writing->fetch->stop_userdata = writing->report;
        fetched = oci_fetch_run(writing->fetch, &fetch_err);
        if (fetched == 0)
                fetched = wait_for_child(writing, pidfd, &fetch_err);
        /* a writer that has ended by itself is not killed, so that what it says is whole */
        if (reap(writing, pid, fetched < 0 && fd_wait(pidfd, POLLIN, 0) < 0, err) < 0)
                return -err->code;
        return judge(writing, fetched, &fetch_err, err);
}

/* A part of an archive as a file of its own, without a name. */
static int detach(const struct oci_fetch *fetch, struct oci_fetch_blob *blob, struct err *err)
{
        scoped_close int copy = oci_cache_begin(fetch->cache, err);
        off_t at = (off_t) blob->offset;

        if (copy < 0)
                return copy;
        for (uint64_t left = blob->descriptor->size; left > 0;) {
                ssize_t n = sendfile(copy, blob->fd, &at, left < PIPE_SIZE ? (size_t) left : PIPE_SIZE);

                if (n <= 0)
                        return err_set(err, n < 0 ? errno : EBADMSG, OP,
                                       "copy a layer out of its archive: %s",
                                       n < 0 ? strerror(errno) : "it ends too early");
                left -= (uint64_t) n;
        }
        (void) close(blob->fd);
        blob->fd = take_fd(&copy);
        blob->offset = 0;
        return 0;
}

static int run_from_files(struct writing *writing, struct err *err)
{
        int r;

        writing->fetch->stop_fd = FD_NONE;
        r = oci_fetch_run(writing->fetch, err); /* the writer may have ended before all was there */
        if (r < 0)
                return r;
        for (unsigned i = 0; i < writing->fetch->n_blobs; i++) {
                r = writing->fetch->blobs[i].offset > 0
                            ? detach(writing->fetch, &writing->fetch->blobs[i], err)
                            : 0;
                if (r < 0)
                        return r;
        }
        writing->report->err = (struct err){ 0 };
        r = write_layers(writing, true);
        if (r < 0)
                *err = writing->report->err;
        return r;
}

int oci_write(const struct oci_pull *pull, struct oci_fetch *fetch, const struct oci_config *config,
              const char *manifest_digest, struct oci_layers_result *ret_result, struct err *err)
{
        struct writing writing = {
                .pull = pull, .fetch = fetch, .config = config, .digest = manifest_digest
        };
        scoped_free int *ends = xcalloc(fetch->n_blobs, sizeof(*ends));
        int r;

        writing.ends = ends;
        writing.report = mmap(NULL, sizeof(*writing.report), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (writing.report == MAP_FAILED)
                return err_errno(err, OP, "memory to share with the writer");
        r = open_pipes(&writing, err);
        if (r == 0)
                r = run_beside(&writing, err);
        close_ends(&writing);
        if (r == -ESPIPE) {
                *err = (struct err){ 0 };
                r = run_from_files(&writing, err);
        }
        if (r == 0)
                *ret_result = writing.report->result;
        (void) munmap(writing.report, sizeof(*writing.report));
        return r;
}
