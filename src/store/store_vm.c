/* The rows of vms. Statements are prepared once; every parameter and column has the number of its place in COLUMNS. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "store/store.h"
#include "store/store_db.h"

#define PREFIX_MIN     4
#define ID_MAX         16
#define CANDIDATES_MAX 5

#define COLUMNS                                                                                      \
        "id, name, state, image, kernel, vcpu, memory_mib, disk_bytes, nat, address, vmm, boot_id, " \
        "last_error,"                                                                                \
        " workspace_json, created_at, updated_at, touched_at, peers, tap,"                           \
        " disk_iops, disk_bandwidth, net_bandwidth, labels_json, pending"

static const char *const queries[] = {
        [QUERY_VM_INSERT] = "INSERT INTO vms (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                            " NULLIF(?10, ''), ?11, ?12, ?13, ?14, ?15, ?16, ?17,"
                            " ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
        [QUERY_VM_UPDATE] =
                "UPDATE vms SET state = ?3, image = ?4, kernel = ?5, vcpu = ?6, memory_mib = ?7,"
                " disk_bytes = ?8, nat = ?9, address = NULLIF(?10, ''), vmm = ?11, boot_id = ?12,"
                " last_error = ?13, workspace_json = ?14, updated_at = ?16, touched_at = ?17,"
                " peers = ?18, tap = ?19, disk_iops = ?20, disk_bandwidth = ?21, net_bandwidth = ?22,"
                " name = ?2, labels_json = ?23, pending = ?24"
                " WHERE id = ?1",
        [QUERY_VM_DELETE] = "DELETE FROM vms WHERE id = ?1",
        [QUERY_VM_BY_NAME] = "SELECT " COLUMNS " FROM vms WHERE name = ?1",
        [QUERY_VM_BY_ID] = "SELECT " COLUMNS " FROM vms WHERE id = ?1",
        /* ids are lower-case hex, so everything that begins with ?1 sorts before ?1 and a 'g' */
        [QUERY_VM_BY_PREFIX] = "SELECT " COLUMNS " FROM vms WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id",
        [QUERY_VM_LIST] = "SELECT " COLUMNS " FROM vms ORDER BY created_at, id",
        [QUERY_VM_ADDRESSES] = "SELECT address FROM vms WHERE address IS NOT NULL ORDER BY address",
};
static_assert(sizeof(queries) / sizeof(queries[0]) == N_QUERIES, "a text for every query");

static const char *const state_names[] = { "created", "running", "stopped", "error" };
static_assert(sizeof(state_names) / sizeof(state_names[0]) == VM_N_STATES, "a name for every state");

const char *vm_state_name(enum vm_state state)
{
        return state < VM_N_STATES ? state_names[state] : "unknown";
}

#define N_TEXTS 12

static void texts_of(struct store_vm *vm, char **ret_texts[N_TEXTS])
{
        char **const texts[N_TEXTS] = { &vm->id,        &vm->name, &vm->image,   &vm->kernel,
                                        &vm->address,   &vm->vmm,  &vm->boot_id, &vm->last_error,
                                        &vm->workspace, &vm->tap,  &vm->labels,  &vm->pending };

        memcpy(ret_texts, texts, sizeof(texts));
}

void store_vm_done(struct store_vm *vm)
{
        char **texts[N_TEXTS];

        texts_of(vm, texts);
        for (size_t i = 0; i < N_TEXTS; i++)
                free(*texts[i]);
        *vm = (struct store_vm){ 0 };
}

/* A kept statement goes back as it was found, on every path. */
static void statement_rest(sqlite3_stmt *statement)
{
        if (!statement)
                return;
        (void) sqlite3_reset(statement);
        (void) sqlite3_clear_bindings(statement);
}
SCOPED_FUNC(sqlite3_stmt *, statement_rest);

static int prepare(struct store *store, enum store_query query, sqlite3_stmt **ret_statement, struct err *err)
{
        if (!store->queries[query] &&
            sqlite3_prepare_v3(store->db, queries[query], -1, SQLITE_PREPARE_PERSISTENT,
                               &store->queries[query], NULL) != SQLITE_OK)
                return store_failed(store->db, store->path, "store.prepare", err);
        *ret_statement = store->queries[query];
        return 0;
}

static void bind_text(sqlite3_stmt *statement, int place, const char *text)
{
        (void) sqlite3_bind_text(statement, place, text ? text : "", -1, SQLITE_STATIC);
}

static void bind_number(sqlite3_stmt *statement, int place, uint64_t number)
{
        (void) sqlite3_bind_int64(statement, place, (sqlite3_int64) number);
}

/* Binding fails for a wrong place alone, which a test would show. */
static void bind_vm(sqlite3_stmt *statement, const struct store_vm *vm)
{
        bind_text(statement, 1, vm->id);
        bind_text(statement, 2, vm->name);
        bind_text(statement, 3, vm_state_name(vm->state));
        bind_text(statement, 4, vm->image);
        bind_text(statement, 5, vm->kernel);
        bind_number(statement, 6, vm->vcpu);
        bind_number(statement, 7, vm->memory_mib);
        bind_number(statement, 8, vm->disk_bytes);
        bind_number(statement, 9, vm->nat);
        bind_text(statement, 10, vm->address);
        bind_text(statement, 11, vm->vmm);
        bind_text(statement, 12, vm->boot_id);
        bind_text(statement, 13, vm->last_error);
        bind_text(statement, 14, vm->workspace);
        bind_number(statement, 15, vm->created_ns);
        bind_number(statement, 16, vm->updated_ns);
        bind_number(statement, 17, vm->touched_ns);
        bind_number(statement, 18, vm->peers);
        bind_text(statement, 19, vm->tap);
        bind_number(statement, 20, vm->disk_iops);
        bind_number(statement, 21, vm->disk_bandwidth);
        bind_number(statement, 22, vm->net_bandwidth);
        bind_text(statement, 23, vm->labels ? vm->labels : "{}");
        bind_text(statement, 24, vm->pending ? vm->pending : "");
}

/*
 * place counts from 1 as in bind_vm(); SQLite counts columns from 0. The row's own: until its statement steps or is reset
 * (sqlite.org/c3ref/column_blob.html).
 */
static char *text_of(sqlite3_stmt *row, int place)
{
        const unsigned char *text = sqlite3_column_text(row, place - 1);

        return (char *) (uintptr_t) (text ? (const char *) text : "");
}

static uint64_t number_of(sqlite3_stmt *row, int place)
{
        return (uint64_t) sqlite3_column_int64(row, place - 1);
}

static int state_of(sqlite3_stmt *row, enum vm_state *ret_state, struct err *err)
{
        const char *name = (const char *) sqlite3_column_text(row, 2);

        for (unsigned i = 0; name && i < VM_N_STATES; i++)
                if (strcmp(name, state_names[i]) == 0) {
                        *ret_state = (enum vm_state) i;
                        return 0;
                }
        return err_set(err, EBADMSG, "store.vm", "vm %s has the unknown state '%s' in the state store",
                       (const char *) sqlite3_column_text(row, 0), name ? name : "");
}

/* Its texts are the row's: a list of thousands needs no copies. */
static int vm_in(sqlite3_stmt *row, struct store_vm *ret_vm, struct err *err)
{
        enum vm_state state;
        int r = state_of(row, &state, err);

        if (r < 0)
                return r;
        *ret_vm = (struct store_vm){
                .id = text_of(row, 1),
                .name = text_of(row, 2),
                .state = state,
                .image = text_of(row, 4),
                .kernel = text_of(row, 5),
                .vcpu = (uint32_t) number_of(row, 6),
                .memory_mib = number_of(row, 7),
                .disk_bytes = number_of(row, 8),
                .nat = number_of(row, 9) != 0,
                .address = text_of(row, 10),
                .vmm = text_of(row, 11),
                .boot_id = text_of(row, 12),
                .last_error = text_of(row, 13),
                .workspace = text_of(row, 14),
                .created_ns = number_of(row, 15),
                .updated_ns = number_of(row, 16),
                .touched_ns = number_of(row, 17),
                .peers = number_of(row, 18) != 0,
                .tap = text_of(row, 19),
                .disk_iops = number_of(row, 20),
                .disk_bandwidth = number_of(row, 21),
                .net_bandwidth = number_of(row, 22),
                .labels = text_of(row, 23),
                .pending = text_of(row, 24),
        };
        return 0;
}

static int vm_of(sqlite3_stmt *row, struct store_vm *ret_vm, struct err *err)
{
        char **texts[N_TEXTS];
        int r = vm_in(row, ret_vm, err);

        if (r < 0)
                return r;
        texts_of(ret_vm, texts);
        for (size_t i = 0; i < N_TEXTS; i++)
                *texts[i] = xstrdup(*texts[i]);
        return 0;
}

/* UNIQUE failed: SQLite's message ends with the column it failed for. */
static int tell_conflict(struct store *store, const struct store_vm *vm, struct err *err)
{
        const char *said = sqlite3_errmsg(store->db);

        if (sqlite3_extended_errcode(store->db) == SQLITE_CONSTRAINT_UNIQUE &&
            text_ends_with(said, "vms.name"))
                return err_set(err, EEXIST, "store.vm", "a vm named '%s' exists", vm->name);
        if (sqlite3_extended_errcode(store->db) == SQLITE_CONSTRAINT_UNIQUE &&
            text_ends_with(said, "vms.address"))
                return err_set(err, EEXIST, "store.vm", "the address %s is taken by another vm", vm->address);
        return store_failed(store->db, store->path, "store.vm", err);
}

static int missing(const char *reference, struct err *err)
{
        return err_set(err, ENOENT, "store.vm", "no vm named '%.100s'; 'banger vm list' shows them",
                       reference);
}

int store_vm_insert(struct store *store, const struct store_vm *vm, struct err *err)
{
        scoped(statement_rest) sqlite3_stmt *statement = NULL;
        int r = prepare(store, QUERY_VM_INSERT, &statement, err);

        if (r < 0)
                return r;
        bind_vm(statement, vm);
        return sqlite3_step(statement) == SQLITE_DONE ? 0 : tell_conflict(store, vm, err);
}

int store_vm_update(struct store *store, const struct store_vm *vm, struct err *err)
{
        scoped(statement_rest) sqlite3_stmt *statement = NULL;
        int r = prepare(store, QUERY_VM_UPDATE, &statement, err);

        if (r < 0)
                return r;
        bind_vm(statement, vm);
        bind_number(statement, 16, clock_real_ns());
        if (sqlite3_step(statement) != SQLITE_DONE)
                return tell_conflict(store, vm, err);
        return sqlite3_changes(store->db) > 0 ? 0 : missing(vm->name, err);
}

int store_vm_delete(struct store *store, const char *id, struct err *err)
{
        scoped(statement_rest) sqlite3_stmt *statement = NULL;
        int r = prepare(store, QUERY_VM_DELETE, &statement, err);

        if (r < 0)
                return r;
        bind_text(statement, 1, id);
        if (sqlite3_step(statement) != SQLITE_DONE)
                return store_failed(store->db, store->path, "store.vm", err);
        return sqlite3_changes(store->db) > 0 ? 0 : missing(id, err);
}

/* 1 with *ret_vm, 0 without, or -code. */
static int find_exact(struct store *store, enum store_query query, const char *key, struct store_vm *ret_vm,
                      struct err *err)
{
        scoped(statement_rest) sqlite3_stmt *statement = NULL;
        int r = prepare(store, query, &statement, err);

        if (r < 0)
                return r;
        bind_text(statement, 1, key);
        r = sqlite3_step(statement);
        if (r == SQLITE_DONE)
                return 0;
        if (r != SQLITE_ROW)
                return store_failed(store->db, store->path, "store.vm", err);
        r = vm_of(statement, ret_vm, err);
        return r < 0 ? r : 1;
}

static bool is_prefix(const char *reference)
{
        size_t n = strlen(reference);

        return n >= PREFIX_MIN && n < ID_MAX && strspn(reference, "0123456789abcdef") == n;
}

static int tell_ambiguous(sqlite3_stmt *statement, const char *prefix, const struct store_vm *first,
                          struct err *err)
{
        scoped_text struct text names = { 0 };
        unsigned n = 1;

        text_append(&names, first->name);
        do {
                text_appendf(&names, ", %s", (const char *) sqlite3_column_text(statement, 1));
        } while (++n < CANDIDATES_MAX && sqlite3_step(statement) == SQLITE_ROW);
        return err_set(err, EINVAL, "store.vm",
                       "'%s' is the beginning of more than one id: %s; give the name", prefix, names.s);
}

static int find_prefix(struct store *store, const char *prefix, struct store_vm *ret_vm, struct err *err)
{
        scoped(statement_rest) sqlite3_stmt *statement = NULL;
        struct store_vm vm = { 0 };
        int r = prepare(store, QUERY_VM_BY_PREFIX, &statement, err);

        if (r < 0)
                return r;
        bind_text(statement, 1, prefix);
        r = sqlite3_step(statement);
        if (r == SQLITE_DONE)
                return missing(prefix, err);
        if (r != SQLITE_ROW)
                return store_failed(store->db, store->path, "store.vm", err);
        r = vm_of(statement, &vm, err);
        if (r < 0)
                return r;
        r = sqlite3_step(statement);
        if (r == SQLITE_DONE) {
                *ret_vm = vm;
                return 0;
        }
        r = r == SQLITE_ROW ? tell_ambiguous(statement, prefix, &vm, err)
                            : store_failed(store->db, store->path, "store.vm", err);
        store_vm_done(&vm);
        return r;
}

int store_vm_find(struct store *store, const char *reference, struct store_vm *ret_vm, struct err *err)
{
        int r = find_exact(store, QUERY_VM_BY_NAME, reference, ret_vm, err);

        if (r == 0)
                r = find_exact(store, QUERY_VM_BY_ID, reference, ret_vm, err);
        if (r != 0)
                return r < 0 ? r : 0;
        return is_prefix(reference) ? find_prefix(store, reference, ret_vm, err) : missing(reference, err);
}

int store_vm_has_name(struct store *store, const char *name, struct err *err)
{
        struct store_vm vm = { 0 };
        int r = find_exact(store, QUERY_VM_BY_NAME, name, &vm, err);

        if (r > 0)
                store_vm_done(&vm);
        return r;
}

static void vms_free(struct store_vm *vms, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                store_vm_done(&vms[i]);
        free(vms);
}

int store_vm_list(struct store *store, struct store_vm **ret_vms, unsigned *ret_n, struct err *err)
{
        scoped(statement_rest) sqlite3_stmt *statement = NULL;
        struct store_vm *vms = NULL;
        unsigned n = 0, capacity = 0;
        int step, r = prepare(store, QUERY_VM_LIST, &statement, err);

        if (r < 0)
                return r;
        while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
                if (n == capacity) {
                        capacity = capacity > 0 ? capacity * 2 : 16;
                        vms = xrealloc(vms, capacity * sizeof(*vms));
                }
                r = vm_of(statement, &vms[n], err);
                if (r < 0)
                        break;
                n++;
        }
        if (r == 0 && step != SQLITE_DONE)
                r = store_failed(store->db, store->path, "store.vm", err);
        if (r < 0) {
                vms_free(vms, n);
                return r;
        }
        *ret_vms = vms;
        *ret_n = n;
        return 0;
}

int store_vm_each(struct store *store, store_vm_visit *visit, void *userdata, struct err *err)
{
        scoped(statement_rest) sqlite3_stmt *statement = NULL;
        int step, r = prepare(store, QUERY_VM_LIST, &statement, err);

        if (r < 0)
                return r;
        while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
                struct store_vm vm;

                r = vm_in(statement, &vm, err);
                if (r < 0)
                        return r;
                visit(userdata, &vm);
        }
        return step == SQLITE_DONE ? 0 : store_failed(store->db, store->path, "store.vm", err);
}

int store_vm_addresses(struct store *store, char ***ret_addresses, unsigned *ret_n, struct err *err)
{
        scoped(statement_rest) sqlite3_stmt *statement = NULL;
        char **addresses = NULL;
        unsigned n = 0;
        int step, r = prepare(store, QUERY_VM_ADDRESSES, &statement, err);

        if (r < 0)
                return r;
        while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
                addresses = xrealloc(addresses, (n + 1) * sizeof(*addresses));
                addresses[n++] = xstrdup(text_of(statement, 1));
        }
        if (step != SQLITE_DONE) {
                r = store_failed(store->db, store->path, "store.vm", err);
                while (n > 0)
                        free(addresses[--n]);
                free(addresses);
                return r;
        }
        *ret_addresses = addresses;
        *ret_n = n;
        return 0;
}
