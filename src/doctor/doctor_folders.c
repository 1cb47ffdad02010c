/* The owner's folders: there, theirs, writable, and closed to everybody else. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor/doctor_checks.h"

static void look_at(const struct doctor_context *context, struct doctor_result *result, const char *folder)
{
        struct stat st;

        if (lstat(folder, &st) < 0) {
                if (errno == ENOENT)
                        doctor_pass(result, "%s is made when it is needed", folder);
                else
                        doctor_fail(result, "%s: %s", folder, strerror(errno));
                return;
        }
        if (!S_ISDIR(st.st_mode))
                doctor_fail(result, "%s is no folder; move it away", folder);
        else if (st.st_uid != context->layout->owner_uid)
                doctor_fail(result, "%s belongs to uid %u, not to the owner %u: 'sudo chown -R %u:%u %s'",
                            folder, (unsigned) st.st_uid, (unsigned) context->layout->owner_uid,
                            (unsigned) context->layout->owner_uid, (unsigned) context->layout->owner_gid,
                            folder);
        else if (st.st_mode & 0077)
                doctor_fail(result, "%s is open to others (mode %04o): 'chmod 700 %s'", folder,
                            st.st_mode & 07777U, folder);
        else if (access(folder, W_OK | X_OK) < 0)
                doctor_fail(result, "%s cannot be written: %s", folder, strerror(errno));
        else
                doctor_pass(result, "%s", folder);
}

DOCTOR_CHECK(doctor_folders)
{
        look_at(context, result, context->layout->state);
        look_at(context, result, context->layout->cache);
        look_at(context, result, context->layout->runtime);
}
