/*
 * Jobs: one process per long operation, this very program run as `bangerd --job`. Jobs with the same key run one after
 * another; that is the only lock there is. Those that ask for what is being done already, and may share it, join: one process,
 * one piece of work, its progress and its end told to each. At most 32 run at once, whatever their keys. Cancelling is killing, once the last of them has gone: what a
 * job leaves half-made its successor cleans, as it would after a crash.
 */
#pragma once

#include "daemon/daemon.h"

struct daemon_job_end {
        const json_t *result; /* NULL when it failed */
        const struct err *err;
};

struct daemon_job_request {
        const char *key;    /* "vm:<id>", "image:<name>", "kernel:<name>" */
        const char *method; /* "job.vm.start" */
        json_t *owned_params;
        int owned_fds[1]; /* that go with the request */
        unsigned n_fds;
        bool may_share; /* with others that ask for the same, word for word */
        const char *op_id;
        void (*event)(void *userdata, const json_t *event); /* NULL: ignored */
        void (*end)(void *userdata, const struct daemon_job_end *end);
        void *userdata;
};

/*
 * Queues it; the end is always told, once, from the loop. A stop or a clean whose process is killed begins again, a few times
 * at most: both do to its end what they find half-done.
 */
struct daemon_job *daemon_job_add(struct daemon *daemon, const struct daemon_job_request *request);
/* Tells its end (ECANCELED) a little later, when nobody shares it after its process and all that started are killed. */
void daemon_job_cancel(struct daemon_job *job);
/* Whether a job of this key and method is queued or runs. */
bool daemon_job_find(const struct daemon *daemon, const char *key, const char *method);

/* At the daemon's end: kills what runs; what it leaves is cleaned by the next daemon. Nobody is told. */
void daemon_jobs_done(struct daemon *daemon);
