#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "guest/agent/agent_tar.h"

#define OP_TAR      "agent.tar"
#define FOLDERS_MAX (1U << 20) /* folders of one archive whose times are set at the end */
#define DEPTH_MAX   512

/* A folder's time and bits are set last: files that are put into it would change the time, and bits may forbid them. */
struct late_folder {
        char *path; /* owned */
        mode_t mode;
        struct timespec mtime;
};

struct unpacking {
        const struct tar_source *source;
        int root_fd;   /* borrowed */
        int parent_fd; /* owned; the folder of the last entry, for the next one in it */
        char parent[TAR_PATH_MAX];
        bool is_root;
        struct late_folder *late; /* owned */
        size_t n_late, late_capacity;
};

static int failed(int r, const char *what, const char *path, struct err *err)
{
        errno = -r;
        return err_errno(err, OP_TAR, "%s '%.300s'", what, path);
}

/* One step down, made when missing. A symbolic link is not followed: ENOTDIR or ELOOP. Returns a descriptor. */
static int step_down(int at, const char *name, bool create)
{
        int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd >= 0 || errno != ENOENT || !create)
                return fd < 0 ? -errno : fd;
        if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/*
 * "a/./b//c" to "a/b/c" in place. EINVAL when it climbs: an archive of ours never does, and guessing what was meant is
 * how files end up elsewhere.
 */
static int normalize(char *path)
{
        char *out = path;
        unsigned depth = 0;

        for (const char *at = path; *at != '\0';) {
                size_t n;

                while (*at == '/')
                        at++;
                n = strcspn(at, "/");
                if (n == 2 && at[0] == '.' && at[1] == '.')
                        return -EINVAL;
                if (n > 0 && !(n == 1 && at[0] == '.')) {
                        if (out > path)
                                *out++ = '/';
                        memmove(out, at, n);
                        out += n;
                        if (++depth > DEPTH_MAX)
                                return -ENAMETOOLONG;
                }
                at += n;
        }
        *out = '\0';
        return 0;
}

/* A descriptor of the folder named by the first n bytes of path; owned by the caller. */
static int open_folder(int root_fd, const char *path, size_t n, bool create)
{
        scoped_free char *copy = strndup(path, n);
        scoped_close int at = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
        char *rest = NULL;

        if (!copy)
                return -ENOMEM;
        if (at < 0)
                return -errno;
        for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
                int next = step_down(at, name, create);

                if (next < 0)
                        return next;
                (void) close(at);
                at = next;
        }
        return take_fd(&at);
}

/* The folder a normalized path lies in (kept in the cache) and its last name. */
static int enter_parent(struct unpacking *unpacking, const char *path, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        size_t n = slash ? (size_t) (slash - path) : 0;
        int fd;

        *ret_name = slash ? slash + 1 : path;
        if (unpacking->parent_fd >= 0 && strncmp(unpacking->parent, path, n) == 0 &&
            unpacking->parent[n] == '\0')
                return unpacking->parent_fd;
        fd = open_folder(unpacking->root_fd, path, n, true);
        if (fd < 0)
                return fd;
        if (unpacking->parent_fd >= 0)
                (void) close(unpacking->parent_fd);
        memcpy(unpacking->parent, path, n);
        unpacking->parent[n] = '\0';
        unpacking->parent_fd = fd;
        return fd;
}

static int copy_content(const struct tar_source *source, int fd, uint64_t size)
{
        uint8_t buffer[65536];

        for (uint64_t left = size; left > 0;) {
                size_t n = left < sizeof(buffer) ? (size_t) left : sizeof(buffer);
                int r = source->read(source->context, buffer, n);

                if (r < 0)
                        return r == -ENODATA ? -EBADMSG : r;
                r = fd_write_full(fd, buffer, n);
                if (r < 0)
                        return r;
                left -= n;
        }
        if (tar_padding(size) == 0)
                return 0;
        /* An archive may be cut behind its last byte of content. */
        int r = source->read(source->context, buffer, tar_padding(size));

        return r == -ENODATA ? 0 : r;
}

static int unpack_file(struct unpacking *unpacking, int at, const char *name, const struct tar_entry *entry)
{
        const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, entry->mtime };
        scoped_close int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        int r;

        if (fd < 0 && errno == EEXIST) {
                if (unlinkat(at, name, 0) < 0)
                        return -errno;
                fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        }
        if (fd < 0)
                return -errno;
        r = copy_content(unpacking->source, fd, entry->size);
        if (r < 0)
                return r;
        if (unpacking->is_root &&
            fchown(fd, 0, 0) < 0) /* the folder's set-group-ID bit may have decided otherwise */
                return -errno;
        return fchmod(fd, entry->mode) < 0 || futimens(fd, times) < 0 ? -errno : 0;
}

static int unpack_folder(struct unpacking *unpacking, int at, const char *name, const struct tar_entry *entry)
{
        struct late_folder *late;

        if (mkdirat(at, name, 0700) < 0) {
                struct stat st;

                if (errno != EEXIST)
                        return -errno;
                if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                if (!S_ISDIR(st.st_mode) && (unlinkat(at, name, 0) < 0 || mkdirat(at, name, 0700) < 0))
                        return -errno;
        }
        if (unpacking->n_late == FOLDERS_MAX)
                return -E2BIG;
        if (unpacking->n_late == unpacking->late_capacity) {
                unpacking->late_capacity = unpacking->late_capacity * 2 + 64;
                unpacking->late =
                        xrealloc(unpacking->late, unpacking->late_capacity * sizeof(*unpacking->late));
        }
        late = &unpacking->late[unpacking->n_late++];
        *late = (struct late_folder){ xstrdup(entry->path), entry->mode, entry->mtime };
        return 0;
}

static int unpack_hard_link(struct unpacking *unpacking, int at, const char *name, struct tar_entry *entry)
{
        scoped_close int from = FD_NONE;
        const char *slash, *target;
        int r = normalize(entry->link);

        if (r < 0 || entry->link[0] == '\0')
                return -EINVAL;
        slash = strrchr(entry->link, '/');
        target = slash ? slash + 1 : entry->link;
        from = open_folder(unpacking->root_fd, entry->link, slash ? (size_t) (slash - entry->link) : 0,
                           false);
        if (from < 0)
                return from;
        if (linkat(from, target, at, name, 0) == 0)
                return 0;
        if (errno != EEXIST || unlinkat(at, name, 0) < 0)
                return -errno;
        return linkat(from, target, at, name, 0) < 0 ? -errno : 0;
}

static int unpack_symlink(int at, const char *name, const struct tar_entry *entry)
{
        const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, entry->mtime };

        if (entry->link[0] == '\0')
                return -EINVAL;
        if (symlinkat(entry->link, at, name) < 0) {
                if (errno != EEXIST || unlinkat(at, name, 0) < 0 || symlinkat(entry->link, at, name) < 0)
                        return -errno;
        }
        return utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int unpack_entry(struct unpacking *unpacking, struct tar_entry *entry)
{
        const char *name;
        int r = normalize(entry->path), at;

        if (r < 0)
                return r;
        if (entry->path[0] == '\0') /* "./": the folder itself, which stays as it is */
                return entry->type == TAR_FOLDER ? 0 : -EINVAL;
        at = enter_parent(unpacking, entry->path, &name);
        if (at < 0)
                return at;
        switch (entry->type) {
        case TAR_FILE:
                return unpack_file(unpacking, at, name, entry);
        case TAR_FOLDER:
                return unpack_folder(unpacking, at, name, entry);
        case TAR_HARD_LINK:
                return unpack_hard_link(unpacking, at, name, entry);
        case TAR_SYMLINK:
                return unpack_symlink(at, name, entry);
        case TAR_FIFO:
                return mkfifoat(at, name, entry->mode) < 0 && errno != EEXIST ? -errno : 0;
        }
        return -EINVAL;
}

/* Deepest first, as they came parents first. One that was replaced since by something else is not ours to set. */
static int finish_folders(struct unpacking *unpacking, struct err *err)
{
        while (unpacking->n_late > 0) {
                struct late_folder *late = &unpacking->late[--unpacking->n_late];
                const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, late->mtime };
                scoped_free char *path = take_ptr(late->path);
                scoped_close int fd = open_folder(unpacking->root_fd, path, strlen(path), false);

                if (fd < 0)
                        continue;
                if ((unpacking->is_root && fchown(fd, 0, 0) < 0) || fchmod(fd, late->mode) < 0 ||
                    futimens(fd, times) < 0)
                        return failed(-errno, "set mode and time of", path, err);
        }
        return 0;
}

static void unpacking_done(struct unpacking *unpacking)
{
        if (unpacking->parent_fd >= 0)
                (void) close(unpacking->parent_fd);
        while (unpacking->n_late > 0)
                free(unpacking->late[--unpacking->n_late].path);
        free(unpacking->late);
}

static inline void unpacking_done_at_scope_end(struct unpacking *unpacking)
{
        unpacking_done(unpacking);
}

int tar_unpack(const struct tar_source *source, int root_fd, struct err *err)
{
        scoped(unpacking_done) struct unpacking unpacking = {
                .source = source, .root_fd = root_fd, .parent_fd = FD_NONE, .is_root = geteuid() == 0
        };
        scoped_free struct tar_entry *entry = xmalloc(sizeof(*entry));
        int r;

        while ((r = tar_next(source, entry, err)) == 1) {
                r = unpack_entry(&unpacking, entry);
                if (r < 0)
                        return failed(r, "unpack", entry->path, err);
        }
        return r < 0 ? r : finish_folders(&unpacking, err);
}
