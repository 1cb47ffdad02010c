#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "image/image_build.h"
#include "image/image_bundle.h"
#include "image/image_files.h"
#include "image/image_oci.h"
#include "image/image_packages.h"
#include "image/image_publish.h"
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
        return pull->bundle ? 0 : find_recipe(pull->recipe, ret_index, err);
}

/* Both file systems and the manifest, in folder. */
static int make_files(const char *folder, const struct image_pull *pull, unsigned index, struct err *err)
{
        const struct image_recipe *recipe = &image_recipes[index];
        const struct ext4_options seed_options = { .size = SEED_SIZE, .label = "work", .only_below = "root" };
        scoped_free char *rootfs = xasprintf("%s/" IMAGE_ROOTFS, folder);
        scoped_free char *seed = xasprintf("%s/" IMAGE_WORK_SEED, folder);
        scoped_free char *source = xasprintf("recipe:%s", pull->recipe);
        const struct image_facts facts = { .name = pull->name,
                                           .source = source,
                                           .kernel = image_catalog_entries[index].kernel,
                                           .distro = image_catalog_entries[index].distro,
                                           .rootfs_size = pull->size ? pull->size : ROOTFS_SIZE };
        int r = image_build(recipe, rootfs, facts.rootfs_size, pull->cache_folder, &pull->progress, err);

        if (r == 0)
                r = image_report(&pull->progress, "seed", 0, 0, err);
        if (r == 0)
                r = ext4_copy_tree(rootfs, seed, &seed_options, err);
        if (r == 0)
                r = image_packages_write(rootfs, recipe->packages, err);
        if (r == 0)
                r = image_write_manifest(folder, &facts, err);
        return r;
}

static int take_bundle(const char *folder, const struct image_pull *pull, struct err *err)
{
        const struct image_bundle *bundle = pull->bundle;
        scoped_free char *source = xasprintf("bundle:%s", bundle->url);
        struct image_facts facts = {
                .name = pull->name, .source = source, .kernel = bundle->kernel, .distro = bundle->distro
        };
        int r = image_bundle_unpack(bundle, folder, &pull->progress, &facts.rootfs_size, err);

        return r < 0 ? r : image_write_manifest(folder, &facts, err);
}

int image_pull(const struct image_pull *pull, struct image *ret_image, struct err *err)
{
        __attribute__((__cleanup__(image_staging_end_at_scope_end))) struct image_staging staging =
                IMAGE_STAGING_NONE;
        scoped_free char *folder = NULL;
        unsigned index = 0;
        int r;

        if (pull->reference)
                return image_pull_oci(pull, ret_image, err);
        r = check(pull, &index, err);

        if (r == 0)
                r = image_staging_begin(pull->images_folder, STAGING_PREFIX, 0700, &staging, err);
        if (r < 0)
                return r;
        folder = xasprintf("%s/image", staging.path);
        if (mkdir(folder, 0700) < 0)
                return err_errno(err, "image.pull", "create '%s'", folder);
        r = pull->bundle ? take_bundle(folder, pull, err) : make_files(folder, pull, index, err);
        if (r == 0)
                r = image_report(&pull->progress, "publish", 0, 0, err);
        if (r == 0)
                r = image_publish(folder, pull->images_folder, pull->name, pull->replace, err);
        if (r < 0)
                return err_wrap(err, "image '%s'", pull->name);
        return image_read(pull->images_folder, pull->name, ret_image, err);
}

unsigned image_sweep(const char *images_folder, const char *cache_folder)
{
        return image_staging_sweep(images_folder, STAGING_PREFIX) + image_build_sweep(cache_folder);
}
