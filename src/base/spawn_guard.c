#include "base/spawn_guard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/scoped.h"

#define OP           "spawn.guard"
#define CHILDREN_MAX 4096 /* bytes of a list; what is not in it is in the next */

/* The guard's descriptors, behind the program's standard three. */
enum {
        GUARD_LIFE = STDERR_FILENO + 1,
        GUARD_REPORT,
        GUARD_HELD,
        GUARD_N_FDS
};

/* Each to its number, and everything else closed: a pipe whose other end the guard kept would never end. */
static int settle(const int wanted[GUARD_N_FDS])
{
        int high[GUARD_N_FDS];

        for (int i = 0; i < GUARD_N_FDS; i++) {
                int fd = wanted[i] >= 0 ? wanted[i] : open("/dev/null", O_RDWR | O_CLOEXEC);

                high[i] = fcntl(fd, F_DUPFD_CLOEXEC, GUARD_N_FDS);
                if (high[i] < 0)
                        return -errno;
        }
        for (int i = 0; i < GUARD_N_FDS; i++)
                if (dup3(high[i], i, O_CLOEXEC) < 0)
                        return -errno;
        return close_range(GUARD_N_FDS, ~0U, 0) < 0 ? -errno : 0;
}

/* proc_pid_tid_children(5): the guard has one thread, and adopts by it. */
static void kill_children(void)
{
        scoped_close int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
        char list[CHILDREN_MAX];
        ssize_t n = fd < 0 ? -1 : read(fd, list, sizeof(list) - 1);

        list[n > 0 ? n : 0] = '\0';
        for (char *at = list, *end; *at != '\0'; at = end) {
                long pid = strtol(at, &end, 10);

                if (end == at ||
                    *end == '\0') /* the last may be cut off; a whole one has a space behind it */
                        break;
                if (pid > 0)
                        (void) kill((pid_t) pid, SIGKILL);
        }
}

/* The program's group first, then who is adopted as their parents go; an unreaped child's number is nobody else's. */
static int end_all(pid_t program)
{
        int status, ret_status = 0;
        pid_t pid;

        (void) kill(-program, SIGKILL);
        do {
                kill_children();
                pid = waitpid(-1, &status, 0);
                if (pid == program)
                        ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        } while (pid > 0 || errno == EINTR);
        return ret_status;
}

static void watch(int pidfd)
{
        struct pollfd polled[] = {
                {.fd = GUARD_LIFE, .events = POLLIN},
                { .fd = pidfd,     .events = POLLIN}
        };

        while (poll(polled, 2, -1) < 0 && errno == EINTR)
                ;
}

__attribute__((noreturn)) static void guard(const struct spawn *spawn, const int fds[GUARD_N_FDS])
{
        struct spawn program = *spawn;
        struct err err = { 0 };
        int pidfd = FD_NONE, r;
        pid_t pid = 0;

        (void) setsid(); /* whoever kills the starter's group means this one too, but it has something to do first */
        r = settle(fds);
        if (r == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                r = -errno;
        if (r < 0)
                _exit(127); /* the report's end says so */
        program.stdin_fd = STDIN_FILENO;
        program.stdout_fd = STDOUT_FILENO;
        program.stderr_fd = STDERR_FILENO;
        program.new_session = true;
        program.death_signal = SIGKILL;
        r = spawn_start(&program, &pid, &pidfd, &err);
        for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
                (void) close(i); /* the program's ends are its own */
        (void) fd_write_full(GUARD_REPORT, &err, sizeof(err));
        (void) close(GUARD_REPORT);
        if (r < 0)
                _exit(127);
        watch(pidfd);
        _exit(end_all(pid));
}

int spawn_guard_start(const struct spawn *spawn, int held_fd, struct spawn_guard *ret_guard, struct err *err)
{
        scoped_close int life = FD_NONE, life_far = FD_NONE, report = FD_NONE, report_far = FD_NONE;
        int ends[2];
        pid_t pid;

        assert(spawn->n_keep_fds == 0);
        if (pipe2(ends, O_CLOEXEC) < 0)
                return err_errno(err, OP, "pipe");
        life_far = ends[0];
        life = ends[1];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return err_errno(err, OP, "pipe");
        report = ends[0];
        report_far = ends[1];
        pid = fork();
        if (pid < 0)
                return err_errno(err, OP, "fork for '%s'", spawn->argv[0]);
        if (pid == 0)
                guard(spawn, (int[GUARD_N_FDS]){ spawn->stdin_fd, spawn->stdout_fd, spawn->stderr_fd,
                                                 life_far, report_far, held_fd });
        *ret_guard =
                (struct spawn_guard){ .pid = pid, .pidfd = fd_pidfd_open(pid), .life_fd = take_fd(&life) };
        (void) close(take_fd(&report_far));
        if (fd_read_full(report, err, sizeof(*err)) < 0)
                (void) err_set(err, EIO, OP, "start '%s': its guard ended early", spawn->argv[0]);
        else if (err->code == 0 && ret_guard->pidfd < 0)
                (void) err_set(err, -ret_guard->pidfd, OP, "watch '%s'", spawn->argv[0]);
        if (err->code != 0)
                spawn_guard_end(ret_guard);
        return -err->code;
}

int spawn_guard_wait(struct spawn_guard *guard, struct err *err)
{
        int status = spawn_wait(guard->pid, err);

        guard->pid = 0;
        spawn_guard_end(guard);
        return status;
}

void spawn_guard_end(struct spawn_guard *guard)
{
        struct err ignored = { 0 };

        close_at_scope_end(&guard->life_fd);
        if (guard->pid > 0)
                (void) spawn_wait(guard->pid, &ignored);
        close_at_scope_end(&guard->pidfd);
        *guard = SPAWN_GUARD_NONE;
}
