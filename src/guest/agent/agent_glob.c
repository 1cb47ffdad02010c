#include "guest/agent/agent_glob.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"

#define OP_GLOB "agent.glob"

static int add_path(struct agent_paths *paths, const char *path)
{
        if (paths->n == AGENT_PATHS_MAX)
                return -E2BIG;
        if (paths->n == paths->capacity) {
                paths->capacity = paths->capacity * 2 + 16;
                paths->list = xrealloc(paths->list, paths->capacity * sizeof(*paths->list));
        }
        paths->list[paths->n++] = xstrdup(path);
        return 0;
}

static bool exists(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

/*
 * done: what is resolved so far, with a slash behind unless empty; rest: the pattern's components that are left. Recursion is
 * bounded by the number of these, which the length of a request bounds.
 */
static int expand(const char *done, const char *rest, struct agent_paths *paths)
{
        size_t n = strcspn(rest, "/");
        scoped_free char *part = strndup(rest, n);
        const char *next = rest + n + strspn(rest + n, "/");
        const struct dirent *entry;
        DIR *folder;
        int r = 0;

        if (!strpbrk(part, "*?[")) {
                scoped_free char *path = xasprintf("%s%s%s", done, part, rest[n] == '/' ? "/" : "");

                if (*next)
                        return expand(path, next, paths);
                return exists(path) ? add_path(paths, path) : 0;
        }
        folder = opendir(*done ? done : ".");
        if (!folder)
                return 0;
        while (r == 0 && (entry = readdir(folder))) {
                scoped_free char *path = NULL;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                    fnmatch(part, entry->d_name, FNM_PERIOD) != 0) /* nobody means these with .* */
                        continue;
                path = xasprintf("%s%s%s", done, entry->d_name, rest[n] == '/' ? "/" : "");
                if (*next)
                        r = expand(path, next, paths);
                else if (exists(path))
                        r = add_path(paths, path);
        }
        (void) closedir(folder);
        return r;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int agent_glob(const char *pattern, struct agent_paths *paths, struct err *err)
{
        size_t before = paths->n;
        int r;

        if (exists(pattern) || !strpbrk(pattern, "*?["))
                r = add_path(paths, pattern);
        else
                r = expand(pattern[0] == '/' ? "/" : "", pattern + strspn(pattern, "/"), paths);
        if (r < 0)
                return err_set(err, -r, OP_GLOB, "'%.300s' matches more than %u paths", pattern,
                               AGENT_PATHS_MAX);
        if (paths->n == before)
                return err_set(err, ENOENT, OP_GLOB, "nothing matches '%.300s'", pattern);
        qsort(paths->list + before, paths->n - before, sizeof(*paths->list), by_name);
        return 0;
}

void agent_paths_done(struct agent_paths *paths)
{
        for (size_t i = 0; i < paths->n; i++)
                free(paths->list[i]);
        free(paths->list);
        *paths = (struct agent_paths){ 0 };
}
