#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/text.h"

#define REMOVE_DEPTH_MAX  256
#define UNFINISHED        "XXXXXX"
#define UNFINISHED_SUFFIX (sizeof(UNFINISHED) - 1)

int file_read(const char *path, size_t max, char **ret_text, size_t *ret_n, struct err *err)
{
        scoped_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        scoped_text struct text text = { 0 };
        char buffer[16384];
        ssize_t got;

        if (fd < 0)
                return err_errno(err, "file.read", "open '%s'", path);
        text_append(&text, "");
        while ((got = read(fd, buffer, sizeof(buffer))) != 0) {
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return err_errno(err, "file.read", "read '%s'", path);
                if (text.n + (size_t) got > max)
                        return err_set(err, EFBIG, "file.read", "'%s' is larger than %zu bytes", path, max);
                text_append_bytes(&text, buffer, (size_t) got);
        }
        if (ret_n)
                *ret_n = text.n;
        *ret_text = text_take(&text);
        return 0;
}

int file_read_end(const char *path, size_t max, char **ret_text, struct err *err)
{
        scoped_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        scoped_free char *text = NULL;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_errno(err, "file.read", "open '%s'", path);
        text = xcalloc(max + 1, 1);
        if (pread(fd, text, max, st.st_size > (off_t) max ? st.st_size - (off_t) max : 0) < 0)
                return err_errno(err, "file.read", "read '%s'", path);
        *ret_text = take_ptr(text);
        return 0;
}

/* Makes the names in path's folder durable. */
static int sync_folder_of(const char *path)
{
        const char *slash = strrchr(path, '/');
        scoped_free char *folder = slash ? strndup(path, (size_t) (slash - path) + 1) : xstrdup(".");
        scoped_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_beside(const char *path, const void *data, size_t n, mode_t mode, bool sync, struct err *err)
{
        scoped_free char *temporary = xasprintf("%s." UNFINISHED, path);
        scoped_close int fd = mkostemp(temporary, O_CLOEXEC);
        int r;

        if (fd < 0)
                return err_errno(err, "file.replace", "create a file beside '%s'", path);
        r = fd_write_full(fd, data, n);
        if (r == 0 && (fchmod(fd, mode) < 0 || (sync && fsync(fd) < 0) || rename(temporary, path) < 0))
                r = -errno;
        if (r == 0)
                return 0;
        (void) unlink(temporary);
        errno = -r;
        return err_errno(err, "file.replace", "write '%s'", path);
}

int file_replace_unsynced(const char *path, const void *data, size_t n, mode_t mode, struct err *err)
{
        return write_beside(path, data, n, mode, false, err);
}

int file_replace(const char *path, const void *data, size_t n, mode_t mode, struct err *err)
{
        int r = write_beside(path, data, n, mode, true, err);

        if (r < 0)
                return r;
        r = sync_folder_of(path);
        if (r < 0) {
                errno = -r;
                return err_errno(err, "file.replace", "sync the folder of '%s'", path);
        }
        return 0;
}

/* Whether name is base, a dot, and what mkostemp(3) puts for the Xs. */
static bool is_unfinished(const char *name, const char *base)
{
        size_t n = strlen(base);

        return strncmp(name, base, n) == 0 && name[n] == '.' && strlen(name + n + 1) == UNFINISHED_SUFFIX;
}

int file_remove_unfinished(const char *path, struct err *err)
{
        const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
        scoped_free char *parent = slash ? strndup(path, (size_t) (slash - path) + 1) : xstrdup(".");
        const struct dirent *entry;
        DIR *folder = opendir(parent);
        int r = 0;

        if (!folder)
                return errno == ENOENT ? 0 : err_errno(err, "file.remove", "open folder '%s'", parent);
        while ((entry = readdir(folder)))
                if (is_unfinished(entry->d_name, base) && unlinkat(dirfd(folder), entry->d_name, 0) < 0 &&
                    errno != ENOENT)
                        r = err_errno(err, "file.remove", "remove '%s%s'", parent, entry->d_name);
        (void) closedir(folder);
        return r;
}

static int make_folder(const char *path, mode_t mode, struct err *err)
{
        struct stat st;

        if (mkdir(path, mode) == 0)
                return 0;
        if (errno == EEXIST && stat(path, &st) == 0) {
                if (S_ISDIR(st.st_mode))
                        return 0;
                errno = ENOTDIR;
        }
        return err_errno(err, "file.make_folders", "create folder '%s'", path);
}

int file_make_folders(const char *path, mode_t mode, struct err *err)
{
        scoped_free char *partial = xstrdup(path);

        for (char *p = partial; *p != '\0'; p++) {
                int r;

                if (*p != '/' || p == partial)
                        continue;
                *p = '\0';
                r = make_folder(partial, mode, err);
                if (r < 0)
                        return r;
                *p = '/';
        }
        return make_folder(partial, mode, err);
}

static DIR *open_folder_at(int dir_fd, const char *name)
{
        scoped_close int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);

        if (folder)
                (void) take_fd(&fd);
        return folder;
}

static int remove_below(int dir_fd, const char *name, dev_t device, unsigned depth);

static int remove_entries(DIR *folder, dev_t device, unsigned depth)
{
        const struct dirent *entry;

        while ((entry = readdir(folder))) {
                int r;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                r = remove_below(dirfd(folder), entry->d_name, device, depth + 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Recursion is bounded by REMOVE_DEPTH_MAX. */
static int remove_below(int dir_fd, const char *name, dev_t device, unsigned depth)
{
        struct stat st;
        DIR *folder;
        int r;

        if (depth > REMOVE_DEPTH_MAX)
                return -ELOOP;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (st.st_dev != device)
                return -EXDEV;
        if (!S_ISDIR(st.st_mode))
                return unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;

        folder = open_folder_at(dir_fd, name);
        if (!folder)
                return errno == ENOENT ? 0 : -errno;
        r = remove_entries(folder, device, depth);
        (void) closedir(folder);
        if (r < 0)
                return r;
        return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int file_remove_tree_at(int dir_fd, const char *name, struct err *err)
{
        struct stat st;
        int r;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_errno(err, "file.remove", "look at '%s'", name);
        r = remove_below(dir_fd, name, st.st_dev, 0);
        if (r < 0) {
                errno = -r;
                return err_errno(err, "file.remove", "remove '%s'", name);
        }
        return 0;
}

int file_remove_tree(const char *path, struct err *err)
{
        return file_remove_tree_at(AT_FDCWD, path, err);
}

bool file_is_missing(const char *path)
{
        struct stat st;

        return lstat(path, &st) < 0 && errno == ENOENT;
}

int file_remove(const char *path, struct err *err)
{
        if (unlink(path) < 0 && errno != ENOENT)
                return err_errno(err, "file.remove", "remove '%s'", path);
        return 0;
}
