/* The far side of a job: request tables and handlers. It is blocking code in a process of its own; it may be killed at any time. */
#pragma once

#include "rpc/rpc_server.h"
#include "vm/vm_spec.h"

struct job_vm_params {
        struct vm_spec spec;
        bool start;                 /* job.vm.create: start it too */
        bool remove;                /* job.vm.clean: the folder too */
        bool with_nat, with_limits; /* job.vm.adjust: which of them */
};

struct job_image_params {
        const char *image, *name, *images_folder, *cache_folder;
        const char *url, *sha256, *distro;                     /* of its bundle, when it has one */
        const char *kernel;                                    /* of a bundle, a registry or a place */
        const char *reference, *registries, *auth_file, *home; /* of a registry or a place */
        const char *input, *source;                            /* the same */
        uint64_t size, bundle_size;
        bool replace;
};

struct job_image_local_params {
        const char *name, *images_folder;
        const char *rootfs, *work_seed, *kernel; /* register */
};

/* Where logins for registries may be, most important first, as oci_credentials_find() wants it. */
struct job_credential_files {
        struct text paths[3];
        const char *list[4]; /* borrowed from them */
};

void job_credential_files_init(struct job_credential_files *files, const char *auth_file, const char *home);
void job_credential_files_done(struct job_credential_files *files);

struct job_registry_access_params {
        const char *image, *registries, *auth_file, *home;
};

struct job_registry_params {
        const char *registry, *path, *user, *secret, *registries;
};

struct job_kernel_params {
        const char *kernel, *kernels_folder, *cache_folder, *agent_path;
        const char *from, *modules, *distro; /* import */
        const char *url, *sha256;            /* of its bundle, when it has one */
        uint64_t bundle_size;
        bool replace;
};

struct job_usage_params {
        const char *images_folder, *kernels_folder, *vms_folder, *cache_folder;
};

struct job_cache_prune_params {
        const char *oci_folder;
        bool dry_run;
};

struct job_sweep_params {
        const char *images_folder, *kernels_folder, *cache_folder;
};

struct job_doctor_params {
        bool is_system; /* which layout */
        const char *qemu_vmm_path;
};

extern const struct rpc_method job_vm_create, job_vm_start, job_vm_stop, job_vm_adjust, job_vm_clean;
extern const struct rpc_method job_vm_pause, job_vm_resume;
extern const struct rpc_method job_usage, job_cache_prune;
extern const struct rpc_method job_image_register, job_image_promote;
extern const struct rpc_method job_registry_login, job_registry_logout, job_registry_access;
extern const struct rpc_method job_image_pull, job_kernel_pull, job_kernel_import, job_kernel_refresh,
        job_image_sweep, job_doctor;

int job_vm_create_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_vm_start_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_vm_stop_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_vm_adjust_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_vm_pause_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_vm_resume_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_vm_clean_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_usage_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_cache_prune_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_image_pull_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_image_register_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_image_promote_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_registry_login_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_registry_logout_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_kernel_pull_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_kernel_import_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_kernel_refresh_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_registry_access_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_image_sweep_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);
int job_doctor_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err);

/* Sends {"event":{"stage","state",...}}; -ECANCELED when the daemon is gone. total 0: unknown. */
int job_report(const char *stage, const char *state, uint64_t done, uint64_t total, uint64_t elapsed_ms);
/* The same of one of several things that go on at once within a stage. */
int job_report_part(const char *stage, const char *part, uint64_t done, uint64_t total);
/* The same with state "warning" and the text as detail: what the user should know although it is no failure. */
int job_warn(const char *stage, const char *text);

/*
 * Once the answer is sent, removes this folder: the client need not wait for hundreds of MiB to be given back. The next
 * job of the same key does.
 */
void job_remove_afterwards(const char *folder);

/* The process's side: serves the one request on the socket and ends. Returns the exit status of the process. */
int job_main(int sock, const struct rpc_binding *bindings);
