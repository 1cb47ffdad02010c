#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/scoped.h"
#include "base/text.h"

#define FIRST_SPARE_FD 3

static void reset_signals(void)
{
        struct sigaction by_default = { .sa_handler = SIG_DFL };
        sigset_t none;

        for (int signal = 1; signal < NSIG; signal++)
                (void) sigaction(signal, &by_default, NULL);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static int place_stdio(const struct spawn *spawn)
{
        const int wanted[] = { spawn->stdin_fd, spawn->stdout_fd, spawn->stderr_fd };
        int high[3];

        for (int i = 0; i < 3; i++) {
                int fd = wanted[i] >= 0 ? wanted[i] : open("/dev/null", O_RDWR | O_CLOEXEC);

                /* above the standard three first, so that none overwrites another before it is used */
                high[i] = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_SPARE_FD);
                if (high[i] < 0)
                        return -errno;
        }
        for (int i = 0; i < 3; i++)
                if (dup2(high[i], i) < 0)
                        return -errno;
        return 0;
}

/* Marks everything close-on-exec but the standard three and those to keep. */
static int keep_only(const struct spawn *spawn)
{
        if (syscall(SYS_close_range, FIRST_SPARE_FD, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) < 0)
                return -errno;
        for (size_t i = 0; i < spawn->n_keep_fds; i++) {
                int r = fd_set_cloexec(spawn->keep_fds[i], false);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int drop_identity(const struct spawn *spawn)
{
        if (!spawn->drop_to)
                return 0;
        if (setgroups(0, NULL) < 0 || setresgid(spawn->gid, spawn->gid, spawn->gid) < 0 ||
            setresuid(spawn->uid, spawn->uid, spawn->uid) < 0)
                return -errno;
        return 0;
}

/* In the child, which may have the parent's memory (vfork(2)): it changes nothing there. Returns only when exec failed. */
static int become(const struct spawn *spawn, pid_t parent)
{
        int r;

        reset_signals();
        if (spawn->new_session && setsid() < 0)
                return -errno;
        r = place_stdio(spawn);
        if (r < 0)
                return r;
        r = keep_only(spawn);
        if (r < 0)
                return r;
        r = drop_identity(spawn);
        if (r < 0)
                return r;
        if (spawn->death_signal != 0) { /* after the identity: changing it clears the signal, prctl(2) */
                if (prctl(PR_SET_PDEATHSIG, spawn->death_signal) < 0)
                        return -errno;
                if (getppid() != parent)
                        return -ESRCH;
        }
        if (spawn->folder && chdir(spawn->folder) < 0)
                return -errno;
        (void) execvpe(spawn->argv[0], (char *const *) (uintptr_t) spawn->argv,
                       spawn->env ? (char *const *) (uintptr_t) spawn->env : environ);
        return -errno;
}

/* The child in a cgroup from its first instruction: moving it afterwards stops every fork of the host meanwhile. */
static pid_t fork_into(const char *cgroup)
{
        struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
        scoped_close int fd = open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -1;
        args.cgroup = (unsigned) fd;
        return (pid_t) syscall(SYS_clone3, &args, sizeof(args));
}

/* errno stays what it is. */
static void restore_mask(const sigset_t *mask)
{
        int saved_errno = errno;

        (void) sigprocmask(SIG_SETMASK, mask, NULL);
        errno = saved_errno;
}

/*
 * vfork(2): copying the page tables of a daemon takes longer than exec. Not where the identity changes, of which the C
 * library keeps account in memory. No signal comes before the child has given up its handlers, which would run on its
 * parent's memory. A failure of the child is written to report, as an errno of below 0.
 */
static pid_t begin_child(const struct spawn *spawn, int report)
{
        pid_t parent = getpid(), pid;
        sigset_t all, before;

        (void) sigfillset(&all);
        (void) sigprocmask(SIG_SETMASK, &all, &before);
        if (spawn->cgroup)
                pid = fork_into(spawn->cgroup);
        else if (spawn->drop_to)
                pid = fork();
        else
                pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): become() keeps to its rules */
        if (pid == 0) {
                int why = become(spawn, parent);

                (void) !write(report, &why, sizeof(why));
                _exit(127); /* NOLINT(clang-analyzer-unix.Vfork): ends the child only */
        }
        restore_mask(&before);
        return pid;
}

int spawn_start(const struct spawn *spawn, pid_t *ret_pid, int *ret_pidfd, struct err *err)
{
        scoped_close int report_read = FD_NONE, report_write = FD_NONE, pidfd = FD_NONE;
        int report[2], failure = 0;
        pid_t pid;

        if (pipe2(report, O_CLOEXEC) < 0)
                return err_errno(err, "spawn.start", "pipe");
        report_read = report[0];
        report_write = fcntl(report[1], F_DUPFD_CLOEXEC, 64); /* out of the way of kept numbers */
        (void) close(report[1]);
        if (report_write < 0)
                return err_errno(err, "spawn.start", "pipe");

        pid = begin_child(spawn, report_write);
        if (pid < 0)
                return err_errno(err, "spawn.start", "fork for '%s'", spawn->argv[0]);
        (void) close(take_fd(&report_write));
        pidfd = fd_pidfd_open(pid);
        if (fd_read_full(report_read, &failure, sizeof(failure)) == 0) {
                (void) waitpid(pid, NULL, 0);
                errno = -failure;
                return err_errno(err, "spawn.start", "start '%s'", spawn->argv[0]);
        }
        if (ret_pidfd) {
                if (pidfd < 0) {
                        (void) kill(pid, SIGKILL);
                        (void) waitpid(pid, NULL, 0);
                        errno = -pidfd;
                        return err_errno(err, "spawn.start", "watch '%s'", spawn->argv[0]);
                }
                *ret_pidfd = take_fd(&pidfd);
        }
        *ret_pid = pid;
        return 0;
}

int spawn_wait(pid_t pid, struct err *err)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return err_errno(err, "spawn.wait", "wait for process %d", (int) pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct capture {
        int fd;
        struct text text;
};

/* One read; the descriptor is closed at its end. */
static int capture_more(struct capture *capture, size_t max)
{
        char buffer[16384];
        ssize_t got = read(capture->fd, buffer, sizeof(buffer));

        if (got < 0)
                return errno == EINTR || errno == EAGAIN ? 0 : -errno;
        if (got == 0) {
                (void) close(take_fd(&capture->fd));
                return 0;
        }
        if (capture->text.n + (size_t) got > max)
                return -EFBIG;
        text_append_bytes(&capture->text, buffer, (size_t) got);
        return 0;
}

static int capture_until_end(struct capture captures[2], uint64_t deadline_ms, size_t max)
{
        while (captures[0].fd >= 0 || captures[1].fd >= 0) {
                struct pollfd polled[2] = {
                        {.fd = captures[0].fd,  .events = POLLIN},
                        { .fd = captures[1].fd, .events = POLLIN}
                };
                int n = poll(polled, 2, deadline_ms == UINT64_MAX ? -1 : clock_left_ms(deadline_ms));

                if (n == 0)
                        return -ETIMEDOUT;
                if (n < 0 && errno != EINTR)
                        return -errno;
                for (int i = 0; n > 0 && i < 2; i++) {
                        int r = polled[i].revents ? capture_more(&captures[i], max) : 0;

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* A program may close its outputs and stay: the deadline holds until it has ended. */
static int wait_until_end(int pidfd, uint64_t deadline_ms)
{
        return fd_wait(pidfd, POLLIN, deadline_ms == UINT64_MAX ? -1 : clock_left_ms(deadline_ms));
}

/* The last line says most: programs end with what went wrong. */
static const char *last_line(struct text *text)
{
        const char *line = text->n > 0 ? text_last_line(text->s) : "";

        return *line != '\0' ? line : "it said nothing";
}

static int open_pipe(int *ret_read, int *ret_write)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        *ret_read = ends[0];
        *ret_write = ends[1];
        return 0;
}

int spawn_run(const char *const *argv, uint64_t timeout_ms, size_t max, char **ret_output, char **ret_error,
              struct err *err)
{
        struct capture captures[2] = { { .fd = FD_NONE }, { .fd = FD_NONE } };
        scoped_close int out_write = FD_NONE, error_write = FD_NONE, pidfd = FD_NONE;
        struct spawn spawn = { .argv = argv, .stdin_fd = FD_NONE };
        uint64_t deadline_ms = timeout_ms ? clock_monotonic_ms() + timeout_ms : UINT64_MAX;
        int r, status;
        pid_t pid = 0;

        if (open_pipe(&captures[0].fd, &out_write) < 0 || open_pipe(&captures[1].fd, &error_write) < 0) {
                r = err_errno(err, "spawn.run", "pipe");
                goto done;
        }
        spawn.stdout_fd = out_write;
        spawn.stderr_fd = error_write;
        r = spawn_start(&spawn, &pid, &pidfd, err);
        if (r < 0)
                goto done;
        (void) close(take_fd(&out_write));
        (void) close(take_fd(&error_write));

        r = capture_until_end(captures, deadline_ms, max);
        if (r == 0)
                r = wait_until_end(pidfd, deadline_ms);
        if (r < 0)
                (void) kill(pid, SIGKILL);
        status = spawn_wait(pid, err);
        if (r < 0 && err->code == 0) {
                errno = -r;
                r = err_errno(err, "spawn.run", "run '%s'", argv[0]);
                goto done;
        }
        r = status;
        if (status > 0 && !ret_error)
                (void) err_set(err, EIO, "spawn.run", "'%s' ended with status %d: %.500s", argv[0], status,
                               last_line(&captures[1].text));
        if (ret_output)
                *ret_output = text_take(&captures[0].text);
        if (ret_error)
                *ret_error = text_take(&captures[1].text);
done:
        for (int i = 0; i < 2; i++) {
                if (captures[i].fd >= 0)
                        (void) close(captures[i].fd);
                text_done(&captures[i].text);
        }
        return r;
}
