/*
 * store/: SQLite, the one place where records live: schema, migrations, VM rows. Only the daemon's loop writes. Images
 * and kernels are folders, not rows.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct store;

/* Opens (creates) read-write with WAL, busy timeout, foreign keys; applies pending migrations, each in a transaction. */
int store_open(const char *path, struct store **ret_store, struct err *err);
void store_close(struct store *store);

enum store_schema {
        STORE_COMPATIBLE,
        STORE_MIGRATIONS_NEEDED,
        STORE_INCOMPATIBLE,
        STORE_N_SCHEMAS
};
/*
 * Read-only (URI mode=ro) classification (S-369, S-370); a missing file is STORE_MIGRATIONS_NEEDED. *ret_line, owned by
 * the caller: "migrations needed: pending [1, 3] (binary will apply on first Open)" (S-371).
 */
int store_inspect(const char *path, enum store_schema *ret_schema, char **ret_line, struct err *err);

enum vm_state {
        VM_CREATED,
        VM_RUNNING,
        VM_STOPPED,
        VM_ERROR,
        VM_N_STATES
};
const char *vm_state_name(enum vm_state state); /* "created", ... */

/* A row of vms. All strings owned, never NULL ("" for none). */
struct store_vm {
        char *id;   /* 16 hex digits */
        char *name; /* unique */
        enum vm_state state;
        char *image;
        char *kernel;
        uint32_t vcpu;
        uint64_t memory_mib;
        uint64_t disk_bytes;
        bool nat;
        bool peers;    /* may talk to other VMs that may, too */
        char *address; /* unique while the row exists */
        char *tap;     /* out of the pool, while the VM is starting, running or being cleaned; "" otherwise */
        uint64_t disk_iops, disk_bandwidth,
                net_bandwidth; /* a second: operations, bytes, bytes; 0: unlimited */
        char *vmm;             /* "qemu", "firecracker", "" before the first start */
        char *boot_id;         /* of the running guest */
        char *last_error;
        char *workspace; /* JSON: guest_path, host_path, head; "" for none (workspace_json, migration 3) */
        char *labels;    /* JSON: an object of strings; "{}" for none */
        char *pending;   /* what was set and waits for the next start: "vcpu memory"; "" for nothing */
        uint64_t created_ns, updated_ns, touched_ns;
};
void store_vm_done(struct store_vm *vm);
static inline void store_vm_done_at_scope_end(struct store_vm *vm)
{
        store_vm_done(vm);
}

/* EEXIST "a vm named 'x' exists" or when the address is taken. */
int store_vm_insert(struct store *store, const struct store_vm *vm, struct err *err);
/* Every column but id and created_ns. ENOENT, EEXIST as store_vm_insert(). updated_ns is set to now. */
int store_vm_update(struct store *store, const struct store_vm *vm, struct err *err);
int store_vm_delete(struct store *store, const char *id, struct err *err); /* ENOENT */
/*
 * By name, id, or unambiguous id prefix (at least 4 digits), in that order. ENOENT "no vm named 'x'; 'banger vm list'
 * shows them", EINVAL when ambiguous, naming the candidates.
 */
int store_vm_find(struct store *store, const char *reference, struct store_vm *ret_vm, struct err *err);
/* Whether a VM has exactly this name: 1 or 0, or -code. */
int store_vm_has_name(struct store *store, const char *name, struct err *err);
/* Ordered by created_ns. Release each, then free the array. */
int store_vm_list(struct store *store, struct store_vm **ret_vms, unsigned *ret_n, struct err *err);
/* The same without copies: shows each VM, which lasts until visit returns. visit does not ask the store. */
typedef void store_vm_visit(void *userdata, const struct store_vm *vm);
int store_vm_each(struct store *store, store_vm_visit *visit, void *userdata, struct err *err);
int store_vm_addresses(struct store *store, char ***ret_addresses, unsigned *ret_n, struct err *err);
