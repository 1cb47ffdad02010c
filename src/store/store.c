/* The connection: how it is opened, how a failure of SQLite is told, and its end. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "store/store_db.h"

#define BUSY_TIMEOUT_MS 5000
#define WAL_PAUSE_MS    5

/* SQLite's primary result codes and what they mean to a caller (sqlite.org/rescode.html). */
static int errno_of(int code)
{
        switch (code & 0xff) {
        case SQLITE_CONSTRAINT:
                return EEXIST;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return EBUSY;
        case SQLITE_FULL:
                return ENOSPC;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return EBADMSG;
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_AUTH:
                return EACCES;
        case SQLITE_CANTOPEN:
                return ENOENT;
        default:
                return EIO;
        }
}

int store_failed(sqlite3 *db, const char *path, const char *op, struct err *err)
{
        int code = errno_of(sqlite3_errcode(db));

        if (code == EBADMSG)
                return err_set(
                        err, code, op,
                        "the state store '%s' is damaged (%s); move it away and restore a copy, or start "
                        "without it: images and kernels are kept, the list of VMs is lost",
                        path, sqlite3_errmsg(db));
        return err_set(err, code, op, "state store '%s': %s", path, sqlite3_errmsg(db));
}

/*
 * The file must be private before SQLite puts anything into it; its -wal and -shm inherit the mode. An existing one is
 * only chmod-ed: opening and closing it here would drop the locks that another connection of this process holds
 * (fcntl(2), "traditional record locks").
 */
static int make_private(const char *path, struct err *err)
{
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd >= 0) {
                (void) close(fd);
                return 0;
        }
        if (errno != EEXIST)
                return err_errno(err, "store.open", "create the state store '%s'", path);
        if (chmod(path, 0600) < 0)
                return err_errno(err, "store.open", "make the state store '%s' private", path);
        return 0;
}

/* Switching to WAL fails at once, whatever the busy timeout, while another opener is switching too. */
static int use_wal(sqlite3 *db)
{
        uint64_t deadline = clock_monotonic_ms() + BUSY_TIMEOUT_MS;
        int r;

        for (;;) {
                r = sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
                if (r != SQLITE_BUSY || clock_left_ms(deadline) == 0)
                        return r;
                (void) sqlite3_sleep(WAL_PAUSE_MS);
        }
}

static int configure(sqlite3 *db)
{
        /* NORMAL loses no consistency under WAL, at most the last commits when the power goes; every commit of ours
           is followed by work that reconcile finds again */
        static const char settings[] = "PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL;";
        int r;

        (void) sqlite3_extended_result_codes(db, 1);
        (void) sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
        r = use_wal(db);
        return r == SQLITE_OK ? sqlite3_exec(db, settings, NULL, NULL, NULL) : r;
}

SCOPED_FUNC(struct store *, store_close);

int store_open(const char *path, struct store **ret_store, struct err *err)
{
        scoped(store_close) struct store *store = xcalloc(1, sizeof(*store));
        int r;

        r = make_private(path, err);
        if (r < 0)
                return r;
        store->path = xstrdup(path);
        if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) !=
                    SQLITE_OK ||
            configure(store->db) != SQLITE_OK)
                return store_failed(store->db, path, "store.open", err);
        r = store_migrate(store->db, path, store_migrations, store_n_migrations, err);
        if (r < 0)
                return r;
        *ret_store = take_ptr(store);
        return 0;
}

void store_close(struct store *store)
{
        if (!store)
                return;
        for (size_t i = 0; i < N_QUERIES; i++)
                statement_free(store->queries[i]);
        (void) sqlite3_close(store->db);
        free(store->path);
        free(store);
}
