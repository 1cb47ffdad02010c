#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_init.h"

#define LIST_MAX (64U << 10)

static int load(const char *path)
{
        scoped_close int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST ? -errno : 0;
}

/* A kernel with everything built in comes without lists. A module that fails is told and the rest goes on: what it was
 * for may not be needed. */
void agent_load_modules(const char *folder, const char *list)
{
        scoped_free char *path = xasprintf("%s/%s", folder, list), *names = NULL;
        struct err err = { 0 };
        char *rest = NULL;

        if (access(path, F_OK) < 0)
                return;
        if (file_read(path, LIST_MAX, &names, NULL, &err) < 0) {
                agent_say("%s", err.message);
                return;
        }
        for (const char *name = strtok_r(names, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest)) {
                scoped_free char *file = xasprintf("%s/%s", folder, name);
                int r = load(file);

                if (r < 0)
                        agent_say("module %s: %s", name, strerror(-r));
        }
}
