#include "storage/storage_disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_image.h"

#define PROBE_BYTES 4096U
#define CHUNK_MAX   (UINT64_C(64) << 20) /* of one copy_file_range(2): a signal is heard in between */
#define SECTOR_SIZE 512U                 /* of st_blocks, stat(2) */

static const char *const driver_names[] = { [DISK_REFLINK] = "reflink", [DISK_COPY] = "copy" };
static_assert(sizeof(driver_names) / sizeof(driver_names[0]) == DISK_N_DRIVERS, "a name for every driver");

const char *disk_driver_name(enum disk_driver driver)
{
        assert(driver < DISK_N_DRIVERS);
        return driver_names[driver];
}

static char *folder_of(const char *path)
{
        const char *slash = strrchr(path, '/');

        if (!slash)
                return xstrdup(".");
        return slash == path ? xstrdup("/") : xasprintf("%.*s", (int) (slash - path), path);
}

/* A file without a name in folder: killed at any point, nothing of it is left. */
static int open_nameless(const char *folder, struct err *err)
{
        int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        return fd < 0 ? err_errno(err, "disk.open", "create a file in '%s'", folder) : fd;
}

/* Gives the nameless file its name, which must be free. */
static int publish(int fd, const char *path, struct err *err)
{
        scoped_free char *from =
                xasprintf("/proc/self/fd/%d", fd); /* open(2), O_TMPFILE: needs no capability */

        if (linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
                return err_errno(err, "disk.publish", "create '%s'", path);
        return 0;
}

int disk_driver_find(const char *folder, enum disk_driver *ret_driver, struct err *err)
{
        static const char probe[PROBE_BYTES] = "banger";
        scoped_close int source = open_nameless(folder, err), target = FD_NONE;

        if (source < 0)
                return source;
        target = open_nameless(folder, err);
        if (target < 0)
                return target;
        if (pwrite(source, probe, sizeof(probe), 0) != (ssize_t) sizeof(probe))
                return err_errno(err, "disk.driver_find", "write a file of %u bytes in '%s'", PROBE_BYTES,
                                 folder);
        *ret_driver = ioctl(target, FICLONE, source) == 0 ? DISK_REFLINK : DISK_COPY;
        return 0;
}

/* Before anything is written: a copy that cannot end well does not begin. */
static int check_space(int target, const struct stat *source, const char *disk_path, struct err *err)
{
        uint64_t need = (uint64_t) source->st_blocks * SECTOR_SIZE, have;
        char need_text[SIZE_TEXT_MAX], missing_text[SIZE_TEXT_MAX];
        struct statvfs space;

        if (fstatvfs(target, &space) < 0)
                return err_errno(err, "disk.clone", "ask for the free space at '%s'", disk_path);
        have = (uint64_t) space.f_bavail * space.f_frsize;
        if (have >= need)
                return 0;
        size_human(need, need_text);
        size_human(need - have, missing_text);
        return err_set(
                err, ENOSPC, "disk.clone",
                "'%s' needs %s, %s more than is free there: delete VMs or images no longer used, or free "
                "space otherwise",
                disk_path, need_text, missing_text);
}

static int copy_run(int source, int target, off_t start, off_t end)
{
        while (start < end) {
                uint64_t left = (uint64_t) (end - start);
                off_t to = start;
                ssize_t n =
                        copy_file_range(source, &start, target, &to, left < CHUNK_MAX ? left : CHUNK_MAX, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO; /* shorter than a moment ago: images do not shrink */
        }
        return 0;
}

/* read and write, for kernels and file systems that cannot copy between the two (copy_file_range(2), EXDEV) */
static int copy_run_by_hand(int source, int target, off_t start, off_t end)
{
        static char buffer[256U << 10];

        while (start < end) {
                size_t want =
                        (uint64_t) (end - start) < sizeof(buffer) ? (size_t) (end - start) : sizeof(buffer);
                ssize_t got = pread(source, buffer, want, start);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        return got < 0 ? -errno : -EIO;
                for (ssize_t done = 0; done < got;) {
                        ssize_t put = pwrite(target, buffer + done, (size_t) (got - done), start + done);

                        if (put < 0 && errno != EINTR)
                                return -errno;
                        done += put > 0 ? put : 0;
                }
                start += got;
        }
        return 0;
}

static int copy_sparse(int source, int target, off_t size)
{
        bool by_hand = false;
        off_t data, hole = 0;

        if (ftruncate(target, size) < 0)
                return -errno;
        while ((data = lseek(source, hole, SEEK_DATA)) >= 0) {
                int r;

                hole = lseek(source, data, SEEK_HOLE);
                if (hole < 0)
                        return -errno;
                r = by_hand ? -EXDEV : copy_run(source, target, data, hole);
                if (r == -EXDEV || r == -EOPNOTSUPP || r == -EINVAL || r == -ENOSYS) {
                        by_hand = true;
                        r = copy_run_by_hand(source, target, data, hole);
                }
                if (r < 0)
                        return r;
        }
        return errno == ENXIO ? 0 : -errno; /* lseek(2): no data beyond */
}

static int fill(int source, int target, const char *image_path, const char *disk_path,
                enum disk_driver *ret_driver, struct err *err)
{
        struct stat status;
        int r;

        if (ioctl(target, FICLONE, source) == 0) {
                *ret_driver = DISK_REFLINK;
                return 0;
        }
        *ret_driver = DISK_COPY;
        if (fstat(source, &status) < 0)
                return err_errno(err, "disk.clone", "look at '%s'", image_path);
        r = check_space(target, &status, disk_path, err);
        if (r < 0)
                return r;
        r = copy_sparse(source, target, status.st_size);
        if (r < 0) {
                errno = -r;
                return err_errno(err, "disk.clone", "copy '%s' to '%s'", image_path, disk_path);
        }
        return 0;
}

int disk_reserve(const char *image_path, const char *disk_path, struct err *err)
{
        scoped_close int source = open(image_path, O_RDONLY | O_CLOEXEC), target = FD_NONE;
        scoped_free char *folder = folder_of(disk_path);
        enum disk_driver driver;
        struct stat status;
        int r;

        if (source < 0)
                return err_errno(err, "disk.reserve", "open '%s'", image_path);
        r = disk_driver_find(folder, &driver, err);
        if (r < 0)
                return r;
        target = open(disk_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (target < 0 || fstat(source, &status) < 0)
                return err_errno(err, "disk.reserve", "create '%s'", disk_path);
        r = driver == DISK_COPY ? check_space(target, &status, disk_path, err) : 0;
        if (r == 0 && ftruncate(target, status.st_size) < 0)
                r = err_errno(err, "disk.reserve", "create '%s'", disk_path);
        return r;
}

int disk_fill(const char *image_path, const char *disk_path, enum disk_driver *ret_driver, struct err *err)
{
        scoped_close int source = open(image_path, O_RDONLY | O_CLOEXEC);
        scoped_close int target = open(disk_path, O_WRONLY | O_CLOEXEC);
        enum disk_driver driver;
        int r;

        if (source < 0 || target < 0)
                return err_errno(err, "disk.fill", "open '%s'", source < 0 ? image_path : disk_path);
        r = fill(source, target, image_path, disk_path, &driver, err);
        if (r == 0 && ret_driver)
                *ret_driver = driver;
        return r;
}

int disk_clone(const char *image_path, const char *disk_path, enum disk_driver *ret_driver, struct err *err)
{
        scoped_close int source = open(image_path, O_RDONLY | O_CLOEXEC), target = FD_NONE;
        scoped_free char *folder = folder_of(disk_path);
        enum disk_driver driver;
        int r;

        if (source < 0)
                return err_errno(err, "disk.clone", "open '%s'", image_path);
        if (faccessat(AT_FDCWD, disk_path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return err_set(err, EEXIST, "disk.clone", "'%s' exists already", disk_path);
        target = open_nameless(folder, err);
        if (target < 0)
                return target;
        r = fill(source, target, image_path, disk_path, &driver, err);
        if (r == 0)
                r = publish(target, disk_path, err);
        if (r == 0 && ret_driver)
                *ret_driver = driver;
        return r;
}

/*
 * <seed>.<size>. Parallel callers each make their own under a name of their own; whoever is first publishes it, and
 * the others use that one. A name left behind by a killed process is removed by the next that makes this seed.
 */
static int make_grown_seed(const char *seed_path, uint64_t size, const char *grown_path, struct err *err)
{
        scoped_free char *partial = xasprintf("%s.%d-%llu.tmp", grown_path, (int) getpid(),
                                              (unsigned long long) clock_monotonic_ns());
        const struct ext4_options options = { .size = size, .label = "work" };
        int r = ext4_copy_tree(seed_path, partial, &options, err);

        if (r < 0)
                return err_wrap(err, "grow '%s'", seed_path);
        r = link(partial, grown_path) < 0 && errno != EEXIST
                    ? err_errno(err, "disk.grow_seed", "create '%s'", grown_path)
                    : 0;
        (void) unlink(partial);
        return r;
}

/* Newer than the seed, which may have been replaced since. */
static bool is_current(const char *grown_path, const struct stat *seed)
{
        struct stat grown;

        if (stat(grown_path, &grown) < 0)
                return false;
        return grown.st_mtim.tv_sec > seed->st_mtim.tv_sec ||
               (grown.st_mtim.tv_sec == seed->st_mtim.tv_sec &&
                grown.st_mtim.tv_nsec >= seed->st_mtim.tv_nsec);
}

int disk_grow_seed(const char *seed_path, uint64_t size, char **ret_path, struct err *err)
{
        scoped_free char *grown = NULL;
        struct stat seed;
        int r;

        if (stat(seed_path, &seed) < 0)
                return err_errno(err, "disk.grow_seed", "look at '%s'", seed_path);
        grown = xasprintf("%s.%llu", seed_path, (unsigned long long) size);
        if (!is_current(grown, &seed)) {
                (void) unlink(grown);
                r = make_grown_seed(seed_path, size, grown, err);
                if (r < 0)
                        return r;
        }
        *ret_path = take_ptr(grown);
        return 0;
}

int disk_make_empty(uint64_t size, const char *disk_path, struct err *err)
{
        const struct ext4_options options = { .size = size, .label = "work" };

        return ext4_make_empty(disk_path, &options, err);
}
