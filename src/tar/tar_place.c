#include "tar/tar_place.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "tar/tar_pack.h"

#define OP_PLACE "tar.place"

static int open_root(const char *folder, struct tar_place *place, struct err *err)
{
        place->root_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return place->root_fd < 0 ? err_errno(err, OP_PLACE, "open the folder '%.300s'", folder) : 0;
}

/* "a/b" to "a" and "b", "/b" to "/" and "b", "b" to "." and "b". */
static int open_parent(const char *path, struct tar_place *place, struct err *err)
{
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        scoped_free char *folder =
                slash ? strndup(path, slash == path ? 1 : (size_t) (slash - path)) : xstrdup(".");

        if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return err_set(err, EINVAL, OP_PLACE, "'%.300s' names nothing that can be made", path);
        place->to = xstrdup(name);
        return open_root(folder, place, err);
}

/* The first component of a name in a stream; "." for "./x" and "." itself. */
static char *first_component(const char *path)
{
        while (path[0] == '/')
                path++;
        if (path[0] == '.' && (path[1] == '/' || path[1] == '\0'))
                return xstrdup(".");
        return strndup(path, strcspn(path, "/"));
}

static int replace_file(const char *destination, bool guarded, const struct tar_entry *first,
                        struct tar_place *place, struct err *err)
{
        scoped_free char *path = guarded ? xstrdup(destination) : realpath(destination, NULL);

        if (first->type == TAR_FOLDER)
                return err_set(err, ENOTDIR, OP_PLACE, "'%.300s' is a file; a folder is not copied over it",
                               destination);
        if (!path)
                return err_errno(err, OP_PLACE, "follow '%.300s'", destination);
        place->from = first_component(first->path);
        return open_parent(path, place, err);
}

static int make_new(const char *destination, const struct tar_entry *first, struct tar_place *place,
                    struct err *err)
{
        size_t n = strlen(destination);
        scoped_free char *path = NULL;

        if (first->type != TAR_FOLDER && n > 0 && destination[n - 1] == '/')
                return err_set(err, ENOENT, OP_PLACE, "there is no folder '%.300s'", destination);
        while (n > 1 && destination[n - 1] == '/')
                n--;
        path = strndup(destination, n);
        place->from = first_component(first->path);
        return open_parent(path, place, err);
}

int tar_place_open(const char *destination, const struct tar_place_wish *wish, const struct tar_entry *first,
                   struct tar_place *ret_place, struct err *err)
{
        scoped(tar_place_done) struct tar_place place = { .root_fd = FD_NONE };
        struct stat st;
        int r;

        if (stat(destination, &st) < 0) {
                if (errno != ENOENT)
                        return err_errno(err, OP_PLACE, "look at '%.300s'", destination);
                if (wish->must_be_folder)
                        return err_set(err, ENOENT, OP_PLACE, "there is no folder '%.300s'", destination);
                r = make_new(destination, first, &place, err);
        } else if (S_ISDIR(st.st_mode)) {
                r = open_root(destination, &place, err);
        } else if (wish->must_be_folder) {
                return err_set(err, ENOTDIR, OP_PLACE, "'%.300s' is not a folder", destination);
        } else if (!S_ISREG(st.st_mode)) {
                return err_set(err, EINVAL, OP_PLACE, "'%.300s' is neither a file nor a folder", destination);
        } else {
                r = replace_file(destination, wish->guarded, first, &place, err);
        }
        if (r < 0)
                return r;
        *ret_place = place;
        place = (struct tar_place){ .root_fd = FD_NONE };
        return 0;
}

bool tar_place_was_asked(const char *const *asked, const char *name)
{
        scoped_free char *first = strndup(name, strcspn(name, "/"));

        for (; *asked; asked++) {
                scoped_free char *packed = tar_pack_name(*asked);

                if (strcmp(packed, ".") == 0 || strcmp(packed, first) == 0 ||
                    fnmatch(packed, first, FNM_PERIOD) == 0)
                        return true;
        }
        return false;
}

int tar_place_name(const struct tar_place *place, char name[TAR_PATH_MAX])
{
        size_t n_from, n = strlen(name), n_to;
        const char *rest = name;

        if (!place->from)
                return 0;
        n_from = strcmp(place->from, ".") == 0 ? 0 : strlen(place->from);
        if (n_from > 0 &&
            (strncmp(name, place->from, n_from) != 0 || (name[n_from] != '/' && name[n_from] != '\0')))
                return -EBADMSG;
        rest += n_from;
        n_to = strlen(place->to);
        if (n_from == 0 && n > 0)
                n_to++; /* the slash between */
        if (n_to + n - n_from + 1 > TAR_PATH_MAX)
                return -ENAMETOOLONG;
        memmove(name + n_to, rest, n - n_from + 1);
        memcpy(name, place->to, strlen(place->to));
        if (n_from == 0 && n > 0)
                name[n_to - 1] = '/';
        return 0;
}

void tar_place_done(struct tar_place *place)
{
        close_at_scope_end(&place->root_fd);
        free(place->from);
        free(place->to);
        *place = (struct tar_place){ .root_fd = FD_NONE };
}
