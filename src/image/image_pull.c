#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "image/image_build.h"
#include "image/image_files.h"
#include "image/image_packages.h"
#include "image/image_recipe.h"
#include "image/image_staging.h"

#define ROOTFS_SIZE    (8 * GIB)
#define SEED_SIZE      (64 * MIB) /* grown to the work disk's size for each VM */
#define STAGING_PREFIX ".staging-"

static int find_recipe(const char *name, unsigned *ret_index, struct err *err)
{
        scoped_text struct text known = { 0 };

        for (unsigned i = 0; i < image_n_recipes; i++) {
                if (strcmp(image_catalog_entries[i].name, name) == 0) {
                        *ret_index = i;
                        return 0;
                }
                text_appendf(&known, "%s%s", i > 0 ? ", " : "", image_catalog_entries[i].name);
        }
        return err_set(err, ENOENT, "image.pull", "no image '%.100s' in the catalog, which has: %s", name,
                       known.s);
}

static bool exists(const struct image_pull *pull)
{
        scoped_free char *manifest = xasprintf("%s/%s/" IMAGE_MANIFEST, pull->images_folder, pull->name);

        return access(manifest, F_OK) == 0;
}

static int check(const struct image_pull *pull, unsigned *ret_index, struct err *err)
{
        if (!image_name_is_valid(pull->name))
                return err_set(err, EINVAL, "image.pull", "'%.100s' is not an image name", pull->name);
        if (!pull->replace && exists(pull))
                return err_set(err, EEXIST, "image.pull",
                               "image '%s' exists: delete it, or pull under another name", pull->name);
        return find_recipe(pull->recipe, ret_index, err);
}

static int report(const struct image_pull *pull, const char *stage, struct err *err)
{
        if (pull->progress.report && pull->progress.report(pull->progress.userdata, stage, 0, 0) < 0)
                return err_set(err, ECANCELED, "image.pull", "cancelled");
        return 0;
}

static int write_manifest(const char *folder, const struct image_pull *pull, unsigned index, uint64_t size,
                          struct err *err)
{
        scoped_free char *path = xasprintf("%s/" IMAGE_MANIFEST, folder);
        scoped_free char *source = xasprintf("recipe:%s", pull->recipe);
        char created_at[CLOCK_TEXT_MAX];
        json_t *manifest;
        int r;

        clock_format(clock_real_ns(), created_at);
        manifest = json_pack("{s:i, s:s, s:s, s:s, s:s, s:I}", "version", 1, "name", pull->name, "source",
                             source, "kernel", image_catalog_entries[index].kernel, "created_at", created_at,
                             "rootfs_size", (json_int_t) size);
        if (!manifest)
                return err_set(err, EINVAL, "image.pull", "a name of image '%s' is not UTF-8", pull->name);
        r = json_write_file(path, manifest, 0644, err);
        json_decref(manifest);
        return r;
}

static int sync_path(const char *path, int flags)
{
        scoped_close int fd = open(path, flags | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Both file systems and the manifest, in folder. */
static int make_files(const char *folder, const struct image_pull *pull, unsigned index, struct err *err)
{
        const struct image_recipe *recipe = &image_recipes[index];
        const struct ext4_options seed_options = { .size = SEED_SIZE, .label = "work", .only_below = "root" };
        scoped_free char *rootfs = xasprintf("%s/" IMAGE_ROOTFS, folder);
        scoped_free char *seed = xasprintf("%s/" IMAGE_WORK_SEED, folder);
        uint64_t size = pull->size ? pull->size : ROOTFS_SIZE;
        int r = image_build(recipe, rootfs, size, pull->cache_folder, &pull->progress, err);

        if (r == 0)
                r = report(pull, "seed", err);
        if (r == 0)
                r = ext4_copy_tree(rootfs, seed, &seed_options, err);
        if (r == 0)
                r = image_packages_write(rootfs, recipe->packages, err);
        if (r == 0)
                r = write_manifest(folder, pull, index, size, err);
        return r;
}

/* After this a power cut finds the whole image or none. */
static int make_durable(const char *folder, struct err *err)
{
        static const char *const names[] = { IMAGE_ROOTFS, IMAGE_WORK_SEED };
        int r = 0;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && r == 0; i++) {
                scoped_free char *path = xasprintf("%s/%s", folder, names[i]);

                r = sync_path(path, O_RDONLY);
        }
        if (r == 0)
                r = sync_path(folder, O_RDONLY | O_DIRECTORY);
        if (r == 0)
                return 0;
        errno = -r;
        return err_errno(err, "image.pull", "sync '%s'", folder);
}

/* The staged folder takes the name. What had it before, if it may, lands in the staging folder and goes with it. */
static int publish(const char *folder, const struct image_pull *pull, struct err *err)
{
        scoped_free char *target = xasprintf("%s/%s", pull->images_folder, pull->name);
        int r = renameat2(AT_FDCWD, folder, AT_FDCWD, target, RENAME_NOREPLACE) < 0 ? -errno : 0;

        /* a folder without a manifest is what a cut-off deletion left */
        if (r == -EEXIST && (pull->replace || !exists(pull)))
                r = renameat2(AT_FDCWD, folder, AT_FDCWD, target, RENAME_EXCHANGE) < 0 ? -errno : 0;
        if (r == -EEXIST)
                return err_set(err, EEXIST, "image.pull",
                               "image '%s' exists: delete it, or pull under another name", pull->name);
        if (r == 0)
                r = sync_path(pull->images_folder, O_RDONLY | O_DIRECTORY);
        if (r == 0)
                return 0;
        errno = -r;
        return err_errno(err, "image.pull", "move the finished image to '%s'", target);
}

int image_pull(const struct image_pull *pull, struct image *ret_image, struct err *err)
{
        __attribute__((__cleanup__(image_staging_end_at_scope_end))) struct image_staging staging =
                IMAGE_STAGING_NONE;
        scoped_free char *folder = NULL;
        unsigned index;
        int r = check(pull, &index, err);

        if (r == 0)
                r = image_staging_begin(pull->images_folder, STAGING_PREFIX, 0700, &staging, err);
        if (r < 0)
                return r;
        folder = xasprintf("%s/image", staging.path);
        if (mkdir(folder, 0700) < 0)
                return err_errno(err, "image.pull", "create '%s'", folder);
        r = make_files(folder, pull, index, err);
        if (r == 0)
                r = report(pull, "publish", err);
        if (r == 0)
                r = make_durable(folder, err);
        if (r == 0)
                r = publish(folder, pull, err);
        if (r < 0)
                return err_wrap(err, "image '%s'", pull->name);
        return image_read(pull->images_folder, pull->name, ret_image, err);
}
