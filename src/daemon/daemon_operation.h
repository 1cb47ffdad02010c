/*
 * Operations: what a client sees of long work: an op id, stages, an end (spec 5.5). The registry keeps those that ended for
 * a few minutes. An operation drives jobs one after another; the client's going away cancels it.
 */
#pragma once

#include "daemon/daemon.h"
#include "daemon/daemon_job.h"

struct daemon_operation;
typedef void daemon_operation_then(struct daemon_operation *operation, const struct daemon_job_end *end);

struct daemon_operation {
        struct daemon_operation *next;
        struct daemon *daemon;
        struct daemon_session *session; /* NULL: nobody listens (any more) */
        char id[RPC_OP_ID_MAX];
        const char *kind;    /* "vm.create" (static) */
        char *vm_id;         /* owned; NULL when it is about none */
        char *vm_name;       /* owned */
        char *stage;         /* owned */
        json_t *stages;      /* owned; [{"name","elapsed_ms"}] of those that ended */
        struct ucred client; /* who asked; pid 0: nobody */
        bool keep_going;     /* a client that goes away does not cancel it */
        bool cancelled, done, success;
        char *error; /* owned; "" */
        uint64_t started_ns, updated_ns;
        struct daemon_job *job; /* in progress, or NULL */
        daemon_operation_then *then;
        daemon_operation_then *provided; /* where daemon_provide goes on */
        struct err failure;              /* the first one, told at the end */
        json_t *answer;                  /* owned; of a good end */
        void *state;                     /* the flow's own, released with free_state */
        void (*free_state)(void *state);
};

/* call may be NULL: work nobody asked for. */
struct daemon_operation *daemon_operation_new(struct daemon *daemon, struct rpc_call *call, const char *kind);
/* The client is answered now, and the operation goes on without it. */
void daemon_operation_detach(struct daemon_operation *operation);
/* NULL when there is none (any more). */
struct daemon_operation *daemon_operation_find(const struct daemon *daemon, const char *id);
/* The one in progress on this VM, or NULL. */
const struct daemon_operation *daemon_operation_of_vm(const struct daemon *daemon, const char *vm_id);
/* Its summary (S-106); owned by the caller. */
json_t *daemon_operation_object(const struct daemon_operation *operation);
/* Runs one job and goes on in then; its events reach the client. */
void daemon_operation_job(struct daemon_operation *operation, const char *key, const char *method,
                          json_t *owned_params, daemon_operation_then *then);
/* The same, with a descriptor (owned; FD_NONE: none) that goes to the job. */
void daemon_operation_job_with(struct daemon_operation *operation, const char *key, const char *method,
                               json_t *owned_params, int owned_fd, daemon_operation_then *then);
/* The same; when it is being done already, word for word, it joins and hears of the same progress and end. */
void daemon_operation_shared_job(struct daemon_operation *operation, const char *key, const char *method,
                                 json_t *owned_params, daemon_operation_then *then);
/* Tells the client of a stage that is no job. */
void daemon_operation_stage(struct daemon_operation *operation, const char *stage, const char *detail);
/* Remembers the first failure. Returns its code negated. */
int daemon_operation_fail(struct daemon_operation *operation, const struct err *err);
/* The end: answers with operation->answer, or with the failure. */
void daemon_operation_end(struct daemon_operation *operation);
/* Kills the job in progress; its end then finds the operation cancelled and undoes it. Nothing when it fails already. */
void daemon_operation_cancel(struct daemon_operation *operation);
/* EBUSY when an operation on this VM is in progress, naming it. */
int daemon_operation_check_idle(const struct daemon *daemon, const char *vm_id, const char *vm_name,
                                struct err *err);
/* A fresh array of summaries (S-106, S-110). The caller owns it. */
json_t *daemon_operations_snapshot(const struct daemon *daemon);
void daemon_operations_done(struct daemon *daemon);
