/*
 * doctor/: a table of checks, a file a check. It looks at the host and says what works, what does not, and what to do
 * about it. It changes nothing. It runs as the owner, in a job: a check may run programs and wait.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/layout.h"
#include "vmm/client/vmm_client.h"

enum doctor_status {
        DOCTOR_PASS,
        DOCTOR_WARN, /* works, but less than it could or should */
        DOCTOR_FAIL, /* something banger does will not work */
        DOCTOR_N_STATUSES
};

/* What the checks look at. All borrowed. doctor_context_init() fills everything below the line with this host's. */
struct doctor_context {
        const struct layout *layout;
        enum vmm_choice vmm;          /* from the configuration */
        const char *firecracker_path; /* the same; NULL: PATH */
        const char *qemu_vmm_path;    /* banger-qemu; NULL: beside this program, then PATH */
        const char *image;            /* the default image */
        const char *kernel;           /* and the kernel it goes with; NULL: unknown */
        /* ---- what the host is; a test puts its own in place */
        const char *machine; /* uname -m */
        const char *os_release;
        const char *kvm;
        const char *tun;
        const char *subuid, *subgid;
        const char *max_user_namespaces;
        const char *install_file;
        const struct vmm_runner *runner;
};
void doctor_context_init(const struct layout *layout, struct doctor_context *ret_context);

/* The worst of what a check said, and the lines it said it with. */
struct doctor_result {
        enum doctor_status status;
        json_t *details; /* owned by the caller of the check: an array of strings */
};
void doctor_pass(struct doctor_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
void doctor_warn(struct doctor_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
void doctor_fail(struct doctor_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct doctor_check {
        const char *name;
        void (*run)(const struct doctor_context *context, struct doctor_result *result);
};
extern const struct doctor_check doctor_checks[]; /* in the order of the report; ends with a NULL name */

/* Every check: [{"name", "status": "pass" | "warn" | "fail", "details": [...]}], owned by the caller. */
json_t *doctor_run_all(const struct doctor_context *context);
/* Does a report say "fail" anywhere: the exit status of `banger doctor`. */
bool doctor_report_has_failure(const json_t *report);
