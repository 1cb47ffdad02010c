/*
 * One failure, told once.
 *
 * Every fallible function above src/base takes `struct err *err` as its last
 * parameter and returns 0 or the negated code. It is filled where the failure is
 * found; callers only add what they were trying to do (err_wrap) and return.
 * Reporting happens at the edges alone: RPC dispatch, CLI main, job loop.
 */
#pragma once

#define ERR_MESSAGE_MAX 1024

struct err {
        int code;                      /* errno value; 0 while nothing failed */
        const char *op;                /* what failed, for machines: "image.unpack" (static storage) */
        const char *where;             /* "image/unpack.c:212", for the debug log only (static storage) */
        char message[ERR_MESSAGE_MAX]; /* for people: one line, outermost context first, no full stop */
};

#define ERR_STRINGIFY_(x) #x
#define ERR_STRINGIFY(x)  ERR_STRINGIFY_(x)
#define ERR_WHERE         __FILE__ ":" ERR_STRINGIFY(__LINE__)

/* return err_set(err, ENOENT, "vm.start", "no vm named '%s'", name); */
#define err_set(err, code, op, ...) err_set_at(err, code, op, ERR_WHERE, __VA_ARGS__)

/* Same, from errno, and ends the message with ": No such file or directory". */
#define err_errno(err, op, ...) err_errno_at(err, op, ERR_WHERE, __VA_ARGS__)

int err_set_at(struct err *err, int code, const char *op, const char *where, const char *format, ...)
        __attribute__((format(printf, 5, 6), cold, nonnull));
int err_errno_at(struct err *err, const char *op, const char *where, const char *format, ...)
        __attribute__((format(printf, 4, 5), cold, nonnull));

/* Puts "context: " before the message. Returns the negated code. */
int err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3), cold, nonnull));

/* Adds a second, independent failure ("; " between them); the first one keeps code and op. Does nothing when other is clear or says nothing new. */
void err_join(struct err *err, const struct err *other);

/*
 * ENOENT <-> "not_found": the only spelling that goes over a socket (spec S-086). A code
 * without a name of its own travels as "operation_failed" and comes back as EIO.
 */
const char *err_code_to_name(int code);
int err_code_from_name(const char *name);
