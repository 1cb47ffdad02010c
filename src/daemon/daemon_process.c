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
        struct daemon_spare **place;   /* in the daemon */
        struct daemon_process process; /* sock FD_NONE: told to go */
        sd_event_source *end_source, *time_source;
};

static int begin(const char *program, struct daemon_process *ret_process, struct err *err)
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

        *ret_process = (struct daemon_process){ .pidfd = FD_NONE, .sock = FD_NONE };
        if (r < 0)
                return err_set(err, -r, "job.start", "socket pair: %s", strerror(-r));
        near = ends[0];
        far = ends[1];
        (void) snprintf(number, sizeof(number), "%d", far);
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
        struct daemon_spare *spare = userdata;

        (void) source;
        (void) fd;
        (void) events;
        if (waitpid(spare->process.pid, NULL, WNOHANG) == 0)
                return 0;
        if (spare->process.sock >= 0)
                log_warn("the process that waited for the next job ended; the job will start its own",
                         "{s:i}", "pid", (int) spare->process.pid);
        *spare->place = NULL;
        spare_free(spare);
        return 0;
}

/* Without its socket it ends by itself. */
static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct daemon_spare *spare = userdata;

        (void) source;
        (void) usec;
        (void) close(take_fd(&spare->process.sock));
        return 0;
}

/* False when there is none that is alive. Its end may be known to the kernel and not to the loop yet. */
static bool take_spare(struct daemon_spare **place, struct daemon_process *ret_process)
{
        struct daemon_spare *spare = *place;

        if (!spare || spare->process.sock < 0 || fd_wait(spare->process.pidfd, POLLIN, 0) == 0)
                return false; /* on_end() takes it away */
        *ret_process = spare->process;
        ret_process->has_waited = true;
        spare->process.pidfd = spare->process.sock = FD_NONE;
        *place = NULL;
        spare_free(spare);
        return true;
}

static const char *path_of(const struct daemon *daemon, enum daemon_program program)
{
        return program == DAEMON_PROGRAM_IMPORT ? daemon->import_program : daemon->program;
}

int daemon_process_begin(struct daemon *daemon, enum daemon_program program, bool is_fresh,
                         struct daemon_process *ret_process, struct err *err)
{
        if (!is_fresh && take_spare(&daemon->spares[program], ret_process))
                return 0;
        return begin(path_of(daemon, program), ret_process, err);
}

static int watch(struct daemon *daemon, enum daemon_program program, struct daemon_spare *spare)
{
        int r = sd_event_add_io(daemon->event, &spare->end_source, spare->process.pidfd, EPOLLIN, on_end,
                                spare);

        if (r < 0 || program == DAEMON_PROGRAM_JOB)
                return r;
        return sd_event_add_time_relative(daemon->event, &spare->time_source, CLOCK_MONOTONIC,
                                          WAITS_S * UINT64_C(1000000), ACCURACY_S * UINT64_C(1000000),
                                          on_time, spare);
}

static void end_now(struct daemon_spare *owned_spare)
{
        (void) kill(owned_spare->process.pid, SIGKILL);
        (void) waitpid(owned_spare->process.pid, NULL, 0);
        spare_free(owned_spare);
}

void daemon_process_prepare(struct daemon *daemon, enum daemon_program program)
{
        struct daemon_spare *spare;
        struct err err = { 0 };

        if (daemon->spares[program])
                return;
        spare = xcalloc(1, sizeof(*spare));
        spare->place = &daemon->spares[program];
        if (begin(path_of(daemon, program), &spare->process, &err) < 0) {
                log_debug("no process waits for the next job", "{s:s}", "error", err.message);
                spare_free(spare);
                return;
        }
        if (watch(daemon, program, spare) < 0)
                end_now(spare);
        else
                daemon->spares[program] = spare;
}

/* Those that run ask again at their end. */
static int on_later(sd_event_source *source, void *userdata)
{
        struct daemon *daemon = userdata;

        (void) source;
        if (!daemon->works)
                daemon_process_prepare(daemon, DAEMON_PROGRAM_JOB);
        return 0;
}

void daemon_process_prepare_later(struct daemon *daemon)
{
        int r;

        if (daemon->spare_source) {
                r = sd_event_source_set_enabled(daemon->spare_source, SD_EVENT_ONESHOT);
        } else {
                r = sd_event_add_defer(daemon->event, &daemon->spare_source, on_later, daemon);
                if (r >= 0) /* whoever waits for an answer comes first */
                        r = sd_event_source_set_priority(daemon->spare_source, SD_EVENT_PRIORITY_IDLE);
        }
        if (r < 0)
                log_debug("no process waits for the next job", "{s:s}", "error", strerror(-r));
}

void daemon_processes_done(struct daemon *daemon)
{
        for (unsigned i = 0; i < DAEMON_N_PROGRAMS; i++)
                if (daemon->spares[i])
                        end_now(take_ptr(daemon->spares[i]));
        daemon->spare_source = sd_event_source_disable_unref(daemon->spare_source);
}
