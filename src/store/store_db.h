/*
 * The inside of store/: the connection, its kept statements and the schema. Included by this folder and its tests
 * alone.
 */
#pragma once

#include <sqlite3.h>
#include <stddef.h>

#include "base/err.h"
#include "base/scoped.h"

enum store_query {
        QUERY_VM_INSERT,
        QUERY_VM_UPDATE,
        QUERY_VM_DELETE,
        QUERY_VM_BY_NAME,
        QUERY_VM_BY_ID,
        QUERY_VM_BY_PREFIX,
        QUERY_VM_LIST,
        QUERY_VM_ADDRESSES,
        N_QUERIES
};

struct store {
        sqlite3 *db;                      /* owned */
        sqlite3_stmt *queries[N_QUERIES]; /* owned; prepared at first use, kept until close */
        char *path;                       /* owned; for messages */
};

/* One step of the schema. Ids are never used twice; what a released migration says is never changed. */
struct store_migration {
        int id;
        const char *name;
        const char *sql; /* one or more statements */
};

extern const struct store_migration store_migrations[];
extern const size_t store_n_migrations;

static inline void statement_free(sqlite3_stmt *statement)
{
        (void) sqlite3_finalize(statement);
}
SCOPED_FUNC(sqlite3_stmt *, statement_free);

/* What SQLite said last, told with the file it happened to. Returns the negated errno it stands for. */
int store_failed(sqlite3 *db, const char *path, const char *op, struct err *err);

/*
 * Applies the migrations that the database has not seen, in order. Each runs in one transaction with its row in
 * schema_migrations, and looks again under the write lock, so that two openers never apply one twice. EPROTO when the
 * database has a migration that is not in the table: it belongs to a newer banger.
 */
int store_migrate(sqlite3 *db, const char *path, const struct store_migration *migrations, size_t n,
                  struct err *err);
