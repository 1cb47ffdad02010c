/*
 * vmm/client: finds, starts, configures and watches a VMM through Firecracker's HTTP API, whichever VMM it is. Nothing
 * above this folder knows which one runs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum vmm_kind {
        VMM_FIRECRACKER,
        VMM_QEMU,
        VMM_N_KINDS
};
enum vmm_choice {
        VMM_CHOICE_AUTO,
        VMM_CHOICE_FIRECRACKER,
        VMM_CHOICE_QEMU,
        VMM_N_CHOICES
};

const char *vmm_kind_name(enum vmm_kind kind);                           /* "firecracker", "qemu" */
int vmm_choice_from_name(const char *name, enum vmm_choice *ret_choice); /* "auto", ...; -EINVAL */

/* Owned strings. */
struct vmm {
        enum vmm_kind kind;
        char *path;       /* the program */
        char version[32]; /* "1.14.1" */
        bool accelerated; /* KVM */
};
void vmm_done(struct vmm *vmm);

struct vmm_search {
        enum vmm_choice choice;
        const char *firecracker_path; /* config firecracker_bin; NULL: PATH */
        const char *qemu_path;        /* our banger-qemu; NULL: beside the running program, then PATH */
};
/*
 * The path of banger-qemu, which belongs to this very build: beside the running program (build and installation
 * put them together), else in PATH. Owned by the caller, NULL when it is nowhere.
 */
char *vmm_qemu_find(void);
/* Auto: Firecracker when /dev/kvm opens and the version is at least 1.5.0 (S-213), else banger-qemu. */
int vmm_find(const struct vmm_search *search, struct vmm *ret_vmm, struct err *err);

struct vmm_version {
        unsigned major, minor, patch;
};
/* From the output of `firecracker --version` (S-215, S-216). */
int vmm_version_parse(const char *output, struct vmm_version *ret_version, struct err *err);
int vmm_version_compare(const struct vmm_version *a, const struct vmm_version *b);
extern const struct vmm_version vmm_version_minimum;  /* 1.5.0 */
extern const struct vmm_version vmm_version_tested;   /* 1.14.1, which the smoke suite runs against (S-214) */
extern const struct vmm_version vmm_version_promised; /* 1.16.1 */

/* Where a version lies between them. */
enum vmm_support {
        VMM_SUPPORT_TOO_OLD, /* refused (S-213) */
        VMM_SUPPORT_TESTED,  /* minimum to tested */
        VMM_SUPPORT_PROMISED, /* above tested, in a release that Firecracker's versioning promises to serve as well */
        VMM_SUPPORT_UNKNOWN, /* newer than every release known to this program */
        VMM_N_SUPPORTS
};
enum vmm_support vmm_version_support(const struct vmm_version *version);

/* How a program is run and its standard output taken: 0, or -code. A test puts its own in place (S-217). */
struct vmm_runner {
        int (*run)(const char *const *argv, char **ret_output, struct err *err);
};
extern const struct vmm_runner vmm_runner_real;
/* Runs `program --version`. */
int vmm_version_query(const struct vmm_runner *runner, const char *program, struct vmm_version *ret_version,
                      struct err *err);

/* May this process use KVM: 0, or -errno of opening /dev/kvm. */
int vmm_kvm_check(void);
/* Where name would be executed from by PATH; owned by the caller, NULL when nowhere. A name with a slash is itself. */
char *vmm_program_find(const char *name);

/* A second; 0: unlimited. */
struct vmm_limit {
        uint64_t operations, bytes;
};

struct vmm_drive {
        const char *id; /* "rootfs" */
        const char *path;
        bool is_root, read_only;
        struct vmm_limit limit;
};

/* Everything a VM needs from its VMM. Strings borrowed. */
struct vmm_machine {
        const char *id;
        unsigned vcpu;
        uint64_t memory_mib;
        const char *kernel_path;
        const char *initrd_path;
        const char *boot_args;
        const struct vmm_drive *drives;
        size_t n_drives;
        const char *tap; /* NULL: no network */
        int tap_fd; /* handed to banger-qemu, which may not be allowed to open /dev/net/tun; FD_NONE: open by name */
        const char *mac;
        uint64_t net_bytes; /* a second in each direction, 0: unlimited */
        uint32_t guest_cid;
        const char *vsock_path;
        const char *api_path;
        const char *cgroup;   /* folder of the cgroup it is started in; NULL: the caller's */
        const char *log_path; /* VMM's own messages; opened for appending */
        const char *
                console_path; /* guest's serial console; opened for appending, bounded by the VMM where it can */
};

struct vmm_process {
        pid_t pid;
        int pidfd;           /* owned by the caller */
        uint64_t start_time; /* field 22 of /proc/pid/stat, proves the pid is still this process */
};

/*
 * Starts the VMM in its own session with only the descriptors it needs and waits until its API answers. On failure
 * nothing runs and no socket file is left.
 */
int vmm_launch(const struct vmm *vmm, const struct vmm_machine *machine, uint64_t timeout_ms,
               struct vmm_process *ret_process, struct err *err);
/* Puts the configuration in Firecracker's order. The VMM's own error text reaches err. */
int vmm_configure(const struct vmm *vmm, const struct vmm_machine *machine, struct err *err);
int vmm_start(const char *api_path, struct err *err);
int vmm_pause(const char *api_path, struct err *err);
int vmm_resume(const char *api_path, struct err *err);
/*
 * New limits of what is running; zeros lift them. EIO in the VMM's words when it cannot, as banger-qemu cannot limit a network
 * that was started without a limit.
 */
int vmm_limit_drive(const char *api_path, const char *drive_id, const struct vmm_limit *limit,
                    struct err *err);
int vmm_limit_network(const char *api_path, uint64_t net_bytes, struct err *err);
/* GET /, waiting half a second at most: is it the VMM of this id, and in which state ("Not started", "Running", "Paused"). */
int vmm_ask(const char *api_path, char ret_id[65], char ret_state[16], struct err *err);

/* Field 22 of /proc/pid/stat, in clock ticks since the boot of the host. 0 or -errno. */
int vmm_process_start_time(pid_t pid, uint64_t *ret_start_time);
/* True when process pid still is the one recorded; then *ret_pidfd is owned by the caller. */
bool vmm_process_is_alive(pid_t pid, uint64_t start_time, int *ret_pidfd);
/* SIGKILL and wait at most timeout_ms for the end. A process that is gone is success. */
int vmm_process_kill(int pidfd, uint64_t timeout_ms, struct err *err);

struct vmm_usage {
        uint64_t user_ms, system_ms, resident_bytes;
};
/* What the VMM and the processes it started have used. -ESRCH: there is no such process. Does not wait. */
int vmm_usage_read(pid_t pid, struct vmm_usage *ret_usage);
