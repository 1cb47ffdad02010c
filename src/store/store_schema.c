/* The schema: its migrations, how they are applied, and what a database is compared with this program. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/text.h"
#include "store/store.h"
#include "store/store_db.h"

/*
 * Times are nanoseconds since 1970. An address is NULL while a VM has none, because UNIQUE lets NULL repeat. The table
 * images has had no rows since images became folders; it stays so that the ids keep their meaning.
 */
const struct store_migration store_migrations[] = {
        {1,  "baseline",
         "CREATE TABLE images ("
          "  id TEXT PRIMARY KEY,"
          "  name TEXT NOT NULL UNIQUE,"
          "  docker INTEGER NOT NULL DEFAULT 0"
          ");"
          "CREATE TABLE vms ("
          "  id TEXT PRIMARY KEY,"
          "  name TEXT NOT NULL UNIQUE,"
          "  state TEXT NOT NULL,"
          "  image TEXT NOT NULL,"
          "  kernel TEXT NOT NULL,"
          "  vcpu INTEGER NOT NULL,"
          "  memory_mib INTEGER NOT NULL,"
          "  disk_bytes INTEGER NOT NULL,"
          "  nat INTEGER NOT NULL,"
          "  address TEXT UNIQUE,"
          "  vmm TEXT NOT NULL,"
          "  boot_id TEXT NOT NULL,"
          "  last_error TEXT NOT NULL,"
          "  created_at INTEGER NOT NULL,"
          "  updated_at INTEGER NOT NULL,"
          "  touched_at INTEGER NOT NULL"
          ") WITHOUT ROWID;"                                                                                },
        { 2, "drop_images_docker",     "ALTER TABLE images DROP COLUMN docker;"                             },
        { 3, "vms_workspace",          "ALTER TABLE vms ADD COLUMN workspace_json TEXT NOT NULL DEFAULT '';"},
        { 4, "vms_network_and_limits",
         "ALTER TABLE vms ADD COLUMN peers INTEGER NOT NULL DEFAULT 0;"
          "ALTER TABLE vms ADD COLUMN tap TEXT NOT NULL DEFAULT '';"
          "ALTER TABLE vms ADD COLUMN disk_iops INTEGER NOT NULL DEFAULT 0;"
          "ALTER TABLE vms ADD COLUMN disk_bandwidth INTEGER NOT NULL DEFAULT 0;"
          "ALTER TABLE vms ADD COLUMN net_bandwidth INTEGER NOT NULL DEFAULT 0;"                            },
        { 5, "vms_labels",
         "ALTER TABLE vms ADD COLUMN labels_json TEXT NOT NULL DEFAULT '{}';"
          "ALTER TABLE vms ADD COLUMN pending TEXT NOT NULL DEFAULT '';"                                    },
};
const size_t store_n_migrations = sizeof(store_migrations) / sizeof(store_migrations[0]);

/* More ids than any banger will have; a database that claims more is not ours. */
#define APPLIED_MAX 1024

struct applied {
        int ids[APPLIED_MAX];
        size_t n;
};

static bool applied_has(const struct applied *applied, int id)
{
        for (size_t i = 0; i < applied->n; i++)
                if (applied->ids[i] == id)
                        return true;
        return false;
}

static bool is_known(const struct store_migration *migrations, size_t n, int id)
{
        for (size_t i = 0; i < n; i++)
                if (migrations[i].id == id)
                        return true;
        return false;
}

/* 1, 0 or a negative SQLite code. */
static int has_bookkeeping(sqlite3 *db)
{
        scoped(statement_free) sqlite3_stmt *statement = NULL;
        int r;

        r = sqlite3_prepare_v2(
                db, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'", -1,
                &statement, NULL);
        if (r != SQLITE_OK)
                return -r;
        r = sqlite3_step(statement);
        if (r == SQLITE_ROW)
                return 1;
        return r == SQLITE_DONE ? 0 : -r;
}

/* A missing table means that nothing was applied (S-370). */
static int read_applied(sqlite3 *db, const char *path, struct applied *applied, struct err *err)
{
        scoped(statement_free) sqlite3_stmt *statement = NULL;
        int r = has_bookkeeping(db);

        applied->n = 0;
        if (r == 0)
                return 0;
        if (r < 0 || sqlite3_prepare_v2(db, "SELECT id FROM schema_migrations ORDER BY id", -1, &statement,
                                        NULL) != SQLITE_OK)
                return store_failed(db, path, "store.open", err);
        while ((r = sqlite3_step(statement)) == SQLITE_ROW) {
                if (applied->n == APPLIED_MAX)
                        return err_set(err, EBADMSG, "store.open",
                                       "'%s' lists too many migrations to be ours", path);
                applied->ids[applied->n++] = sqlite3_column_int(statement, 0);
        }
        return r == SQLITE_DONE ? 0 : store_failed(db, path, "store.open", err);
}

/* "[1, 3]" of the ids in the one set that the other has not. */
static size_t append_unknown(struct text *text, const struct applied *applied,
                             const struct store_migration *migrations, size_t n)
{
        size_t n_unknown = 0;

        for (size_t i = 0; i < applied->n; i++)
                if (!is_known(migrations, n, applied->ids[i]))
                        text_appendf(text, n_unknown++ > 0 ? ", %d" : "[%d", applied->ids[i]);
        if (n_unknown > 0)
                text_append(text, "]");
        return n_unknown;
}

static size_t append_pending(struct text *text, const struct applied *applied,
                             const struct store_migration *migrations, size_t n)
{
        size_t n_pending = 0;

        for (size_t i = 0; i < n; i++)
                if (!applied_has(applied, migrations[i].id))
                        text_appendf(text, n_pending++ > 0 ? ", %d" : "[%d", migrations[i].id);
        if (n_pending > 0)
                text_append(text, "]");
        return n_pending;
}

static int record_migration(sqlite3 *db, const struct store_migration *migration)
{
        scoped(statement_free) sqlite3_stmt *statement = NULL;
        char now[CLOCK_TEXT_MAX];
        int r;

        clock_format(clock_real_ns(), now);
        r = sqlite3_prepare_v2(db, "INSERT INTO schema_migrations (id, name, applied_at) VALUES (?, ?, ?)",
                               -1, &statement, NULL);
        if (r != SQLITE_OK)
                return r;
        (void) sqlite3_bind_int(statement, 1, migration->id);
        (void) sqlite3_bind_text(statement, 2, migration->name, -1, SQLITE_STATIC);
        (void) sqlite3_bind_text(statement, 3, now, -1, SQLITE_STATIC);
        r = sqlite3_step(statement);
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

/* Inside the transaction of apply(). */
static int apply_locked(sqlite3 *db, const char *path, const struct store_migration *migration,
                        struct err *err)
{
        static const char bookkeeping[] =
                "CREATE TABLE IF NOT EXISTS schema_migrations ("
                " id INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL)";
        struct applied applied;
        int r = read_applied(db, path, &applied, err);

        if (r < 0 || applied_has(&applied, migration->id))
                return r;
        if (sqlite3_exec(db, bookkeeping, NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_exec(db, migration->sql, NULL, NULL, NULL) != SQLITE_OK ||
            record_migration(db, migration) != SQLITE_OK) {
                (void) store_failed(db, path, "store.open", err);
                return err_wrap(err, "migration %d (%s)", migration->id, migration->name);
        }
        return 0;
}

static int apply(sqlite3 *db, const char *path, const struct store_migration *migration, struct err *err)
{
        int r;

        if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
                return store_failed(db, path, "store.open", err);
        r = apply_locked(db, path, migration, err);
        if (r == 0 && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
                r = store_failed(db, path, "store.open", err);
        if (r < 0)
                (void) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return r;
}

int store_migrate(sqlite3 *db, const char *path, const struct store_migration *migrations, size_t n,
                  struct err *err)
{
        scoped_text struct text unknown = { 0 };
        struct applied applied;
        int r = read_applied(db, path, &applied, err);

        if (r < 0)
                return r;
        if (append_unknown(&unknown, &applied, migrations, n) > 0)
                return err_set(err, EPROTO, "store.open",
                               "the state store '%s' was written by a newer banger (unknown migrations %s); "
                               "install that version again",
                               path, unknown.s);
        for (size_t i = 0; i < n; i++) {
                if (applied_has(&applied, migrations[i].id))
                        continue;
                r = apply(db, path, &migrations[i], err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* file:/a/b?mode=ro with everything percent-encoded that an URI gives a meaning to (sqlite.org/uri.html). */
static char *read_only_uri(const char *path)
{
        struct text uri = { 0 };

        text_append(&uri, "file:");
        for (const char *p = path; *p != '\0'; p++) {
                if (strchr("%?#", *p))
                        text_appendf(&uri, "%%%02X", (unsigned char) *p);
                else
                        text_append_bytes(&uri, p, 1);
        }
        text_append(&uri, "?mode=ro");
        return text_take(&uri);
}

static void database_close(sqlite3 *db)
{
        (void) sqlite3_close(db);
}
SCOPED_FUNC(sqlite3 *, database_close);

static int inspect_file(const char *path, struct applied *applied, struct err *err)
{
        scoped_free char *uri = read_only_uri(path);
        scoped(database_close) sqlite3 *db = NULL;

        if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) != SQLITE_OK)
                return store_failed(db, path, "store.inspect", err);
        (void) sqlite3_busy_timeout(db, 1000);
        return read_applied(db, path, applied, err);
}

int store_inspect(const char *path, enum store_schema *ret_schema, char **ret_line, struct err *err)
{
        scoped_text struct text unknown = { 0 };
        scoped_text struct text pending = { 0 };
        struct applied applied = { 0 };
        struct stat st;
        int r;

        if (stat(path, &st) == 0) {
                r = inspect_file(path, &applied, err);
                if (r < 0)
                        return r;
        } else if (errno != ENOENT) {
                return err_errno(err, "store.inspect", "look at '%s'", path);
        }
        if (append_unknown(&unknown, &applied, store_migrations, store_n_migrations) > 0) {
                *ret_schema = STORE_INCOMPATIBLE;
                *ret_line = xasprintf("incompatible: unknown %s (the database belongs to a newer banger)",
                                      unknown.s);
        } else if (append_pending(&pending, &applied, store_migrations, store_n_migrations) > 0) {
                *ret_schema = STORE_MIGRATIONS_NEEDED;
                *ret_line = xasprintf("migrations needed: pending %s (binary will apply on first Open)",
                                      pending.s);
        } else {
                *ret_schema = STORE_COMPATIBLE;
                *ret_line = xasprintf("compatible: %zu migrations applied", applied.n);
        }
        return 0;
}
