#include "workspace/workspace_pack.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/spawn.h"

#define TERM_AGAIN_MS 20
#define TERM_MAX_MS   2000

static void end_nothing(int signal)
{
        (void) signal;
}

/*
 * Told to end by SIGTERM to its process group: that ends the git of the moment, which puts its own files away, and here
 * the failure of that git ends the rest. So nothing writes to the folder any more once this process is gone.
 */
static void prepare_child(pid_t parent)
{
        struct sigaction action = { .sa_handler = end_nothing, .sa_flags = SA_RESTART };
        sigset_t set;

        (void) setpgid(0, 0); /* and a terminal's Ctrl-C is for the parent to act on */
        (void) sigaction(SIGTERM, &action, NULL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(1);
}

int workspace_pack_start(const struct workspace_repo *repo, const struct workspace_wish *wish,
                         struct workspace_pack *ret_pack, struct err *err)
{
        pid_t parent = getpid();
        int r = workspace_copy_begin(repo, wish, &ret_pack->copy, err);

        if (r < 0)
                return r;
        ret_pack->report = memfd_create("banger-pack", MFD_CLOEXEC);
        if (ret_pack->report < 0)
                return err_errno(err, "workspace.pack", "memory for its report");
        ret_pack->pid = fork();
        if (ret_pack->pid == 0) {
                struct err failure = { 0 };

                prepare_child(parent);
                (void) workspace_copy_fill(repo, wish, &ret_pack->copy, &failure);
                _exit(fd_write_full(ret_pack->report, &failure, sizeof(failure)) == 0 ? 0 : 1);
        }
        if (ret_pack->pid < 0) {
                ret_pack->pid = 0;
                return err_errno(err, "workspace.pack", "fork");
        }
        (void) setpgid(ret_pack->pid, ret_pack->pid); /* in both, so that either may be first */
        ret_pack->pidfd = fd_pidfd_open(ret_pack->pid);
        if (ret_pack->pidfd < 0)
                return err_set(err, -ret_pack->pidfd, "workspace.pack", "watch the packing: %s",
                               strerror(-ret_pack->pidfd));
        return 0;
}

int workspace_pack_finish(struct workspace_pack *pack, struct err *err)
{
        struct err report = { 0 };
        int status = spawn_wait(pack->pid, err);

        pack->pid = 0;
        if (status < 0)
                return status;
        if (status != 0 || pread(pack->report, &report, sizeof(report), 0) != (ssize_t) sizeof(report))
                return err_set(err, EIO, "workspace.pack",
                               "packing the repository was broken off (status %d)", status);
        if (report.code != 0)
                *err = report;
        return -report.code;
}

static void end_child(struct workspace_pack *pack)
{
        uint64_t deadline_ms = clock_monotonic_ms() + TERM_MAX_MS;
        struct err ignored = { 0 };

        /* again, since the signal may come between two gits */
        do {
                (void) kill(-pack->pid, SIGTERM);
        } while (pack->pidfd >= 0 && fd_wait(pack->pidfd, POLLIN, TERM_AGAIN_MS) == -ETIMEDOUT &&
                 clock_left_ms(deadline_ms) > 0);
        (void) kill(pack->pid, SIGKILL);
        (void) spawn_wait(pack->pid, &ignored);
        pack->pid = 0;
}

void workspace_pack_done(struct workspace_pack *pack)
{
        if (pack->pid > 0)
                end_child(pack);
        if (pack->pidfd >= 0)
                (void) close(take_fd(&pack->pidfd));
        if (pack->report >= 0)
                (void) close(take_fd(&pack->report));
        workspace_copy_done(&pack->copy);
}
