#include "daemon/daemon_process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "base/text.h"

#define WAITS_S    30
#define ACCURACY_S 5

/* Started, and without a job yet. */
struct daemon_spare {
        struct daemon_process process; /* sock FD_NONE: told to go */
        sd_event_source *end_source, *time_source;
};

int daemon_process_begin(const char *program, struct daemon_process *ret_process, struct err *err)
{
        scoped_close int near = FD_NONE, far = FD_NONE;
        char number[16];
        const char *const argv[] = { program, "--job", number, NULL };
        int ends[2], r = fd_unix_pair(ends);
        struct spawn spawn = { .argv = argv,
                               .stdin_fd = FD_NONE,
                               .stdout_fd = STDERR_FILENO,
                               .stderr_fd = STDERR_FILENO,
                               .keep_fds = &ends[1],
                               .n_keep_fds = 1,
                               .death_signal = SIGKILL,
                               .new_session = true };

        if (r < 0)
                return err_set(err, -r, "job.start", "socket pair: %s", strerror(-r));
        near = ends[0];
        far = ends[1];
        (void) snprintf(number, sizeof(number), "%d", far);
        *ret_process = (struct daemon_process){ .pidfd = FD_NONE, .sock = FD_NONE };
        r = spawn_start(&spawn, &ret_process->pid, &ret_process->pidfd, err);
        if (r == 0)
                ret_process->sock = take_fd(&near);
        return r;
}

static void spare_free(struct daemon_spare *spare)
{
        sd_event_source_disable_unref(spare->end_source);
        sd_event_source_disable_unref(spare->time_source);
        close_at_scope_end(&spare->process.pidfd);
        close_at_scope_end(&spare->process.sock);
        free(spare);
}

static int on_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon *daemon = userdata;

        (void) source;
        (void) fd;
        (void) events;
        if (waitpid(daemon->spare->process.pid, NULL, WNOHANG) != 0)
                spare_free(take_ptr(daemon->spare));
        return 0;
}

/* Without its socket it ends by itself. */
static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon *daemon = userdata;

        (void) source;
        (void) usec;
        (void) close(take_fd(&daemon->spare->process.sock));
        return 0;
}

/* False when there is none that is alive. */
static bool take_spare(struct daemon *daemon, struct daemon_process *ret_process)
{
        struct daemon_spare *spare = daemon->spare;

        if (!spare || spare->process.sock < 0 || fd_wait(spare->process.pidfd, POLLIN, 0) == 0)
                return false; /* on_end() takes it away */
        *ret_process = spare->process;
        ret_process->has_waited = true;
        spare->process.pidfd = spare->process.sock = FD_NONE;
        daemon->spare = NULL;
        spare_free(spare);
        return true;
}

int daemon_process_begin_import(struct daemon *daemon, struct daemon_process *ret_process, struct err *err)
{
        return take_spare(daemon, ret_process)
                       ? 0
                       : daemon_process_begin(daemon->import_program, ret_process, err);
}

static int watch(struct daemon *daemon, struct daemon_spare *spare)
{
        int r = sd_event_add_io(daemon->event, &spare->end_source, spare->process.pidfd, EPOLLIN, on_end,
                                daemon);

        return r < 0 ? r
                     : sd_event_add_time_relative(daemon->event, &spare->time_source, CLOCK_MONOTONIC,
                                                  WAITS_S * UINT64_C(1000000), ACCURACY_S * UINT64_C(1000000),
                                                  on_time, daemon);
}

static void end_now(struct daemon_spare *owned_spare)
{
        (void) kill(owned_spare->process.pid, SIGKILL);
        (void) waitpid(owned_spare->process.pid, NULL, 0);
        spare_free(owned_spare);
}

void daemon_process_prepare(struct daemon *daemon)
{
        struct daemon_spare *spare;
        struct err err = { 0 };

        if (daemon->spare)
                return;
        spare = xcalloc(1, sizeof(*spare));
        if (daemon_process_begin(daemon->import_program, &spare->process, &err) < 0) {
                log_debug("no process for the next import", "{s:s}", "error", err.message);
                spare_free(spare);
                return;
        }
        if (watch(daemon, spare) < 0)
                end_now(spare);
        else
                daemon->spare = spare;
}

void daemon_processes_done(struct daemon *daemon)
{
        if (daemon->spare)
                end_now(take_ptr(daemon->spare));
}
