/* Images are built in a user namespace of the owner, never by root: that needs namespaces and a range of ids. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"
#include "doctor/doctor_checks.h"

#define SETTING_MAX 64
#define RANGES_MAX  1048576
#define IDS_NEEDED  65536

/* subuid(5): "name-or-uid:first:count". */
static bool has_range(const char *path, const char *name, uid_t uid)
{
        scoped_free char *text = NULL;
        struct err unreadable = { 0 };
        char number[16];
        char *rest = NULL;

        (void) snprintf(number, sizeof(number), "%u", (unsigned) uid);
        if (file_read(path, RANGES_MAX, &text, NULL, &unreadable) < 0)
                return false;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                char *fields = NULL;
                const char *who = strtok_r(line, ":", &fields);
                const char *first = strtok_r(NULL, ":", &fields);
                const char *count = strtok_r(NULL, ":", &fields);
                uint64_t n = 0;

                if (who && first && count && (strcmp(who, name) == 0 || strcmp(who, number) == 0) &&
                    text_parse_u64(count, UINT32_MAX, &n) == 0 && n >= IDS_NEEDED)
                        return true;
        }
        return false;
}

static void look_for_range(struct doctor_result *result, const char *path, const char *option,
                           const struct doctor_context *context)
{
        const struct passwd *account = getpwuid(context->layout->owner_uid);
        const char *name = account ? account->pw_name : "";

        if (has_range(path, name, context->layout->owner_uid))
                doctor_pass(result, "%s has a range for the owner", path);
        else
                doctor_warn(result,
                            "%s has no range of %d ids for the owner: 'sudo usermod %s 100000-165535 %s'",
                            path, IDS_NEEDED, option, account ? name : "<owner>");
}

DOCTOR_CHECK(doctor_namespaces)
{
        scoped_free char *text = NULL;
        struct err unreadable = { 0 };

        if (file_read(context->max_user_namespaces, SETTING_MAX, &text, NULL, &unreadable) < 0 ||
            strtol(text, NULL, 10) <= 0)
                doctor_warn(result, "user namespaces are off: 'sudo sysctl user.max_user_namespaces=10000'");
        else
                doctor_pass(result, "user namespaces are on");
        look_for_range(result, context->subuid, "--add-subuids", context);
        look_for_range(result, context->subgid, "--add-subgids", context);
}
