#include "daemon/daemon_job.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/spawn.h"
#include "rpc/rpc_message.h"

struct daemon_job {
        struct daemon_job *next;
        struct daemon *daemon;
        char *key, *method;
        json_t *params;
        char op_id[RPC_OP_ID_MAX];
        void (*event)(void *userdata, const json_t *event);
        void (*end)(void *userdata, const struct daemon_job_end *end);
        void *userdata;
        pid_t pid; /* 0: waits for its turn */
        int pidfd, sock;
        sd_event_source *child_source, *sock_source, *defer_source;
        struct rpc_reader reader;
        json_t *answer; /* the final message, once it came */
        bool cancelled;
        bool told; /* its end: what the process still does is nobody's business but its key's */
};

static void start_next(struct daemon *daemon, const char *key);

static void job_free(struct daemon_job *job)
{
        struct daemon_job **link = &job->daemon->jobs;

        while (*link && *link != job)
                link = &(*link)->next;
        if (*link)
                *link = job->next;
        sd_event_source_disable_unref(job->child_source);
        sd_event_source_disable_unref(job->sock_source);
        sd_event_source_disable_unref(job->defer_source);
        close_at_scope_end(&job->pidfd);
        close_at_scope_end(&job->sock);
        rpc_reader_done(&job->reader);
        json_decref(job->params);
        json_decref(job->answer);
        free(job->key);
        free(job->method);
        free(job);
}

/* Fills err from the job's answer, or from the way it died. */
static void explain(const struct daemon_job *job, int status, struct err *err)
{
        const json_t *error = json_object_get(job->answer, "error");

        if (job->cancelled)
                (void) err_set(err, ECANCELED, "job", "cancelled");
        else if (error)
                (void) err_set(err, err_code_from_name(json_text(error, "code")), "job", "%s",
                               json_text(error, "message"));
        else if (WIFSIGNALED(status))
                (void) err_set(err, EIO, "job", "the process that did this (%s) was killed by signal %d (%s)",
                               job->method, WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
                (void) err_set(err, EIO, "job",
                               "the process that did this (%s) ended without an answer (status %d)",
                               job->method, WEXITSTATUS(status));
}

/* Once: the job may be gone or cancelled when it returns. */
static void tell_end(struct daemon_job *job, int status)
{
        void (*end)(void *userdata, const struct daemon_job_end *end) = job->end;
        json_auto_t *result = NULL;
        struct err err = { 0 };

        if (job->told || !end)
                return;
        job->told = true;
        if (!job->cancelled && json_flag(job->answer, "ok"))
                result = json_incref(json_object_get(job->answer, "result"));
        else
                explain(job, status, &err);
        end(job->userdata, &(struct daemon_job_end){ .result = result, .err = &err });
}

static void finish(struct daemon_job *job, int status)
{
        struct daemon *daemon = job->daemon;
        scoped_free char *key = xstrdup(job->key);

        tell_end(job, status);
        job_free(job);
        start_next(daemon, key);
}

static void take_messages(struct daemon_job *job)
{
        for (;;) {
                json_auto_t *message = NULL;
                struct err err = { 0 };
                const json_t *event;
                int r = rpc_reader_read(&job->reader, job->sock, &message, &err);

                if (r == 0)
                        return;
                if (r < 0) {
                        (void) sd_event_source_set_enabled(job->sock_source, SD_EVENT_OFF);
                        return;
                }
                event = json_object_get(message, "event");
                if (!event) {
                        json_decref(job->answer);
                        job->answer = json_incref(message);
                } else if (job->event && !job->cancelled && !job->told) {
                        job->event(job->userdata, event);
                }
        }
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon_job *job = userdata;

        (void) source;
        (void) fd;
        (void) events;
        take_messages(job);
        if (!job->cancelled && json_flag(job->answer, "ok"))
                tell_end(job, 0);
        return 0;
}

static int on_process_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon_job *job = userdata;
        int status = 0;

        (void) source;
        (void) fd;
        (void) events;
        if (waitpid(job->pid, &status, WNOHANG) != job->pid)
                return 0;
        take_messages(job); /* what it said before it ended */
        /* Programs it started and did not wait for end with it; VMMs are in sessions of their own. */
        (void) kill(-job->pid, SIGKILL);
        finish(job, status);
        return 0;
}

static int on_failed_start(sd_event_source *source, void *userdata)
{
        (void) source;
        finish(userdata, 0);
        return 0;
}

/* Tells the end from the loop, so that daemon_job_add never calls back. */
static void end_later(struct daemon_job *job)
{
        if (sd_event_add_defer(job->daemon->event, &job->defer_source, on_failed_start, job) < 0)
                abort();
}

/* Whatever reads an archive, a kernel or a package is a program of its own, with the libraries that takes. */
static const char *program_of(const struct daemon_job *job)
{
        bool imports =
                text_starts_with(job->method, "job.image.") || text_starts_with(job->method, "job.kernel.");

        return imports ? job->daemon->import_program : job->daemon->program;
}

static int spawn_process(struct daemon_job *job, struct err *err)
{
        scoped_close int far = FD_NONE;
        char number[16];
        const char *const argv[] = { program_of(job), "--job", number, NULL };
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
        job->sock = ends[0];
        far = ends[1];
        (void) snprintf(number, sizeof(number), "%d", far);
        return spawn_start(&spawn, &job->pid, &job->pidfd, err);
}

static int start(struct daemon_job *job, struct err *err)
{
        json_auto_t *request = json_pack("{s:i, s:s, s:O, s:s}", "version", RPC_VERSION, "method",
                                         job->method, "params", job->params, "op_id", job->op_id);
        int r = spawn_process(job, err);

        if (r < 0)
                return r;
        r = rpc_send(job->sock, request, NULL, 0, err);
        if (r < 0)
                return r;
        (void) fd_set_nonblocking(job->sock, true);
        r = sd_event_add_io(job->daemon->event, &job->sock_source, job->sock, EPOLLIN, on_message, job);
        if (r >= 0)
                r = sd_event_add_io(job->daemon->event, &job->child_source, job->pidfd, EPOLLIN,
                                    on_process_end, job);
        if (r < 0)
                return err_set(err, -r, "job.start", "watch the process: %s", strerror(-r));
        log_debug("job started", "{s:s, s:s, s:s, s:i}", "op_id", job->op_id, "method", job->method, "key",
                  job->key, "pid", (int) job->pid);
        return 0;
}

static void start_or_fail(struct daemon_job *job)
{
        struct err err = { 0 };

        if (start(job, &err) == 0)
                return;
        if (job->pid > 0) {
                (void) kill(job->pid, SIGKILL);
                (void) waitpid(job->pid, NULL, 0);
        }
        job->pid = -1;
        json_decref(job->answer);
        job->answer = rpc_error_message(&err, job->op_id);
        end_later(job);
}

static bool key_is_busy(const struct daemon *daemon, const char *key)
{
        for (const struct daemon_job *job = daemon->jobs; job; job = job->next)
                if (job->pid != 0 && strcmp(job->key, key) == 0)
                        return true;
        return false;
}

static void start_next(struct daemon *daemon, const char *key)
{
        if (key_is_busy(daemon, key))
                return;
        for (struct daemon_job *job = daemon->jobs; job; job = job->next)
                if (job->pid == 0 && !job->defer_source && strcmp(job->key, key) == 0) {
                        start_or_fail(job);
                        return;
                }
}

struct daemon_job *daemon_job_add(struct daemon *daemon, const struct daemon_job_request *request)
{
        struct daemon_job *job = xcalloc(1, sizeof(*job)), **tail = &daemon->jobs;

        *job = (struct daemon_job){
                .daemon = daemon,
                .key = xstrdup(request->key),
                .method = xstrdup(request->method),
                .params = request->owned_params,
                .event = request->event,
                .end = request->end,
                .userdata = request->userdata,
                .pidfd = FD_NONE,
                .sock = FD_NONE,
        };
        (void) snprintf(job->op_id, sizeof(job->op_id), "%s", request->op_id);
        while (*tail)
                tail = &(*tail)->next;
        *tail = job;
        start_next(daemon, job->key);
        return job;
}

void daemon_job_cancel(struct daemon_job *job)
{
        if (job->cancelled)
                return;
        job->cancelled = true;
        if (job->pid > 0)
                (void) kill(-job->pid, SIGKILL); /* on_process_end tells the end */
        else if (!job->defer_source)
                end_later(job);
}

struct daemon_job *daemon_job_find(struct daemon *daemon, const char *key, const char *method)
{
        for (struct daemon_job *job = daemon->jobs; job; job = job->next)
                if (!job->cancelled && !job->told && strcmp(job->key, key) == 0 &&
                    strcmp(job->method, method) == 0)
                        return job;
        return NULL;
}

void daemon_jobs_done(struct daemon *daemon)
{
        while (daemon->jobs) {
                struct daemon_job *job = daemon->jobs;

                if (job->pid > 0) {
                        (void) kill(-job->pid, SIGKILL);
                        (void) waitpid(job->pid, NULL, 0);
                }
                job_free(job);
        }
}
