#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_init.h"

#define LIST_MAX (64U << 10)

static int load(int fd)
{
        return syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST ? -errno : 0;
}

/* A module that fails is told and the rest goes on: what it was for may not be needed. */
static void load_or_say(int fd, const char *name)
{
        int r = fd < 0 ? fd : load(fd);

        if (r < 0)
                agent_say("module %s: %s", name, strerror(-r));
}

/* False: a kernel with everything built in comes without lists. */
static bool read_list(const char *folder, const char *list, char **ret_names)
{
        scoped_free char *path = xasprintf("%s/%s", folder, list);
        struct err err = { 0 };

        if (access(path, F_OK) < 0)
                return false;
        if (file_read(path, LIST_MAX, ret_names, NULL, &err) == 0)
                return true;
        agent_say("%s", err.message);
        return false;
}

static int open_module(const char *folder, const char *name)
{
        scoped_free char *file = xasprintf("%s/%s", folder, name);
        int fd = open(file, O_RDONLY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

void agent_load_modules(const char *folder, const char *list)
{
        scoped_free char *names = NULL;
        char *rest = NULL;

        if (!read_list(folder, list, &names))
                return;
        for (const char *name = strtok_r(names, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest)) {
                scoped_close int fd = open_module(folder, name);

                load_or_say(fd, name);
        }
}

void agent_open_modules(const char *folder, const char *list, struct agent_modules *ret_modules)
{
        scoped_free char *names = NULL;
        char *rest = NULL;

        *ret_modules = (struct agent_modules){ 0 };
        if (!read_list(folder, list, &names))
                return;
        for (const char *name = strtok_r(names, "\n", &rest); name && ret_modules->n < AGENT_MODULES_MAX;
             name = strtok_r(NULL, "\n", &rest)) {
                ret_modules->names[ret_modules->n] = xstrdup(name);
                ret_modules->fds[ret_modules->n++] = open_module(folder, name);
        }
}

void agent_load_opened(const struct agent_modules *modules)
{
        for (unsigned i = 0; i < modules->n; i++)
                load_or_say(modules->fds[i], modules->names[i]);
}

void agent_modules_done(struct agent_modules *modules)
{
        for (unsigned i = 0; i < modules->n; i++) {
                close_at_scope_end(&modules->fds[i]);
                free(modules->names[i]);
        }
        modules->n = 0;
}
