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
#include "daemon/daemon_process.h"
#include "daemon/daemon_stores.h"
#include "daemon/daemon_tap_pool.h"
#include "image/image_store.h"
#include "rpc/rpc_message.h"

/* Processes of ours at once. Others wait: a host that lost power with a thousand machines must not start a thousand. */
#define RUNNING_MAX 32

/* One who asked. It stays with the work until its end is told. */
struct daemon_job {
        struct daemon_job *next;
        struct daemon_work *work;
        void (*event)(void *userdata, const json_t *event);
        void (*end)(void *userdata, const struct daemon_job_end *end);
        void *userdata;
        sd_event_source *turn_source; /* tells it something of its own, from the loop */
        bool cancelled;
};

/* What is done for those who asked: a process, or its place in the queue. */
struct daemon_work {
        struct daemon_work *next;
        struct daemon *daemon;
        char *key, *method;
        json_t *params;
        int fd;                    /* owned; goes with the request, FD_NONE: none */
        char op_id[RPC_OP_ID_MAX]; /* of the first who asked */
        bool may_share;
        struct daemon_job *jobs; /* at least one */
        pid_t pid;               /* 0: waits for its turn */
        int pidfd, sock;
        sd_event_source *child_source, *sock_source, *defer_source;
        struct rpc_reader reader;
        json_t *last_event; /* for those who join */
        json_t *answer;     /* the final message, once it came */
        bool cancelled;     /* by all of them */
        unsigned n_deaths;  /* of its process, before it was through */
        bool told;          /* its end: what the process still does is nobody's business but its key's */
};

#define DEATHS_MAX 3 /* then it is given up */

static void start_or_fail(struct daemon_work *work);
static void start_waiting(struct daemon *daemon);

static void job_free(struct daemon_job *job)
{
        sd_event_source_disable_unref(job->turn_source);
        free(job);
}

static void work_free(struct daemon_work *work)
{
        struct daemon_work **link = &work->daemon->works;

        while (*link && *link != work)
                link = &(*link)->next;
        if (*link)
                *link = work->next;
        while (work->jobs) {
                struct daemon_job *job = work->jobs;

                work->jobs = job->next;
                job_free(job);
        }
        sd_event_source_disable_unref(work->child_source);
        sd_event_source_disable_unref(work->sock_source);
        sd_event_source_disable_unref(work->defer_source);
        close_at_scope_end(&work->pidfd);
        close_at_scope_end(&work->sock);
        close_at_scope_end(&work->fd);
        rpc_reader_done(&work->reader);
        json_decref(work->params);
        json_decref(work->last_event);
        json_decref(work->answer);
        free(work->key);
        free(work->method);
        free(work);
}

/* Fills err from the job's answer, or from the way it died. */
static void explain(const struct daemon_work *work, int status, struct err *err)
{
        const json_t *error = json_object_get(work->answer, "error");

        if (work->cancelled)
                (void) err_set(err, ECANCELED, "job", "cancelled");
        else if (error)
                (void) err_set(err, err_code_from_name(json_text(error, "code")), "job", "%s",
                               json_text(error, "message"));
        else if (WIFSIGNALED(status))
                (void) err_set(err, EIO, "job", "the process that did this (%s) was killed by signal %d (%s)",
                               work->method, WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
                (void) err_set(err, EIO, "job",
                               "the process that did this (%s) ended without an answer (status %d)",
                               work->method, WEXITSTATUS(status));
}

/* Takes the job, which nothing refers to any more. */
static void tell_end(struct daemon_job *owned_job, const json_t *result, const struct err *err)
{
        void (*end)(void *userdata, const struct daemon_job_end *end) = owned_job->end;
        void *userdata = owned_job->userdata;
        struct err cancelled = { 0 };

        if (owned_job->cancelled) {
                (void) err_set(&cancelled, ECANCELED, "job", "cancelled");
                result = NULL;
                err = &cancelled;
        }
        job_free(owned_job);
        if (end)
                end(userdata, &(struct daemon_job_end){ .result = result, .err = err });
}

/* A clean removes a folder after its answer (job_remove_afterwards()); the others are through with it. */
static bool works_after_answer(const struct daemon_work *work)
{
        return strcmp(work->method, "job.vm.clean") == 0;
}

/* Its end was told, so nobody hears that what it still had to do came to nothing. */
static void warn_unfinished(const struct daemon_work *work, int status)
{
        struct err err = { 0 };

        if (!works_after_answer(work) || (json_flag(work->answer, "ok") && !WIFSIGNALED(status)))
                return;
        explain(work, status, &err);
        log_warn("a removed vm's folder stays on the disk; the next start of bangerd removes it",
                 "{s:s, s:s, s:s}", "op_id", work->op_id, "key", work->key, "error", err.message);
}

/* Once: nobody waits for the work when it returns. */
static void tell_all(struct daemon_work *work, int status)
{
        struct daemon_job *jobs = take_ptr(work->jobs);
        struct daemon *daemon = work->daemon;
        bool is_vm = text_starts_with(work->method, "job.vm.");
        json_auto_t *result = NULL;
        struct err err = { 0 };

        if (work->told) {
                warn_unfinished(work, status);
                return;
        }
        work->told = true;
        if (!work->cancelled && json_flag(work->answer, "ok"))
                result = json_incref(json_object_get(work->answer, "result"));
        else
                explain(work, status, &err);
        image_index_touch(work->daemon->images); /* a pull, or a work seed that a vm's creation has grown */
        while (jobs) {
                struct daemon_job *job = jobs;

                jobs = job->next;
                tell_end(job, result, &err);
        }
        if (is_vm)
                daemon_tap_pool_warm(daemon); /* it took a tap, or one was given up */
}

/* Whatever reads an archive, a kernel or a package is a program of its own, with the libraries that takes. */
static bool is_import(const struct daemon_work *work)
{
        static const char *const nouns[] = { "job.image.", "job.kernel.", "job.registry." };

        for (size_t i = 0; i < sizeof(nouns) / sizeof(nouns[0]); i++)
                if (text_starts_with(work->method, nouns[i]))
                        return true;
        return false;
}

static bool is_sweep(const struct daemon_work *work)
{
        return strcmp(work->method, "job.image.sweep") == 0;
}

static void finish(struct daemon_work *work, int status)
{
        struct daemon *daemon = work->daemon;
        bool went_well = is_import(work) && json_flag(work->answer, "ok");
        bool sweeps = is_sweep(work);

        if (is_import(work) && !work->answer && !sweeps)
                daemon_sweep(daemon); /* it was killed in the midst of its work */
        tell_all(work, status);
        work_free(work);
        start_waiting(daemon);
        if (went_well && !sweeps)
                daemon_process_prepare(daemon, DAEMON_PROGRAM_IMPORT);
        daemon_process_prepare_later(daemon);
}

static void tell_event(struct daemon_work *work, json_t *event)
{
        json_decref(work->last_event);
        work->last_event = json_incref(event);
        /* nothing that an event leads to changes the list: a cancelled job ends from the loop */
        for (struct daemon_job *job = work->jobs; job; job = job->next)
                if (job->event && !job->cancelled)
                        job->event(job->userdata, event);
}

static void take_messages(struct daemon_work *work)
{
        for (;;) {
                json_auto_t *message = NULL;
                struct err err = { 0 };
                json_t *event;
                int r = rpc_reader_read(&work->reader, work->sock, &message, &err);

                if (r == 0)
                        return;
                if (r < 0) {
                        (void) sd_event_source_set_enabled(work->sock_source, SD_EVENT_OFF);
                        return;
                }
                event = json_object_get(message, "event");
                if (!event) {
                        json_decref(work->answer);
                        work->answer = json_incref(message);
                } else {
                        tell_event(work, event);
                }
        }
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon_work *work = userdata;

        (void) source;
        (void) fd;
        (void) events;
        take_messages(work);
        if (!work->cancelled && json_flag(work->answer, "ok"))
                tell_all(work, 0);
        return 0;
}

/* Those that finish whatever state they find: what one leaves half-done, the same does to its end. */
static bool is_idempotent(const struct daemon_work *work)
{
        return strcmp(work->method, "job.vm.clean") == 0 || strcmp(work->method, "job.vm.stop") == 0;
}

/* True when a process that was killed has a successor. */
static bool begin_again(struct daemon_work *work, int status)
{
        if (work->cancelled || !WIFSIGNALED(status) || !is_idempotent(work) || ++work->n_deaths == DEATHS_MAX)
                return false;
        if (work->told && !works_after_answer(work))
                return false;
        log_warn("a job was killed; it begins again", "{s:s, s:s, s:s, s:i}", "op_id", work->op_id, "method",
                 work->method, "key", work->key, "signal", WTERMSIG(status));
        work->child_source = sd_event_source_disable_unref(work->child_source);
        work->sock_source = sd_event_source_disable_unref(work->sock_source);
        (void) close(take_fd(&work->pidfd));
        (void) close(take_fd(&work->sock));
        rpc_reader_done(&work->reader);
        work->reader = (struct rpc_reader){ 0 };
        json_decref(work->answer); /* of a clean that had more to do */
        work->answer = NULL;
        work->pid = 0; /* reaped: the number may be another's, which a start that fails must not kill */
        start_or_fail(work);
        return true;
}

static int on_process_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct daemon_work *work = userdata;
        int status = 0;

        (void) source;
        (void) fd;
        (void) events;
        /*
         * Programs it started and did not wait for end with it; VMMs are in sessions of their own. Before it is reaped: from
         * then on its number may be another group's.
         */
        (void) kill(-work->pid, SIGKILL);
        if (waitpid(work->pid, &status, WNOHANG) != work->pid)
                return 0;
        take_messages(work); /* what it said before it ended */
        if (!begin_again(work, status))
                finish(work, status);
        return 0;
}

static int on_failed_start(sd_event_source *source, void *userdata)
{
        (void) source;
        finish(userdata, 0);
        return 0;
}

/* Tells the end from the loop, so that daemon_job_add never calls back. */
static void end_later(struct daemon_work *work)
{
        if (sd_event_add_defer(work->daemon->event, &work->defer_source, on_failed_start, work) < 0)
                abort();
}

static enum daemon_program program_of(const struct daemon_work *work)
{
        return is_import(work) ? DAEMON_PROGRAM_IMPORT : DAEMON_PROGRAM_JOB;
}

/* A sweep comes behind a process that was killed, whose children may take a moment to go: it starts anew, and later. */
static int start_process(struct daemon_work *work, struct daemon_process *ret_process, struct err *err)
{
        return daemon_process_begin(work->daemon, program_of(work), is_sweep(work), ret_process, err);
}

static int start(struct daemon_work *work, struct err *err)
{
        json_auto_t *request = json_pack("{s:i, s:s, s:O, s:s}", "version", RPC_VERSION, "method",
                                         work->method, "params", work->params, "op_id", work->op_id);
        struct daemon_process process = { 0 };
        int r = start_process(work, &process, err);

        if (r < 0)
                return r;
        work->pid = process.pid;
        work->pidfd = process.pidfd;
        work->sock = process.sock;
        r = rpc_send(work->sock, request, &work->fd, work->fd >= 0 ? 1 : 0, err);
        if (r < 0)
                return r;
        close_at_scope_end(&work->fd);
        work->fd = FD_NONE;
        (void) fd_set_nonblocking(work->sock, true);
        r = sd_event_add_io(work->daemon->event, &work->sock_source, work->sock, EPOLLIN, on_message, work);
        if (r >= 0)
                r = sd_event_add_io(work->daemon->event, &work->child_source, work->pidfd, EPOLLIN,
                                    on_process_end, work);
        if (r < 0)
                return err_set(err, -r, "job.start", "watch the process: %s", strerror(-r));
        if (process.has_waited && is_import(work)) /* beside this work: the next may come right behind it */
                daemon_process_prepare(work->daemon, DAEMON_PROGRAM_IMPORT);
        log_debug("job started", "{s:s, s:s, s:s, s:i}", "op_id", work->op_id, "method", work->method, "key",
                  work->key, "pid", (int) work->pid);
        return 0;
}

static void start_or_fail(struct daemon_work *work)
{
        struct err err = { 0 };

        if (start(work, &err) == 0)
                return;
        if (work->pid > 0) {
                (void) kill(work->pid, SIGKILL);
                (void) waitpid(work->pid, NULL, 0);
        }
        work->pid = -1;
        json_decref(work->answer);
        work->answer = rpc_error_message(&err, work->op_id);
        end_later(work);
}

static bool is_running(const struct daemon_work *work)
{
        return work->pid != 0 || work->defer_source;
}

static bool key_is_busy(const struct daemon *daemon, const char *key)
{
        for (const struct daemon_work *work = daemon->works; work; work = work->next)
                if (is_running(work) && strcmp(work->key, key) == 0)
                        return true;
        return false;
}

static unsigned count_running(const struct daemon *daemon)
{
        unsigned n = 0;

        for (const struct daemon_work *work = daemon->works; work; work = work->next)
                n += is_running(work);
        return n;
}

/* In the order they came, but for those whose key is busy. */
static void start_waiting(struct daemon *daemon)
{
        unsigned n_running = count_running(daemon);

        for (struct daemon_work *work = daemon->works; work && n_running < RUNNING_MAX; work = work->next)
                if (!is_running(work) && !key_is_busy(daemon, work->key)) {
                        start_or_fail(work); /* tells nobody from here, so the list stays what it is */
                        n_running++;
                }
}

/* Queued or running work that does exactly this, for those who may share it; NULL: none. */
static struct daemon_work *find_shared(const struct daemon *daemon, const struct daemon_job_request *request)
{
        for (struct daemon_work *work = daemon->works; work && request->may_share; work = work->next)
                if (work->may_share && !work->cancelled && !work->defer_source && !work->answer &&
                    strcmp(work->key, request->key) == 0 && strcmp(work->method, request->method) == 0 &&
                    json_equal(work->params, request->owned_params))
                        return work;
        return NULL;
}

static struct daemon_work *work_new(struct daemon *daemon, const struct daemon_job_request *request)
{
        struct daemon_work *work = xcalloc(1, sizeof(*work)), **tail = &daemon->works;

        *work = (struct daemon_work){
                .daemon = daemon,
                .key = xstrdup(request->key),
                .method = xstrdup(request->method),
                .params = json_incref(request->owned_params),
                .may_share = request->may_share,
                .pidfd = FD_NONE,
                .sock = FD_NONE,
                .fd = request->n_fds > 0 ? request->owned_fds[0] : FD_NONE,
        };
        (void) snprintf(work->op_id, sizeof(work->op_id), "%s", request->op_id);
        while (*tail)
                tail = &(*tail)->next;
        *tail = work;
        return work;
}

static int on_turn(sd_event_source *source, void *userdata)
{
        struct daemon_job *job = userdata, **link = &job->work->jobs;

        (void) source;
        if (!job->cancelled) { /* it has just joined: where the work is */
                if (job->event && job->work->last_event)
                        job->event(job->userdata, job->work->last_event);
                return 0;
        }
        while (*link != job)
                link = &(*link)->next;
        *link = job->next;
        tell_end(job, NULL, NULL);
        return 0;
}

/* Tells it from the loop, so that neither daemon_job_add nor daemon_job_cancel calls back. */
static void give_turn(struct daemon_job *job)
{
        int r = job->turn_source
                        ? sd_event_source_set_enabled(job->turn_source, SD_EVENT_ONESHOT)
                        : sd_event_add_defer(job->work->daemon->event, &job->turn_source, on_turn, job);

        if (r < 0)
                abort();
}

struct daemon_job *daemon_job_add(struct daemon *daemon, const struct daemon_job_request *request)
{
        struct daemon_job *job = xcalloc(1, sizeof(*job)), **tail;
        struct daemon_work *work = find_shared(daemon, request);
        bool joins = work != NULL;

        if (!joins)
                work = work_new(daemon, request);
        json_decref(request->owned_params);
        *job = (struct daemon_job){
                .work = work, .event = request->event, .end = request->end, .userdata = request->userdata
        };
        for (tail = &work->jobs; *tail; tail = &(*tail)->next)
                ;
        *tail = job;
        if (joins)
                give_turn(job);
        else
                start_waiting(daemon);
        return job;
}

void daemon_job_cancel(struct daemon_job *job)
{
        struct daemon_work *work = job->work;

        if (job->cancelled)
                return;
        job->cancelled = true;
        for (const struct daemon_job *other = work->jobs; other; other = other->next)
                if (!other->cancelled) { /* it goes on for the others */
                        give_turn(job);
                        return;
                }
        work->cancelled = true;
        if (work->pid > 0)
                (void) kill(-work->pid, SIGKILL); /* on_process_end tells the end */
        else if (!work->defer_source)
                end_later(work);
}

bool daemon_job_find(const struct daemon *daemon, const char *key, const char *method)
{
        for (const struct daemon_work *work = daemon->works; work; work = work->next)
                if (!work->cancelled && !work->told && strcmp(work->key, key) == 0 &&
                    strcmp(work->method, method) == 0)
                        return true;
        return false;
}

void daemon_jobs_done(struct daemon *daemon)
{
        while (daemon->works) {
                struct daemon_work *work = daemon->works;

                if (work->pid > 0) {
                        (void) kill(-work->pid, SIGKILL);
                        (void) waitpid(work->pid, NULL, 0);
                }
                work_free(work);
        }
        daemon_processes_done(daemon);
}
