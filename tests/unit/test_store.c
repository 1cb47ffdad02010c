#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "store/store.h"
#include "store/store_db.h"
#include "unit.h"

#define N_OPENERS 8
#define N_MANY    1000

struct fixture {
        char folder[32];
        char path[64];
        struct err err;
};

static int setup(void **state)
{
        struct fixture *f = xcalloc(1, sizeof(*f));

        (void) strncpy(f->folder, "/tmp/test-store-XXXXXX", sizeof(f->folder) - 1);
        if (!mkdtemp(f->folder))
                return -1;
        (void) snprintf(f->path, sizeof(f->path), "%s/state%%#.db", f->folder);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        struct err err = { 0 };
        int r = file_remove_tree(f->folder, &err);

        free(f);
        return r;
}

static struct store_vm vm_named(char *id, char *name, char *address)
{
        static char image[] = "debian-bookworm", kernel[] = "debian-6.1";

        return (struct store_vm){ .id = id,
                                  .name = name,
                                  .state = VM_CREATED,
                                  .image = image,
                                  .kernel = kernel,
                                  .vcpu = 2,
                                  .memory_mib = 1024,
                                  .disk_bytes = UINT64_C(8) << 30,
                                  .nat = true,
                                  .address = address,
                                  .created_ns = clock_real_ns() };
}

static struct store *open_store(struct fixture *f)
{
        struct store *store = NULL;
        int r = store_open(f->path, &store, &f->err);

        if (r < 0)
                fail_msg("%s", f->err.message);
        return store;
}

static void add(struct fixture *f, struct store *store, const char *id, const char *name, const char *address)
{
        scoped_free char *own_id = xstrdup(id), *own_name = xstrdup(name), *own_address = xstrdup(address);
        struct store_vm vm = vm_named(own_id, own_name, own_address);

        if (store_vm_insert(store, &vm, &f->err) < 0)
                fail_msg("%s", f->err.message);
}

/* Runs statements of the test on the file. */
static void run_sql(const char *path, const char *sql)
{
        sqlite3 *db = NULL;

        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int count(const char *path, const char *sql)
{
        sqlite3_stmt *statement = NULL;
        sqlite3 *db = NULL;
        int n;

        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        n = sqlite3_column_int(statement, 0);
        (void) sqlite3_finalize(statement);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
        return n;
}

static void a_row_comes_back_as_it_went_in(void **state)
{
        struct fixture *f = *state;
        struct store *store = open_store(f);
        struct store_vm vm;
        uint64_t before;

        add(f, store, "00112233445566aa", "otter", "172.16.0.2");
        assert_int_equal(store_vm_find(store, "otter", &vm, &f->err), 0);
        assert_string_equal(vm.id, "00112233445566aa");
        assert_int_equal(vm.state, VM_CREATED);
        assert_string_equal(vm.image, "debian-bookworm");
        assert_string_equal(vm.kernel, "debian-6.1");
        assert_int_equal(vm.vcpu, 2);
        assert_int_equal(vm.memory_mib, 1024);
        assert_true(vm.disk_bytes == UINT64_C(8) << 30);
        assert_true(vm.nat);
        assert_string_equal(vm.address, "172.16.0.2");
        assert_string_equal(vm.vmm, "");
        assert_string_equal(vm.workspace, "");
        assert_string_equal(vm.tap, "");
        assert_false(vm.peers);
        assert_true(vm.disk_iops == 0 && vm.disk_bandwidth == 0 && vm.net_bandwidth == 0);

        vm.state = VM_RUNNING;
        vm.nat = false;
        vm.peers = true;
        free(vm.tap);
        vm.tap = xstrdup("tap-pool-7");
        vm.disk_iops = 100;
        vm.disk_bandwidth = UINT64_C(5) << 30;
        vm.net_bandwidth = 7;
        free(vm.workspace);
        vm.workspace = xstrdup("{\"head\":\"abc\"}");
        before = vm.updated_ns;
        assert_int_equal(store_vm_update(store, &vm, &f->err), 0);
        store_vm_done(&vm);
        store_close(store);

        store = open_store(f);
        assert_int_equal(store_vm_find(store, "00112233445566aa", &vm, &f->err), 0);
        assert_int_equal(vm.state, VM_RUNNING);
        assert_false(vm.nat);
        assert_true(vm.peers);
        assert_string_equal(vm.tap, "tap-pool-7");
        assert_true(vm.disk_iops == 100 && vm.disk_bandwidth == UINT64_C(5) << 30 && vm.net_bandwidth == 7);
        assert_string_equal(vm.workspace, "{\"head\":\"abc\"}");
        assert_true(vm.updated_ns > before);
        store_vm_done(&vm);
        store_close(store);
}

static void names_and_addresses_are_unique_while_the_row_exists(void **state)
{
        struct fixture *f = *state;
        struct store *store = open_store(f);
        char id[] = "00112233445566bb", name[] = "otter", other[] = "badger", address[] = "172.16.0.2",
             free_address[] = "172.16.0.3";
        struct store_vm vm = vm_named(id, name, address);

        add(f, store, "00112233445566aa", "otter", "172.16.0.2");
        vm.address = free_address;
        assert_int_equal(store_vm_insert(store, &vm, &f->err), -EEXIST);
        assert_string_equal(f->err.message, "a vm named 'otter' exists");
        vm.name = other;
        vm.address = address;
        f->err = (struct err){ 0 };
        assert_int_equal(store_vm_insert(store, &vm, &f->err), -EEXIST);
        assert_string_equal(f->err.message, "the address 172.16.0.2 is taken by another vm");
        f->err = (struct err){ 0 };
        assert_int_equal(store_vm_delete(store, "00112233445566aa", &f->err), 0);
        assert_int_equal(store_vm_insert(store, &vm, &f->err), 0);
        add(f, store, "00112233445566cc", "none-1", "");
        add(f, store, "00112233445566dd", "none-2", "");
        store_close(store);
}

static void what_is_not_there_is_told_with_the_way_out(void **state)
{
        struct fixture *f = *state;
        struct store *store = open_store(f);
        char id[] = "00112233445566bb", name[] = "otter", address[] = "";
        struct store_vm vm = vm_named(id, name, address), found;

        assert_int_equal(store_vm_update(store, &vm, &f->err), -ENOENT);
        f->err = (struct err){ 0 };
        assert_int_equal(store_vm_delete(store, id, &f->err), -ENOENT);
        f->err = (struct err){ 0 };
        assert_int_equal(store_vm_find(store, "otter", &found, &f->err), -ENOENT);
        assert_string_equal(f->err.message, "no vm named 'otter'; 'banger vm list' shows them");
        store_close(store);
}

static void references_are_name_then_id_then_prefix(void **state)
{
        static const struct {
                const char *reference, *name;
                int result;
        } cases[] = {
                {"otter",             "otter",  0      },
                { "abcd000000000001", "otter",  0      },
                { "abcd0000000001",   "badger", 0      }, /* a name that is also a prefix */
                { "abce",             "marten", 0      },
                { "abc",              NULL,     -ENOENT}, /* too short to be a prefix */
                { "abcd",             NULL,     -EINVAL},
                { "abcf",             NULL,     -ENOENT},
                { "ABCE",             NULL,     -ENOENT},
                { "%",                NULL,     -ENOENT},
                { "",                 NULL,     -ENOENT},
        };
        struct fixture *f = *state;
        struct store *store = open_store(f);

        add(f, store, "abcd000000000001", "otter", "");
        add(f, store, "abcd000000000100", "abcd0000000001", "");
        add(f, store, "abce000000000001", "marten", "");
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct store_vm vm = { 0 };

                f->err = (struct err){ 0 };
                assert_int_equal(store_vm_find(store, cases[i].reference, &vm, &f->err), cases[i].result);
                if (cases[i].result == -EINVAL)
                        assert_non_null(strstr(f->err.message, "otter, abcd0000000001"));
                if (cases[i].name && strcmp(cases[i].name, "badger") != 0)
                        assert_string_equal(vm.name, cases[i].name);
                else if (cases[i].name)
                        assert_string_equal(vm.id, "abcd000000000100");
                store_vm_done(&vm);
        }
        store_close(store);
}

struct walk {
        const struct store_vm *vms;
        unsigned n;
};

static void same_as_in_list(void *userdata, const struct store_vm *vm)
{
        struct walk *walk = userdata;
        const struct store_vm *other = &walk->vms[walk->n++];

        assert_string_equal(vm->id, other->id);
        assert_string_equal(vm->name, other->name);
        assert_string_equal(vm->address, other->address);
        assert_string_equal(vm->labels, other->labels);
        assert_true(vm->created_ns == other->created_ns && vm->state == other->state);
}

static void a_thousand_rows_are_listed_in_order(void **state)
{
        struct walk walk = { 0 };
        struct fixture *f = *state;
        struct store *store = open_store(f);
        struct store_vm *vms = NULL;
        char **addresses = NULL;
        unsigned n = 0, n_addresses = 0;

        run_sql(f->path, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
                         " INSERT INTO vms (id, name, state, image, kernel, vcpu, memory_mib, disk_bytes, "
                         "nat, address, vmm,"
                         " boot_id, last_error, created_at, updated_at, touched_at) SELECT printf('%016x', "
                         "i), 'vm-' || i, 'stopped', 'i', 'k', 1, 512, 1, 1,"
                         " '172.16.' || (i / 256) || '.' || (i % 256), '', '', '', 2000 - i, i, i FROM n");
        assert_int_equal(store_vm_list(store, &vms, &n, &f->err), 0);
        assert_int_equal(n, N_MANY);
        assert_string_equal(vms[0].name, "vm-1000");
        assert_string_equal(vms[N_MANY - 1].name, "vm-1");
        walk.vms = vms;
        assert_int_equal(store_vm_each(store, same_as_in_list, &walk, &f->err), 0);
        assert_int_equal(walk.n, N_MANY);
        for (unsigned i = 0; i < n; i++)
                store_vm_done(&vms[i]);
        free(vms);
        assert_int_equal(store_vm_addresses(store, &addresses, &n_addresses, &f->err), 0);
        assert_int_equal(n_addresses, N_MANY);
        for (unsigned i = 0; i < n_addresses; i++)
                free(addresses[i]);
        free(addresses);
        store_close(store);
}

static void the_file_is_private_even_when_it_was_not(void **state)
{
        struct fixture *f = *state;
        struct stat st;
        char wal[80];

        run_sql(f->path, "CREATE TABLE unrelated (x)");
        assert_int_equal(chmod(f->path, 0666), 0);
        {
                struct store *store = open_store(f);

                (void) snprintf(wal, sizeof(wal), "%s-wal", f->path);
                assert_int_equal(stat(f->path, &st), 0);
                assert_int_equal(st.st_mode & 07777, 0600);
                assert_int_equal(stat(wal, &st), 0);
                assert_int_equal(st.st_mode & 07777, 0600);
                store_close(store);
        }
}

static void inspection_classifies_and_changes_nothing(void **state)
{
        static const struct {
                const char *sql; /* NULL: no file */
                enum store_schema schema;
                const char *line;
        } cases[] = {
                {NULL,                                                                  STORE_MIGRATIONS_NEEDED,
                 "migrations needed: pending [1, 2, 3, 4, 5] (binary will apply on first Open)"                                                    },
                { "CREATE TABLE unrelated (x)",                                         STORE_MIGRATIONS_NEEDED,
                 "migrations needed: pending [1, 2, 3, 4, 5] (binary will apply on first Open)"                                                    },
                { "CREATE TABLE schema_migrations (id INTEGER PRIMARY KEY, name TEXT, applied_at TEXT);"
                  "INSERT INTO schema_migrations VALUES (2, 'b', '')", STORE_MIGRATIONS_NEEDED,
                 "migrations needed: pending [1, 3, 4, 5] (binary will apply on first Open)"                                                       },
                { "INSERT INTO schema_migrations VALUES (1, 'a', ''), (3, 'c', ''), (4, 'd', ''), (5, 'e', "
                  "'')",                                               STORE_COMPATIBLE,        "compatible: 5 migrations applied"},
                { "INSERT INTO schema_migrations VALUES (99, 'future', '')",            STORE_INCOMPATIBLE,
                 "incompatible: unknown [99] (the database belongs to a newer banger)"                                                             },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                enum store_schema schema;
                char *line = NULL;

                if (cases[i].sql)
                        run_sql(f->path, cases[i].sql);
                assert_int_equal(store_inspect(f->path, &schema, &line, &f->err), 0);
                assert_int_equal(schema, cases[i].schema);
                assert_string_equal(line, cases[i].line);
                free(line);
                assert_int_equal(access(f->path, F_OK), cases[i].sql ? 0 : -1);
        }
}

static void inspection_tells_what_is_no_database(void **state)
{
        struct fixture *f = *state;
        enum store_schema schema;
        char *line = NULL;
        static const char text[] =
                "this is a text of a person, and it is long enough to look like a page of a file";

        assert_int_equal(file_replace(f->path, text, sizeof(text), 0600, &f->err), 0);
        assert_int_equal(store_inspect(f->path, &schema, &line, &f->err), -EBADMSG);
        assert_non_null(strstr(f->err.message, "is damaged"));
        assert_null(line);
}

static void a_database_of_a_newer_banger_is_refused(void **state)
{
        struct fixture *f = *state;
        struct store *store = open_store(f);

        store_close(store);
        store = NULL;
        run_sql(f->path, "INSERT INTO schema_migrations VALUES (99, 'future', '')");
        assert_int_equal(store_open(f->path, &store, &f->err), -EPROTO);
        assert_null(store);
        assert_non_null(strstr(f->err.message, "newer banger (unknown migrations [99])"));
}

static void two_openers_apply_each_migration_once(void **state)
{
        struct fixture *f = *state;

        for (int i = 0; i < N_OPENERS; i++) {
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid == 0) {
                        struct store *store = NULL;
                        int r = store_open(f->path, &store, &f->err);

                        if (r < 0)
                                (void) fprintf(stderr, "%s\n", f->err.message);
                        store_close(store);
                        _exit(r < 0);
                }
        }
        for (int i = 0; i < N_OPENERS; i++) {
                int status = -1;

                assert_true(wait(&status) > 0);
                assert_int_equal(status, 0);
        }
        assert_int_equal(count(f->path, "SELECT count(*) FROM schema_migrations"), 5);
}

static void die(sqlite3_context *context, int n, sqlite3_value **values)
{
        (void) context;
        (void) n;
        (void) values;
        (void) raise(SIGKILL);
}

/* In a child: migration 2 is killed after its first statement. */
static void migrate_and_die(const char *path)
{
        static const struct store_migration deadly[] = {
                {1,  "first",  "CREATE TABLE first (x)"              },
                { 2, "second", "CREATE TABLE half (x); SELECT die();"}
        };
        struct err err = { 0 };
        sqlite3 *db = NULL;

        if (sqlite3_open(path, &db) == SQLITE_OK &&
            sqlite3_create_function(db, "die", 0, SQLITE_UTF8, NULL, die, NULL, NULL) == SQLITE_OK)
                (void) store_migrate(db, path, deadly, N_ELEMENTS(deadly), &err);
        _exit(1);
}

static void a_migration_killed_in_its_middle_never_happened(void **state)
{
        struct fixture *f = *state;
        int status = 0;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                migrate_and_die(f->path);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(count(f->path, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
        assert_int_equal(count(f->path, "SELECT count(*) FROM sqlite_schema WHERE name = 'first'"), 1);
        assert_int_equal(count(f->path, "SELECT max(id) FROM schema_migrations"), 1);
}

static void a_failing_migration_is_rolled_back_and_named(void **state)
{
        static const struct store_migration bad[] = {
                {1, "broken", "CREATE TABLE half (x); SELECT nonsense;"}
        };
        struct fixture *f = *state;
        sqlite3 *db = NULL;

        assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
        assert_true(store_migrate(db, f->path, bad, 1, &f->err) < 0);
        assert_true(text_starts_with(f->err.message, "migration 1 (broken): "));
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
        assert_int_equal(count(f->path, "SELECT count(*) FROM sqlite_schema"), 0);
}

#define STORE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                STORE_TEST(a_row_comes_back_as_it_went_in),
                STORE_TEST(names_and_addresses_are_unique_while_the_row_exists),
                STORE_TEST(what_is_not_there_is_told_with_the_way_out),
                STORE_TEST(references_are_name_then_id_then_prefix),
                STORE_TEST(a_thousand_rows_are_listed_in_order),
                STORE_TEST(the_file_is_private_even_when_it_was_not),
                STORE_TEST(inspection_classifies_and_changes_nothing),
                STORE_TEST(inspection_tells_what_is_no_database),
                STORE_TEST(a_database_of_a_newer_banger_is_refused),
                STORE_TEST(two_openers_apply_each_migration_once),
                STORE_TEST(a_migration_killed_in_its_middle_never_happened),
                STORE_TEST(a_failing_migration_is_rolled_back_and_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
