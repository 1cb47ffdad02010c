#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
        int code;
        const char *name;
} code_names[] = {
        {ENOENT,  "not_found"     },
        { EEXIST, "already_exists"},
        { EINVAL, "bad_request"   },
        { EPROTO, "bad_version"   },
        { EPERM,  "unauthorized"  },
        { ENOSYS, "unknown_method"},
};

#define N_CODE_NAMES (sizeof(code_names) / sizeof(code_names[0]))

__attribute__((format(printf, 5, 0))) static void
err_fill(struct err *err, int code, const char *op, const char *where, const char *format, va_list args)
{
        assert(code > 0);
        assert(err->code == 0); /* a failure is told once */

        err->code = code;
        err->op = op;
        err->where = where;
        (void) vsnprintf(err->message, sizeof(err->message), format, args);
}

int err_set_at(struct err *err, int code, const char *op, const char *where, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        err_fill(err, code, op, where, format, args);
        va_end(args);
        return -code;
}

int err_errno_at(struct err *err, const char *op, const char *where, const char *format, ...)
{
        int code = errno;
        size_t used;
        va_list args;

        va_start(args, format);
        err_fill(err, code, op, where, format, args);
        va_end(args);

        used = strlen(err->message);
        (void) snprintf(err->message + used, sizeof(err->message) - used, ": %s", strerror(code));
        return -code;
}

int err_wrap(struct err *err, const char *format, ...)
{
        char inner[ERR_MESSAGE_MAX];
        size_t used;
        va_list args;

        assert(err->code > 0);

        memcpy(inner, err->message, sizeof(inner));
        va_start(args, format);
        (void) vsnprintf(err->message, sizeof(err->message), format, args);
        va_end(args);

        used = strlen(err->message);
        (void) snprintf(err->message + used, sizeof(err->message) - used, ": %s", inner);
        return -err->code;
}

const char *err_code_to_name(int code)
{
        for (size_t i = 0; i < N_CODE_NAMES; i++)
                if (code_names[i].code == code)
                        return code_names[i].name;
        return "operation_failed";
}

int err_code_from_name(const char *name)
{
        for (size_t i = 0; i < N_CODE_NAMES; i++)
                if (strcmp(code_names[i].name, name) == 0)
                        return code_names[i].code;
        return EIO;
}

void err_join(struct err *err, const struct err *other)
{
        size_t used;

        if (other->code == 0)
                return;
        if (err->code == 0) {
                *err = *other;
                return;
        }
        if (strstr(err->message, other->message)) /* one cause of several failures is told once */
                return;
        used = strlen(err->message);
        (void) snprintf(err->message + used, sizeof(err->message) - used, "; %s", other->message);
}
