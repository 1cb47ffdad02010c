#include "image/image_host.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"

#define LIST_MAX   ((size_t) 1 << 20)
#define IDS_WANTED 65536

static bool is_in_path(const char *program)
{
        const char *path = getenv("PATH");
        scoped_free char *folders = xstrdup(path ? path : "/usr/bin:/bin");
        char *rest = folders;

        for (char *folder = strtok_r(rest, ":", &rest); folder; folder = strtok_r(NULL, ":", &rest)) {
                scoped_free char *candidate = xasprintf("%s/%s", folder, program);

                if (access(candidate, X_OK) == 0)
                        return true;
        }
        return false;
}

/* subuid(5): a line "name:first:count" or "uid:first:count". */
static bool has_ids(const char *file, const char *user)
{
        scoped_free char *text = NULL, *by_name = xasprintf("%s:", user);
        scoped_free char *by_uid = xasprintf("%u:", (unsigned) geteuid());
        struct err ignored = { 0 };
        char *rest;

        if (file_read(file, LIST_MAX, &text, NULL, &ignored) < 0)
                return false;
        rest = text;
        for (char *line = strtok_r(rest, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (text_starts_with(line, by_name) || text_starts_with(line, by_uid))
                        return true;
        return false;
}

int image_host_check(struct err *err)
{
        const struct passwd *account = getpwuid(geteuid());
        const char *user = account ? account->pw_name : "this user";

        if (!is_in_path("mmdebstrap"))
                return err_set(
                        err, ENOTSUP, "image.build",
                        "making this image needs the program mmdebstrap: install the package mmdebstrap "
                        "(apt-get install mmdebstrap uidmap)");
        if (geteuid() == 0)
                return 0;
        if (!is_in_path("newuidmap"))
                return err_set(
                        err, ENOTSUP, "image.build",
                        "making this image without root needs the program newuidmap: install the package "
                        "uidmap (apt-get install uidmap)");
        if (!has_ids("/etc/subuid", user) || !has_ids("/etc/subgid", user))
                return err_set(
                        err, ENOTSUP, "image.build",
                        "user '%s' has no subordinate ids, which making this image without root needs: as "
                        "root, run usermod --add-subuids 100000-%d --add-subgids 100000-%d %s",
                        user, 100000 + IDS_WANTED - 1, 100000 + IDS_WANTED - 1, user);
        return 0;
}

/* A line of the file that is no comment mentions the word. */
static bool mentions(const char *path, const char *word)
{
        scoped_free char *text = NULL;
        struct err ignored = { 0 };
        char *rest;

        if (file_read(path, LIST_MAX, &text, NULL, &ignored) < 0)
                return false;
        rest = text;
        for (char *line = strtok_r(rest, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (line[strspn(line, " \t")] != '#' && strstr(line, word))
                        return true;
        return false;
}

void image_host_sources(const char *suite, char *ret_sources[IMAGE_HOST_N_SOURCES + 1])
{
        static const char *const files[IMAGE_HOST_N_SOURCES] = { "/etc/apt/sources.list",
                                                                 "/etc/apt/sources.list.d/debian.sources" };
        scoped_free char *codename = xasprintf("VERSION_CODENAME=%s", suite);
        size_t n = 0;

        if (mentions("/etc/os-release", codename) && mentions("/etc/os-release", "ID=debian"))
                for (size_t i = 0; i < IMAGE_HOST_N_SOURCES; i++)
                        if (mentions(files[i], suite))
                                ret_sources[n++] = xstrdup(files[i]);
        ret_sources[n] = NULL;
}

bool image_host_can_others_enter(const char *path)
{
        scoped_free char *partial = xstrdup(path);

        if (path[0] != '/')
                return false;
        for (;;) {
                struct stat status;
                char *slash = strrchr(partial, '/');

                /* what is not there yet would be made for its owner only */
                if (stat(partial[0] ? partial : "/", &status) < 0 || !(status.st_mode & S_IXOTH))
                        return false;
                if (!slash)
                        return true;
                *slash = '\0';
        }
}
