/*
 * daemon/: bangerd. One sd-event loop owns all state: sessions, the store, timers, children. It never blocks longer than
 * a stat; whatever takes longer is a job, a process of the same program (daemon_job.h). It never runs as root.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/layout.h"
#include "daemon/daemon_clock.h"
#include "daemon/daemon_config.h"
#include "rpc/rpc_server.h"
#include "store/store.h"

struct daemon_session;
struct daemon_work;
struct daemon_operation;
struct daemon_guard;
struct image_index;
struct daemon_tap_pool;
struct daemon_helper_call;
struct daemon_guest_ask;
struct daemon_inquiry;
struct daemon_spare;

/* What jobs are processes of: bangerd, and bangerd-import for those that read archives. */
enum daemon_program {
        DAEMON_PROGRAM_JOB,
        DAEMON_PROGRAM_IMPORT,
        DAEMON_N_PROGRAMS
};

struct daemon {
        sd_event *event;
        struct layout layout;
        struct daemon_config config;
        struct store *store;
        char *images_folder, *kernels_folder, *vms_folder, *runtime_vms; /* owned */
        char *program, *import_program;   /* this binary, and the one of the jobs that read archives; owned */
        char *agent_path, *qemu_vmm_path; /* beside it, owned */
        char *ssh_key_path, *ssh_public_key, *known_hosts; /* owned; the key is "" when there is none */
        char *cgroups;                                     /* owned; where each VM gets one, NULL: none do */
        struct daemon_session *sessions;                   /* lists */
        struct daemon_work *works;                         /* daemon_job.h */
        struct daemon_spare *spares[DAEMON_N_PROGRAMS];    /* owned; daemon_process.h */
        sd_event_source *spare_source;                     /* owned */
        struct daemon_operation *operations;
        struct daemon_guard *guards;
        struct image_index *images; /* owned */
        json_t *image_rows;         /* owned; of image.rows, as of the generation of images */
        uint64_t image_rows_generation;
        struct daemon_helper_call *helper_calls;
        struct daemon_tap_pool *tap_pool; /* owned */
        unsigned bridge_index;            /* as it was last looked at; 0: there was none */
        bool bridge_is_asked_for;
        struct daemon_guest_ask *guest_asks;
        struct daemon_inquiry *inquiries;
        sd_event_source *pulse; /* owned; while VMs run */
        struct daemon_clock_watch clock_watch;
};

/* The handlers, one file a noun; each ends up in daemon_bindings[]. */
#define DAEMON_HANDLER(name) \
        int name(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)

DAEMON_HANDLER(daemon_ping);
DAEMON_HANDLER(daemon_shutdown);
DAEMON_HANDLER(daemon_defaults);
DAEMON_HANDLER(daemon_operations_list);
DAEMON_HANDLER(daemon_doctor_run);
DAEMON_HANDLER(daemon_df);
DAEMON_HANDLER(daemon_vm_create);
DAEMON_HANDLER(daemon_vm_create_begin);
DAEMON_HANDLER(daemon_vm_create_status);
DAEMON_HANDLER(daemon_vm_create_cancel);
DAEMON_HANDLER(daemon_vm_start);
DAEMON_HANDLER(daemon_vm_stop);
DAEMON_HANDLER(daemon_vm_restart);
DAEMON_HANDLER(daemon_vm_kill);
DAEMON_HANDLER(daemon_vm_set);
DAEMON_HANDLER(daemon_vm_delete);
DAEMON_HANDLER(daemon_vm_list);
DAEMON_HANDLER(daemon_vm_rows);
DAEMON_HANDLER(daemon_vm_show);
DAEMON_HANDLER(daemon_vm_connect);
DAEMON_HANDLER(daemon_vm_logs);
DAEMON_HANDLER(daemon_vm_stats);
DAEMON_HANDLER(daemon_vm_top);
DAEMON_HANDLER(daemon_vm_ports);
DAEMON_HANDLER(daemon_vm_health);
DAEMON_HANDLER(daemon_vm_ping);
DAEMON_HANDLER(daemon_vm_pause);
DAEMON_HANDLER(daemon_vm_resume);
DAEMON_HANDLER(daemon_vm_workspace_record);
DAEMON_HANDLER(daemon_registry_login);
DAEMON_HANDLER(daemon_registry_logout);
DAEMON_HANDLER(daemon_registry_access);
DAEMON_HANDLER(daemon_image_pull);
DAEMON_HANDLER(daemon_image_list);
DAEMON_HANDLER(daemon_image_rows);
DAEMON_HANDLER(daemon_image_catalog);
DAEMON_HANDLER(daemon_image_show);
DAEMON_HANDLER(daemon_image_register);
DAEMON_HANDLER(daemon_image_promote);
DAEMON_HANDLER(daemon_image_delete);
DAEMON_HANDLER(daemon_image_cache_prune);
DAEMON_HANDLER(daemon_kernel_pull);
DAEMON_HANDLER(daemon_kernel_import);
DAEMON_HANDLER(daemon_kernel_list);
DAEMON_HANDLER(daemon_kernel_catalog);
DAEMON_HANDLER(daemon_kernel_show);
DAEMON_HANDLER(daemon_kernel_delete);

extern const struct rpc_binding daemon_bindings[];

/* What the handlers get as call->context. */
struct daemon_context {
        struct daemon *daemon;
        struct daemon_session *session;
};

static inline struct daemon *daemon_of(const struct rpc_call *call)
{
        return ((struct daemon_context *) call->context)->daemon;
}

/* Takes up what an earlier daemon left: adopts living VMs, cleans the rest (S-183 - S-186). Run once, at start. */
int daemon_reconcile(struct daemon *daemon, struct err *err);
