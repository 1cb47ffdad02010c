/*
 * api/: what a client may ask of the daemon, declared once, a file a noun. It holds no code but the tables.
 *
 * vm.*: virtual machines. A VM is described by an object: id, name, state, image, kernel, vcpu, memory_mib, disk_bytes,
 * nat, peers, disk_iops, disk_bandwidth, net_bandwidth (a second, 0: unlimited), address, tap, vmm, boot_id, last_error, workspace (object {guest_path, host_path, head} or null), created_at,
 * vm_folder, ssh_key, known_hosts, and vmm_pid while it runs.
 */
#pragma once

#include "rpc/rpc_table.h"

struct vm_create_params {
        const char *name;
        const char *image;
        const char *kernel;
        uint32_t vcpu;
        uint64_t memory;
        uint64_t disk_size;
        bool nat;
        bool peers;
        uint64_t disk_iops;
        uint64_t disk_bandwidth;
        uint64_t net_bandwidth;
        bool no_start;
        bool force;
};

struct vm_list_params {
        bool brief;
};

struct vm_ref_params {
        const char *vm;
};

struct vm_start_params {
        const char *vm;
        bool force;
};

struct vm_kill_params {
        const char *vm;
        const char *signal;
};

struct vm_workspace_record_params {
        const char *vm;
        const char *guest_path;
        const char *host_path;
        const char *head;
};

/*
 * Streams events {"stage","state":"begin|end|progress","detail","done","total","elapsed_ms"}; answers with the VM's object.
 * A failure, or a client that goes away, undoes it.
 */
extern const struct rpc_method api_vm_create;
extern const struct rpc_method api_vm_start;   /* streams as create; the VM's object */
extern const struct rpc_method api_vm_stop;    /* streams */
extern const struct rpc_method api_vm_restart; /* streams */
extern const struct rpc_method api_vm_kill;
extern const struct rpc_method api_vm_delete; /* streams */
extern const struct rpc_method
        api_vm_list; /* {"vms":[...]}; brief: id, name, state, image, vcpu, memory_mib, disk_bytes, address, workspace */
extern const struct rpc_method api_vm_show;
extern const struct rpc_method
        api_vm_connect; /* one descriptor, connected to the VMM's vsock socket, nothing said yet; the VM's object */
extern const struct rpc_method
        api_vm_logs; /* two descriptors: the console's log and the VMM's, for reading */
extern const struct rpc_method api_vm_workspace_record;
