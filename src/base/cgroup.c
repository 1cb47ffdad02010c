/* cgroups(7); Documentation/admin-guide/cgroup-v2.rst; systemd's CGROUP_DELEGATION.md. */
#include "base/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"

#define OP           "cgroup"
#define PROC_MAX     ((size_t) 1 << 20)
#define END_MS       1000
#define END_PAUSE_US 2000
#define PERIOD_US    UINT64_C(100000)

static const char *const controllers[] = { "cpu", "memory", "pids" };

/* A file of a cgroup takes a value by one write or not at all. 0 or -errno. */
static int put(const char *folder, const char *name, const char *value)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        scoped_close int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

static int get(const char *folder, const char *name, char **ret_text)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        struct err err = { 0 };

        return file_read(path, PROC_MAX, ret_text, NULL, &err);
}

/* Where v2 is mounted, and which of its cgroups is that folder: proc(5), mountinfo. Owned by the caller. */
static int find_mount(char **ret_point, char **ret_root, struct err *err)
{
        scoped_free char *text = NULL;
        char *rest = NULL;
        int r = file_read("/proc/self/mountinfo", PROC_MAX, &text, NULL, err);

        if (r < 0)
                return r;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                char root[CGROUP_PATH_MAX], point[CGROUP_PATH_MAX];

                if (!strstr(line, " - cgroup2 ") ||
                    sscanf(line, "%*s %*s %*s %511s %511s", root, point) != 2) /* CGROUP_PATH_MAX - 1 */
                        continue;
                *ret_point = xstrdup(point);
                *ret_root = xstrdup(root);
                return 0;
        }
        return err_set(err, ENODEV, OP, "this host has no cgroup v2");
}

/* The folder of this process's cgroup. */
static int find_own(char **ret_path, struct err *err)
{
        scoped_free char *point = NULL, *root = NULL, *text = NULL;
        const char *name;
        int r = find_mount(&point, &root, err);

        if (r == 0)
                r = file_read("/proc/self/cgroup", PROC_MAX, &text, NULL, err);
        if (r < 0)
                return r;
        name = text_starts_with(text, "0::") ? text : strstr(text, "\n0::");
        if (!name)
                return err_set(err, ENODEV, OP, "this process is in no cgroup of v2");
        name = strchr(name, '/');
        if (name && strcmp(root, "/") != 0)
                name = text_starts_with(name, root) ? name + strlen(root) : NULL;
        if (!name)
                return err_set(err, ENODEV, OP, "this process's cgroup is not below '%s'", point);
        *ret_path = xasprintf("%s%.*s", point, (int) strcspn(name, "\n"), name);
        if (strlen(*ret_path) > CGROUP_PATH_MAX / 2) { /* room for a name below it */
                free(take_ptr(*ret_path));
                return err_set(err, ENAMETOOLONG, OP, "the path of this process's cgroup is too long");
        }
        return 0;
}

static bool ends_with_own_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash && strcmp(slash + 1, CGROUP_OWN_NAME) == 0;
}

/* The one line of cgroup.procs is this process. */
static int check_alone(const char *path, struct err *err)
{
        scoped_free char *text = NULL, *self = xasprintf("%d\n", (int) getpid());
        scoped_free char *procs = xasprintf("%s/cgroup.procs", path);
        scoped_free char *control = xasprintf("%s/cgroup.subtree_control", path);

        if (access(procs, W_OK) < 0 || access(control, W_OK) < 0 || access(path, W_OK) < 0)
                return err_set(err, EPERM, OP, "the cgroup '%s' is not delegated to this user", path);
        if (get(path, "cgroup.procs", &text) < 0 || strcmp(text, self) != 0)
                return err_set(err, EBUSY, OP, "other processes are in the cgroup '%s'", path);
        return 0;
}

static int move_down(const char *root, struct err *err)
{
        scoped_free char *own = xasprintf("%s/%s", root, CGROUP_OWN_NAME);
        int r = check_alone(root, err);

        if (r < 0)
                return r;
        if (mkdir(own, 0755) < 0 && errno != EEXIST)
                return err_errno(err, OP, "make the cgroup '%s'", own);
        r = put(own, "cgroup.procs", "0");
        return r < 0 ? err_set(err, -r, OP, "move into the cgroup '%s': %s", own, strerror(-r)) : 0;
}

char *cgroup_controllers(const char *root)
{
        scoped_free char *text = NULL;
        scoped_text struct text on = { 0 };
        char *rest = NULL;

        text_append(&on, "");
        if (get(root, "cgroup.subtree_control", &text) < 0)
                return text_take(&on);
        for (char *word = strtok_r(text, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
                for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++)
                        if (strcmp(word, controllers[i]) == 0)
                                text_appendf(&on, "%s%s", on.n > 0 ? " " : "", word);
        return text_take(&on);
}

/* What is not delegated stays off; cgroup_controllers() tells. */
static void turn_on(const char *root)
{
        for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
                scoped_free char *word = xasprintf("+%s", controllers[i]);

                (void) put(root, "cgroup.subtree_control", word);
        }
}

int cgroup_claim(char **ret_root, struct err *err)
{
        scoped_free char *path = NULL;
        int r = find_own(&path, err);

        if (r < 0)
                return r;
        if (ends_with_own_name(path)) /* systemd's DelegateSubgroup=, or an earlier daemon started this one */
                *strrchr(path, '/') = '\0';
        else
                r = move_down(path, err);
        if (r < 0)
                return r;
        turn_on(path);
        *ret_root = take_ptr(path);
        return 0;
}

int cgroup_claimed(char **ret_root, struct err *err)
{
        scoped_free char *path = NULL;
        int r = find_own(&path, err);

        if (r < 0)
                return r;
        if (!ends_with_own_name(path))
                return err_set(err, ENOENT, OP, "the cgroup '%s' is not delegated, or shared with others",
                               path);
        *strrchr(path, '/') = '\0';
        *ret_root = take_ptr(path);
        return 0;
}

/* A limit whose file is not there is of a controller that is not turned on. */
static int limit(const char *path, const char *name, const char *value, struct err *err)
{
        int r = put(path, name, value);

        return r < 0 && r != -ENOENT
                       ? err_set(err, -r, OP, "set '%s/%s' to '%s': %s", path, name, value, strerror(-r))
                       : 0;
}

static char *number_or_max(uint64_t number, uint64_t times)
{
        return number > 0 ? xasprintf("%llu", (unsigned long long) number * times) : xstrdup("max");
}

int cgroup_make(const char *path, const struct cgroup_limits *limits, struct err *err)
{
        scoped_free char *memory = number_or_max(limits->memory_bytes, 1);
        scoped_free char *processes = number_or_max(limits->processes, 1);
        scoped_free char *quota = number_or_max(limits->cpu_percent, PERIOD_US / 100);
        scoped_free char *cpu = xasprintf("%s %llu", quota, (unsigned long long) PERIOD_US);
        int r;

        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return err_errno(err, OP, "make the cgroup '%s'", path);
        r = limit(path, "memory.max", memory, err);
        if (r == 0)
                r = limit(path, "pids.max", processes, err);
        if (r == 0)
                r = limit(path, "cpu.max", cpu, err);
        return r;
}

int cgroup_remove(const char *path, struct err *err)
{
        uint64_t deadline = clock_monotonic_ms() + END_MS;

        while (rmdir(path) < 0) {
                if (errno == ENOENT)
                        return 0;
                if (errno != EBUSY || clock_left_ms(deadline) == 0)
                        return err_errno(err, OP, "remove the cgroup '%s'", path);
                (void) usleep(END_PAUSE_US);
        }
        return 0;
}
