/*
 * What the client has put so far. It owns the bodies, and everything that is opened or bound when it is put: disks,
 * kernel, tap devices, the vsock socket. It starts nothing.
 */
#pragma once

#include "base/err.h"
#include "vmm/contract/vmm_decode.h"

/*
 * -M microvm gives 24 transports, of which the lowest share interrupts with the timer and the serial port and must stay
 * free; 14 are safe. Balloon and entropy take one each when asked for.
 */
#define VM_DEVICES_MAX    14
#define VM_DRIVES_MAX     12
#define VM_INTERFACES_MAX 12
#define VM_TAPS_MAX       12

struct vm_drive {
        struct vmm_drive_body body; /* borrows from document */
        struct vmm_document document;
        int fd; /* owned */
};

struct vm_interface {
        struct vmm_interface body;
        struct vmm_document document;
        int fd; /* owned */
};

/* --tap NAME=FD: a descriptor handed over by who started us. */
struct vm_tap {
        const char *name; /* borrowed from the command line, not NUL-terminated */
        size_t n_name;
        int fd;
};

struct vsock_device;

struct vm_config {
        struct vmm_machine_config machine;

        bool has_boot_source;
        struct vmm_boot_source boot_source;
        struct vmm_document boot_document;
        int kernel_fd, initrd_fd; /* owned; initrd_fd may be FD_NONE */

        struct vm_drive drives[VM_DRIVES_MAX]; /* the root first */
        size_t n_drives;
        struct vm_interface interfaces[VM_INTERFACES_MAX];
        size_t n_interfaces;

        bool has_vsock, has_entropy, has_balloon, has_mmds;
        struct vmm_vsock vsock;
        struct vmm_document vsock_document;
        struct vsock_device *vsock_device; /* owned until the machine starts */
        struct vmm_entropy entropy;
        struct vmm_balloon balloon;
        struct vmm_mmds_config mmds;
        struct vmm_document mmds_document;

        int serial_fd; /* owned; FD_NONE: standard output */

        struct vm_tap taps[VM_TAPS_MAX];
        size_t n_taps;
};

void vm_config_init(struct vm_config *config);
void vm_config_done(struct vm_config *config);

/*
 * Each takes a decoded body; where it borrows from a document, that is moved in on success and *document is then empty.
 * Errors are Firecracker's texts without the prefix (EINVAL).
 */
int vm_config_put_machine(struct vm_config *config, const struct vmm_machine_config *body, bool is_patch,
                          struct err *err);
int vm_config_put_boot_source(struct vm_config *config, const struct vmm_boot_source *body,
                              struct vmm_document *document, struct err *err);
int vm_config_put_drive(struct vm_config *config, const struct vmm_drive_body *body,
                        struct vmm_document *document, struct err *err);
int vm_config_put_interface(struct vm_config *config, const struct vmm_interface *body,
                            struct vmm_document *document, struct err *err);
int vm_config_put_vsock(struct vm_config *config, const struct vmm_vsock *body, struct vmm_document *document,
                        struct err *err);
/* After a failed start: a device that has met a QEMU cannot meet another. Without success there is no vsock any more. */
void vm_config_renew_vsock(struct vm_config *config);
int vm_config_put_balloon(struct vm_config *config, const struct vmm_balloon *body, struct err *err);
int vm_config_put_mmds(struct vm_config *config, const struct vmm_mmds_config *body,
                       struct vmm_document *document, struct err *err);
int vm_config_put_serial(struct vm_config *config, const struct vmm_serial *body, struct err *err);

/* NAME=FD of the command line; the descriptor must be open. EINVAL, EBADF. */
int vm_config_add_tap(struct vm_config *config, const char *argument, struct err *err);

struct vm_drive *vm_config_find_drive(struct vm_config *config, const char *id);
size_t vm_config_count_devices(const struct vm_config *config);
/* GET /vm/config (a new reference). */
json_t *vm_config_encode(const struct vm_config *config);

/* A path named by a client, opened as Firecracker words its failure: "No such file or directory (os error 2)". */
int vm_open(const char *path, int flags, const char *what, int *ret_fd, struct err *err);
