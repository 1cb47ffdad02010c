/*
 * vm/: what a virtual machine is and how it comes and goes, as tables of steps. Its code runs in job processes: it blocks,
 * is straight, and may be killed at any instruction. It owns the VM's folder, runtime folder and ledger; it
 * never touches the store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Everything a job must know about one VM. All strings are borrowed from the job's request. */
struct vm_spec {
        const char *id; /* 16 hex digits */
        const char *name;
        const char *folder;  /* <state>/vms/<id>: rootfs.ext4, root.ext4, logs, handles.json */
        const char *runtime; /* <runtime>/vms/<id>: sockets */
        uint32_t vcpu;
        uint64_t memory_mib;
        uint64_t disk_bytes; /* of the work disk */
        bool nat;
        bool peers;                         /* may talk to other VMs that may, too */
        uint64_t disk_iops, disk_bandwidth; /* of each disk a second: operations, bytes; 0: unlimited */
        uint64_t net_bandwidth;             /* bytes a second in each direction; 0: unlimited */
        const char *address;
        const char *tap; /* out of the pool, from the VM's record; NULL: one of its own */
        int tap_fd;      /* the same, open; owned by vm_start(). FD_NONE: it is to be made */
        /* image and kernel */
        const char *rootfs_path;
        const char *work_seed_path; /* NULL: an empty work disk */
        const char *
                image_config; /* of a create: JSON, how the image's programs are run; NULL: as root's login does */
        const char *kernels_folder;
        const char *kernel;
        /* network */
        const char *helper_socket;
        const char *bridge;
        const char *bridge_ip;
        uint32_t prefix;
        const char *dns;
        /* VMM */
        const char *vmm;             /* "auto", "firecracker", "qemu" */
        const char *firecracker_bin; /* NULL: PATH */
        const char *qemu_vmm_path;   /* banger-qemu */
        const char *cgroups;         /* folder in which each VM gets a cgroup; NULL: none is made */
        const char *authorized_key;  /* NULL: none */
        const char *ssh_key_path;    /* private half, for the second way to stop */
        const char *known_hosts;     /* of ours; NULL: none */
        uint64_t boot_timeout_ms;
};

#define VM_AGENT_CID 3 /* every VM has a vsock of its own, so that the number need not differ */

/* Paths below the two folders; owned by the caller. */
char *vm_path_rootfs(const struct vm_spec *spec);
char *vm_path_work_disk(const struct vm_spec *spec); /* root.ext4 (S-030) */
char *vm_path_image_config(const char *folder); /* image.json: the image's, as it was when the VM was made */
char *vm_path_console_log(const char *folder);
char *vm_path_vmm_log(const char *folder);
#define VM_GONE_PREFIX ".gone-" /* of the name of a folder that is being removed */
char *vm_path_gone(const char *folder);
char *vm_path_ledger(const char *folder); /* handles.json (S-029) */
char *vm_path_api(const char *runtime);
char *vm_path_vsock(const char *runtime);
#define VM_ROOT_DRIVE    "rootfs" /* names of the disks in its VMM */
#define VM_WORK_DRIVE    "work"
#define VM_CGROUP_PREFIX "vm-" /* and the id: name of a VM's cgroup */
