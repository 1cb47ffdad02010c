#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/image_files.h"
#include "image/image_packages.h"
#include "image/image_publish.h"
#include "image/image_staging.h"
#include "storage/storage_disk.h"

#define STAGING_PREFIX ".staging-"

/* Linux fs/ext4/ext4.h, struct ext4_super_block: it begins at 1024; s_magic at 56, little endian. */
#define MAGIC_OFFSET (1024 + 56)

int image_check_ext4(const char *path, uint64_t *ret_size, struct err *err)
{
        scoped_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        unsigned char magic[2] = { 0 };
        struct stat status;

        if (fd < 0 || fstat(fd, &status) < 0)
                return err_errno(err, "image.register", "open '%s'", path);
        if (!S_ISREG(status.st_mode))
                return err_set(err, EINVAL, "image.register", "'%s' is not a regular file", path);
        if (pread(fd, magic, sizeof(magic), MAGIC_OFFSET) != (ssize_t) sizeof(magic) || magic[0] != 0x53 ||
            magic[1] != 0xef)
                return err_set(err, EINVAL, "image.register",
                               "'%s' is not an ext4 file system; a partitioned disk has to be taken apart "
                               "first",
                               path);
        *ret_size = (uint64_t) status.st_size;
        return 0;
}

/* A folder in the staging folder that will be the image's. */
static int begin(const char *images_folder, struct image_staging *staging, char **ret_folder, struct err *err)
{
        int r = image_staging_begin(images_folder, STAGING_PREFIX, 0700, staging, err);

        if (r < 0)
                return r;
        *ret_folder = xasprintf("%s/image", staging->path);
        return mkdir(*ret_folder, 0700) < 0 ? err_errno(err, "image.make", "create '%s'", *ret_folder) : 0;
}

static int copy_into(const char *source, const char *folder, const char *name, struct err *err)
{
        scoped_free char *target = xasprintf("%s/%s", folder, name);
        enum disk_driver driver;

        return disk_clone(source, target, &driver, err);
}

/* What an image need not have is copied when there is a source. */
static int copy_optional(const char *source, const char *folder, const char *name, struct err *err)
{
        scoped_free char *target = image_stage_optional(folder, source, name);
        enum disk_driver driver;

        return target[0] == '\0' ? 0 : disk_clone(source, target, &driver, err);
}

int image_register(const struct image_register *registration, struct image *ret_image, struct err *err)
{
        __attribute__((__cleanup__(image_staging_end_at_scope_end))) struct image_staging staging =
                IMAGE_STAGING_NONE;
        scoped_free char *source = xasprintf("file:%s", registration->rootfs);
        scoped_free char *folder = NULL;
        struct image_facts facts = { .name = registration->name,
                                     .source = source,
                                     .kernel = registration->kernel,
                                     .rootfs_path = registration->rootfs };
        uint64_t seed_size;
        int r;

        if (!image_name_is_valid(registration->name))
                return err_set(err, EINVAL, "image.register", "'%.100s' is not an image name",
                               registration->name);
        r = image_check_ext4(registration->rootfs, &facts.rootfs_size, err);
        if (r == 0 && !text_is_blank(registration->work_seed))
                r = image_check_ext4(registration->work_seed, &seed_size, err);
        if (r == 0)
                r = begin(registration->images_folder, &staging, &folder, err);
        if (r == 0)
                r = copy_optional(registration->work_seed, folder, IMAGE_WORK_SEED, err);
        if (r == 0)
                r = image_write_manifest(folder, &facts, err);
        if (r == 0)
                r = image_publish(folder, registration->images_folder, registration->name, false, err);
        return r < 0 ? r : image_read(registration->images_folder, registration->name, ret_image, err);
}

/* The new folder of a registered image: what the old one has, and a root file system of its own. */
static int promote(const struct image *image, const char *images_folder, const char *folder,
                   const struct image_progress *progress, struct err *err)
{
        struct image_facts facts = {
                .name = image->name, .source = image->source, .kernel = image->kernel, .distro = image->distro
        };
        int r = image_check_ext4(image->rootfs_path, &facts.rootfs_size, err);

        if (r == 0)
                r = image_report(progress, "copy", 0, 0, err);
        if (r == 0)
                r = copy_into(image->rootfs_path, folder, IMAGE_ROOTFS, err);
        if (r == 0)
                r = copy_optional(image->work_seed_path, folder, IMAGE_WORK_SEED, err);
        if (r == 0)
                r = image_write_manifest(folder, &facts, err);
        if (r == 0)
                r = image_report(progress, "publish", 0, 0, err);
        return r < 0 ? r : image_publish(folder, images_folder, image->name, true, err);
}

int image_promote(const char *images_folder, const char *name, const struct image_progress *progress,
                  struct image *ret_image, struct err *err)
{
        __attribute__((__cleanup__(image_staging_end_at_scope_end))) struct image_staging staging =
                IMAGE_STAGING_NONE;
        scoped_free char *folder = NULL;
        struct image image = { 0 };
        int r = image_read(images_folder, name, &image, err);

        if (r == 0 && image.is_managed)
                r = err_set(err, EALREADY, "image.promote", "image '%s' already is banger's own", name);
        if (r == 0)
                r = begin(images_folder, &staging, &folder, err);
        if (r == 0)
                r = promote(&image, images_folder, folder, progress, err);
        image_done(&image);
        return r < 0 ? r : image_read(images_folder, name, ret_image, err);
}
