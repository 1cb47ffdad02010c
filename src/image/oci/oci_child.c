#include "image/oci/oci_child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OP       "image.layers"
#define CODE_MAX 4095 /* MAX_ERRNO of the kernel's err.h */

void oci_child_end(struct oci_failure *failure, int r, const struct err *err)
{
        if (r == 0)
                _exit(0);
        memcpy(failure->message, err->message, sizeof(failure->message));
        atomic_store(&failure->code, err->code);
        _exit(1);
}

/* Text for a terminal, and no more. */
static int hear(const struct oci_failure *failure, struct err *err)
{
        char message[ERR_MESSAGE_MAX];
        int code = atomic_load(&failure->code);

        memcpy(message, failure->message, sizeof(message));
        message[sizeof(message) - 1] = '\0';
        for (char *at = message; *at != '\0'; at++)
                if ((unsigned char) *at < ' ' || (unsigned char) *at > '~')
                        *at = '?';
        return err_set(err, code > 0 && code <= CODE_MAX ? code : EIO, OP, "%s", message);
}

int oci_child_judge(const struct oci_failure *failure, const char *does, int status, struct err *err)
{
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        if (WIFEXITED(status) && atomic_load(&failure->code) != 0)
                return hear(failure, err);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
                return err_set(
                        err, EPERM, OP,
                        "the process that %s tried what its confinement forbids: the image is hostile, or "
                        "this is a bug",
                        does);
        return err_set(err, EPERM, OP, "the process that %s ended early (%s %d)", does,
                       WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}
