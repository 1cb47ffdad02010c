#include "kernel/kernel_staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"

#define PREFIX ".staging-"

/* Leftovers cost disk, not correctness: what cannot be removed now is tried again next time. The number of those in use. */
static unsigned remove_stale(const char *parent)
{
        DIR *folder = opendir(parent);
        const struct dirent *entry;
        unsigned n_held = 0;

        while (folder && (entry = readdir(folder))) {
                scoped_close int fd = FD_NONE;
                struct err ignored = { 0 };

                if (!text_starts_with(entry->d_name, PREFIX))
                        continue;
                fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0)
                        continue;
                if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                        (void) file_remove_tree_at(dirfd(folder), entry->d_name, &ignored);
                else
                        n_held++;
        }
        if (folder)
                (void) closedir(folder);
        return n_held;
}

unsigned kernel_staging_sweep(const char *parent)
{
        scoped_close int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd >= 0 && flock(fd, LOCK_EX) == 0 ? remove_stale(parent) : 0;
}

static int make_locked(const char *parent, struct kernel_staging *staging, struct err *err)
{
        scoped_free char *path = xasprintf("%s/" PREFIX "XXXXXX", parent);
        scoped_close int fd = FD_NONE;

        if (!mkdtemp(path))
                return err_errno(err, "kernel.stage", "create a folder in '%s'", parent);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
                (void) err_errno(err, "kernel.stage", "lock '%s'", path);
                (void) rmdir(path);
                return -err->code;
        }
        staging->parent = xstrdup(parent);
        staging->path = take_ptr(path);
        staging->fd = take_fd(&fd);
        return 0;
}

int kernel_staging_begin(const char *parent, struct kernel_staging *ret_staging, struct err *err)
{
        scoped_close int parent_fd = FD_NONE;
        int r = file_make_folders(parent, 0700, err);

        *ret_staging = KERNEL_STAGING_NONE;
        if (r < 0)
                return r;
        /* Held while a new folder is not locked yet, so that nobody takes it for a leftover. */
        parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent_fd < 0 || flock(parent_fd, LOCK_EX) < 0)
                return err_errno(err, "kernel.stage", "lock '%s'", parent);
        (void) remove_stale(parent);
        return make_locked(parent, ret_staging, err);
}

void kernel_staging_end(struct kernel_staging *staging)
{
        struct err ignored = { 0 };

        if (staging->path)
                (void) file_remove_tree(staging->path, &ignored);
        if (staging->fd >= 0)
                (void) close(staging->fd);
        free(staging->path);
        free(staging->parent);
        *staging = KERNEL_STAGING_NONE;
}

static int sync_folder(const char *path)
{
        scoped_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int kernel_staging_publish(const struct kernel_staging *staging, const char *from, const char *name,
                           int may_replace, struct err *err)
{
        scoped_free char *source = xasprintf("%s/%s", staging->path, from);
        scoped_free char *target = xasprintf("%s/%s", staging->parent, name);
        int r = sync_folder(source);

        if (r == 0 && renameat2(AT_FDCWD, source, AT_FDCWD, target, RENAME_NOREPLACE) < 0)
                r = -errno;
        if (r == -EEXIST && may_replace)
                r = renameat2(AT_FDCWD, source, AT_FDCWD, target, RENAME_EXCHANGE) < 0 ? -errno : 0;
        if (r == -EEXIST)
                return err_set(err, EEXIST, "kernel.import", "kernel '%s' is already pulled", name);
        if (r == 0)
                r = sync_folder(staging->parent);
        if (r < 0) {
                errno = -r;
                return err_errno(err, "kernel.import", "move the finished kernel to '%s'", target);
        }
        return 0;
}
