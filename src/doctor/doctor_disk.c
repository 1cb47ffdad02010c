/* Room for machines: their disks are sparse, and fail in the middle of a guest's write when the host is full. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "doctor/doctor_checks.h"
#include "storage/storage_disk.h"

/* An image of Debian with its work seed takes about 1 GiB, a machine that builds something a few more. */
#define FREE_LOW  (UINT64_C(8) * GIB)
#define FREE_NONE (UINT64_C(1) * GIB)

/* The file system a folder is on or will be on. */
static int free_space(const char *folder, uint64_t *ret_free)
{
        scoped_free char *path = xstrdup(folder);
        struct statvfs fs;

        while (statvfs(path, &fs) < 0) {
                char *slash = strrchr(path, '/');

                if (errno != ENOENT || !slash || slash == path)
                        return -errno;
                *slash = '\0';
        }
        *ret_free = (uint64_t) fs.f_bavail * fs.f_frsize;
        return 0;
}

/* How a disk is made of an image: it decides between milliseconds and seconds for each machine. */
static void tell_driver(struct doctor_result *result, const char *folder)
{
        enum disk_driver driver = DISK_COPY;
        struct err err = { 0 };

        if (access(folder, F_OK) < 0)
                return; /* made with the first image */
        if (disk_driver_find(folder, &driver, &err) < 0)
                doctor_fail(result, "%s", err.message);
        else if (driver == DISK_REFLINK)
                doctor_pass(result, "disks are cloned by reference (%s)", disk_driver_name(driver));
        else
                doctor_pass(
                        result,
                        "disks are copied sparsely (%s); on btrfs or XFS they would be cloned by reference",
                        disk_driver_name(driver));
}

DOCTOR_CHECK(doctor_disk)
{
        const char *folder = context->layout->state;
        char size[SIZE_TEXT_MAX];
        uint64_t left = 0;
        int r = free_space(folder, &left);

        if (r < 0) {
                doctor_fail(result, "%s: %s", folder, strerror(-r));
                return;
        }
        size_human(left, size);
        if (left < FREE_NONE)
                doctor_fail(result, "%s free for %s: too little for an image and a machine", size, folder);
        else if (left < FREE_LOW)
                doctor_warn(result, "%s free for %s: 'banger vm prune' and 'banger image delete' make room",
                            size, folder);
        else
                doctor_pass(result, "%s free for %s", size, folder);
        tell_driver(result, folder);
}
