#include "image/image_staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/spawn.h"
#include "base/text.h"

#define REMOVE_TIMEOUT_MS 120000

/*
 * What was unpacked in a user namespace belongs to the subordinate ids of the user, who can remove it only from within such
 * a namespace. mmdebstrap(1) has a helper for that. Within it the user has no id, so the folder itself can only be emptied:
 * to remove it is for whoever owns the folder around it.
 */
static void empty_as_root_of_a_namespace(const char *path)
{
        const char *const helper[] = {
                "mmdebstrap", "--unshare-helper", "rm", "-rf", "--one-file-system", "--", path, NULL
        };
        scoped_free char *said = NULL;
        struct err ignored = { 0 };

        (void) spawn_run(helper, REMOVE_TIMEOUT_MS, 65536, NULL, &said, &ignored);
}

static void empty_those_of_others(const char *path)
{
        DIR *folder = opendir(path);
        const struct dirent *entry;

        while (folder && (entry = readdir(folder))) {
                scoped_free char *below = xasprintf("%s/%s", path, entry->d_name);
                struct stat status;

                if (fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISDIR(status.st_mode) && status.st_uid != geteuid() && strcmp(entry->d_name, "..") != 0)
                        empty_as_root_of_a_namespace(below);
        }
        if (folder)
                (void) closedir(folder);
}

static void remove_all(const char *path)
{
        struct err ignored = { 0 };

        if (file_remove_tree(path, &ignored) == 0)
                return;
        empty_those_of_others(path);
        ignored = (struct err){ 0 };
        (void) file_remove_tree(path, &ignored);
}

/* Leftovers cost space, not correctness: what cannot be removed is tried again next time. The number of those in use. */
static unsigned remove_stale(const char *parent, const char *prefix)
{
        DIR *folder = opendir(parent);
        const struct dirent *entry;
        unsigned n_held = 0;

        while (folder && (entry = readdir(folder))) {
                scoped_close int fd = FD_NONE;
                scoped_free char *path = NULL;
                struct stat status;

                if (!text_starts_with(entry->d_name, prefix))
                        continue;
                fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 || fstat(fd, &status) < 0 || status.st_uid != geteuid())
                        continue;
                if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                        n_held++;
                        continue;
                }
                path = xasprintf("%s/%s", parent, entry->d_name);
                remove_all(path);
        }
        if (folder)
                (void) closedir(folder);
        return n_held;
}

unsigned image_staging_sweep(const char *parent, const char *prefix)
{
        scoped_close int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd >= 0 && flock(fd, LOCK_EX) == 0 ? remove_stale(parent, prefix) : 0;
}

int image_staging_begin(const char *parent, const char *prefix, unsigned mode,
                        struct image_staging *ret_staging, struct err *err)
{
        scoped_free char *path = xasprintf("%s/%sXXXXXX", parent, prefix);
        scoped_close int fd = FD_NONE, parent_fd = FD_NONE;
        int r = file_make_folders(parent, 0700, err);

        *ret_staging = IMAGE_STAGING_NONE;
        if (r < 0)
                return r;
        /* Held while the new folder is not locked yet, so that nobody takes it for a leftover. */
        parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent_fd < 0 || flock(parent_fd, LOCK_EX) < 0)
                return err_errno(err, "image.stage", "lock '%s'", parent);
        (void) remove_stale(parent, prefix);
        if (!mkdtemp(path))
                return err_errno(err, "image.stage", "create a folder in '%s'", parent);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fchmod(fd, mode) < 0) {
                (void) err_errno(err, "image.stage", "lock '%s'", path);
                (void) rmdir(path);
                return -err->code;
        }
        *ret_staging = (struct image_staging){ .path = take_ptr(path), .fd = take_fd(&fd) };
        return 0;
}

void image_staging_end(struct image_staging *staging)
{
        if (staging->path)
                remove_all(staging->path);
        if (staging->fd >= 0)
                (void) close(staging->fd);
        free(staging->path);
        *staging = IMAGE_STAGING_NONE;
}
