#include "cli/cli_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"
#include "cli/cli_call.h"
#include "cli/cli_signals.h"

#define OP           "image.spool"
#define OCI_FOLDER   "oci" /* what `image cache prune` empties */
#define COPY_SIZE    ((size_t) 256 << 10)
#define LEFT_PERCENT 5 /* of the file system stay free, whatever comes */

/* Root's command line serves the owner's daemon. */
static int give(const struct cli *cli, const char *path, struct err *err)
{
        if (geteuid() == 0 && lchown(path, cli->layout.owner_uid, cli->layout.owner_gid) < 0)
                return err_errno(err, OP, "give '%s' to bangerd", path);
        return 0;
}

static int make_parent(const struct cli *cli, const char *parent, struct err *err)
{
        int r;

        if (!file_is_missing(parent))
                return 0;
        r = file_make_folders(parent, 0700, err);
        return r < 0 ? r : give(cli, parent, err);
}

int cli_spool_begin(struct cli *cli, struct cli_spool *ret_spool, struct err *err)
{
        scoped_free char *parent = NULL;
        int r = cli_need_layout(cli, err);

        if (r < 0)
                return r;
        parent = layout_join(cli->layout.cache, OCI_FOLDER, NULL);
        r = make_parent(cli, parent, err);
        if (r < 0)
                return r;
        ret_spool->folder = xasprintf("%s/.spool-XXXXXX", parent);
        if (!mkdtemp(ret_spool->folder)) {
                r = err_errno(err, OP, "make a folder in '%s'", parent);
                free(take_ptr(ret_spool->folder));
                return r;
        }
        ret_spool->path = layout_join(ret_spool->folder, "image.tar", NULL);
        return give(cli, ret_spool->folder, err);
}

uint64_t cli_spool_room(const struct cli_spool *spool)
{
        struct statvfs vfs;

        if (statvfs(spool->folder, &vfs) < 0)
                return UINT64_MAX;
        return (uint64_t) vfs.f_bavail * vfs.f_frsize / 100 * (100 - LEFT_PERCENT) + 1;
}

static int copy(int from, int to, int signals, uint64_t max, struct err *err)
{
        scoped_free char *buffer = xmalloc(COPY_SIZE);
        struct pollfd polled[2] = {
                {.fd = from,     .events = POLLIN},
                { .fd = signals, .events = POLLIN}
        };

        for (uint64_t total = 0;;) {
                ssize_t n;
                int r;

                if (poll(polled, 2, -1) < 0 && errno != EINTR)
                        return err_errno(err, OP, "wait for standard input");
                if (polled[1].revents)
                        return err_set(err, ECANCELED, OP, "interrupted");
                n = read(from, buffer, COPY_SIZE);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? err_errno(err, OP, "read standard input") : 0;
                total += (uint64_t) n;
                if (total > max)
                        return err_set(err, ENOSPC, OP,
                                       "standard input has more than the %" PRIu64
                                       " bytes that fit into banger's cache folder (%d %% of the file system "
                                       "stay free)",
                                       max, LEFT_PERCENT);
                r = fd_write_full(to, buffer, (size_t) n);
                if (r < 0)
                        return err_set(err, -r, OP, "keep standard input in banger's cache folder: %s",
                                       strerror(-r));
        }
}

int cli_spool_fill(struct cli *cli, struct cli_spool *spool, int fd, struct err *err)
{
        scoped_close int to = open(spool->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        int signals, r;

        if (to < 0)
                return err_errno(err, OP, "create '%s'", spool->path);
        signals = signals_begin(false);
        r = copy(fd, to, signals, cli_spool_room(spool), err);
        if (r == -ECANCELED)
                cli->signal = signals_take(signals);
        signals_end(signals);
        return r;
}

int cli_spool_hand_over(const struct cli *cli, const struct cli_spool *spool, struct err *err)
{
        struct stat st;

        if (lstat(spool->path, &st) < 0)
                return err_errno(err, OP, "look at '%s'", spool->path);
        if (!S_ISREG(st.st_mode))
                return err_set(err, EBADMSG, OP, "what should be an archive is no file");
        if (chmod(spool->path, 0600) < 0)
                return err_errno(err, OP, "change the mode of '%s'", spool->path);
        return give(cli, spool->path, err);
}

void cli_spool_end(struct cli_spool *spool)
{
        struct err ignored = { 0 };

        if (spool->folder)
                (void) file_remove_tree(spool->folder, &ignored);
        free(spool->folder);
        free(spool->path);
        *spool = (struct cli_spool){ 0 };
}
