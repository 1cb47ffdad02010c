/*
 * api/: what a client may ask of the daemon, declared once, a file a noun. It holds no code but the tables.
 *
 * vm.*: virtual machines. A VM is described by an object: id, name, state, image, kernel, vcpu, memory_mib, disk_bytes,
 * nat, peers, disk_iops, disk_bandwidth, net_bandwidth (a second, 0: unlimited), address, tap, vmm, boot_id,
 * last_error, labels (object of strings), pending (array of words: what was set and waits for the next start), operation
 * (object {id, kind, stage} or null: what is being done to it), workspace (object {guest_path, host_path, head} or null),
 * created_at,
 * vm_folder, ssh_key, known_hosts, and vmm_pid while it runs.
 */
#pragma once

#include "base/size.h"
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
        const char *label; /* "k=v,k2=v2" */
};

/* The cells of a line of vm.rows, in this order. */
enum vm_row {
        VM_ROW_ID,
        VM_ROW_NAME,
        VM_ROW_STATE,
        VM_ROW_IMAGE,
        VM_ROW_VCPU,
        VM_ROW_MEMORY_MIB,
        VM_ROW_DISK_BYTES,
        VM_ROW_ADDRESS,
        VM_ROW_GUEST_PATH, /* of the workspace */
        VM_ROW_DOING,      /* kind and stage of the operation on it; "": none */
        VM_ROW_CREATED,    /* seconds since 1970 */
        VM_ROW_LABELS,     /* an object of strings, as JSON */
        VM_N_ROW
};
#define API_VM_CELL_END '\t'
#define API_VM_ROW_END  '\n'
#define API_VM_ENDS     "\t\n"

#define VM_LIMIT_MAX     (UINT64_C(1) << 40) /* of operations and bytes a second */
#define VM_BANDWIDTH_MIN (64 * KIB)

/* What is absent stays as it is. */
struct vm_set_params {
        const char *vm;
        const char *name;
        uint32_t vcpu;
        uint64_t memory;
        uint64_t disk_size;
        const char *nat;                                        /* "on", "off" */
        const char *disk_iops, *disk_bandwidth, *net_bandwidth; /* a number or a size, or "off" */
        const char *label; /* "k=v" sets, "k=" removes; commas between them */
};

struct operation_ref_params {
        const char *id;
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

struct vm_rows_params {
        bool objects; /* as well */
};

struct vm_logs_params {
        const char *vm;
        uint64_t since_ns; /* real time; 0: all */
};

struct vm_workspace_record_params {
        const char *vm;
        const char *guest_path;
        const char *host_path;
        const char *head;
};

/*
 * Streams events {"stage","state":"begin|end|progress|note|warning","detail","done","total","elapsed_ms"}; answers with the VM's object.
 * A failure, or a client that goes away, undoes it.
 */
extern const struct rpc_method api_vm_create;
/* The same without a client that waits: {"id"}, the operation's, which goes on by itself. */
extern const struct rpc_method api_vm_create_begin;
extern const struct rpc_method
        api_vm_create_status; /* the operation, and "vm": the VM's object once it succeeded */
extern const struct rpc_method api_vm_create_cancel; /* undoes it; ends before that */
extern const struct rpc_method api_vm_start;         /* streams as create; the VM's object */
extern const struct rpc_method api_vm_stop;          /* streams */
extern const struct rpc_method api_vm_restart;       /* streams */
extern const struct rpc_method api_vm_kill;
/* What can be done at once is; the object's "pending" names what waits for the next start. */
extern const struct rpc_method api_vm_set;
extern const struct rpc_method api_vm_delete; /* streams */
extern const struct rpc_method api_vm_list;   /* {"vms":[...]} */
/*
 * One descriptor, a memfd: what a table shows of every VM, a line each, a tab behind each of its cells (enum vm_row). JSON of a
 * thousand VMs costs both ends several times as much. With "objects" a second one: of each of these VMs, in this order, its
 * object as a person reads JSON, indented by two, and a NUL: what is only to be shown is not read and written once more.
 */
extern const struct rpc_method api_vm_rows;
extern const struct rpc_method api_vm_show;
extern const struct rpc_method
        api_vm_connect; /* one descriptor, connected to the VMM's vsock socket, nothing said yet; the VM's object */
extern const struct rpc_method
        api_vm_logs; /* two descriptors: the console's log and the VMM's, for reading; {"console_place"}: bytes, where since_ns is */
/*
 * {"id","name","state","vcpu","memory_bytes","sampled_ms", "vmm":{"pid","cpu_user_ms","cpu_system_ms","resident_bytes"},
 * "disks":{"root","work": {"apparent_bytes","real_bytes"}}, "network":{"tap","sent_bytes","received_bytes",...},
 * "guest":{...} as its agent says, "guest_error" when it says nothing}; null for what there is not. sampled_ms is monotonic.
 */
extern const struct rpc_method api_vm_stats;
extern const struct rpc_method api_vm_top; /* {"vms":[...]} of the same, running ones only */
extern const struct rpc_method
        api_vm_ports; /* {"id","name","address","listeners":[{"protocol","address","port",...}]} */
/* {"id","name","state","healthy","problems":[...],"vmm","agent","system","disks","clock",...} */
extern const struct rpc_method api_vm_health;
extern const struct rpc_method
        api_vm_ping; /* {"id","name","round_trip_us","agent_version"}; an error when it is silent */
extern const struct rpc_method api_vm_pause;  /* the VM's object */
extern const struct rpc_method api_vm_resume; /* the VM's object */
extern const struct rpc_method api_vm_workspace_record;
