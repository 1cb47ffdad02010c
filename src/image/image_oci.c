#include "image/image_oci.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "image/image_files.h"
#include "image/image_publish.h"
#include "image/image_recipe.h"
#include "image/image_staging.h"
#include "image/oci/oci_pull.h"

#define OP             "image.pull"
#define SEED_SIZE      (64 * MIB) /* grown to the work disk's size for each VM ... */
#define SEED_SIZE_MAX  (4 * GIB)  /* ... and for a /root that does not fit: sparse as the other */
#define STAGING_PREFIX ".staging-"

struct oci_job {
        const struct image_pull *pull;
        struct oci_reference reference;
        json_t *registries; /* owned */
        struct oci_pull request;
};

static void job_done(struct oci_job *job)
{
        oci_reference_done(&job->reference);
        json_decref(job->registries);
}

static int on_stage(void *userdata, const char *stage, uint64_t done, uint64_t total)
{
        const struct image_progress *progress = userdata;

        return progress->report ? progress->report(progress->userdata, stage, done, total) : 0;
}

static int on_layer(void *userdata, const char *digest, uint64_t done, uint64_t total)
{
        const struct image_progress *progress = userdata;

        return progress->report_part
                       ? progress->report_part(progress->userdata, "layers", digest, done, total)
                       : 0;
}

static int job_init(struct oci_job *job, const struct image_pull *pull, struct err *err)
{
        int r = oci_reference_parse(pull->reference, &job->reference, err);

        job->pull = pull;
        if (r == 0 && pull->registries)
                r = json_parse(pull->registries, strlen(pull->registries), "the [registry] table",
                               &job->registries, err);
        job->request = (struct oci_pull){
                .reference = &job->reference,
                .settings = {.registries = job->registries, .credential_files = pull->credential_files},
                .cache_folder = pull->cache_folder,
                .size = pull->size,
                .stdin_fd = pull->stdin_fd,
                .stdin_name = pull->source,
                .progress = { .stage = on_stage,
                             .layer = on_layer,
                             .userdata = (void *) (uintptr_t) &pull->progress },
        };
        return r;
}

/* What is in the image's /root begins every VM's work disk, which is mounted there. An image need not have one. */
static int make_seed(const char *rootfs, const char *seed, struct err *err)
{
        struct ext4_options options = { .size = SEED_SIZE, .label = "work", .only_below = "root" };
        struct err failure = { 0 };
        int r = ext4_copy_tree(rootfs, seed, &options, &failure);

        if (r == -ENOSPC) {
                failure = (struct err){ 0 };
                options.size = SEED_SIZE_MAX;
                r = ext4_copy_tree(rootfs, seed, &options, &failure);
        }
        if (r == -ENOENT || r == -ENOTDIR)
                return 0;
        if (r < 0)
                *err = failure;
        return r;
}

static int make_files(struct oci_job *job, const char *folder, struct err *err)
{
        const struct image_pull *pull = job->pull;
        scoped_free char *rootfs = xasprintf("%s/" IMAGE_ROOTFS, folder);
        scoped_free char *seed = xasprintf("%s/" IMAGE_WORK_SEED, folder);
        scoped(oci_pulled_done) struct oci_pulled pulled = { 0 };
        struct image_facts facts = { .name = pull->name,
                                     .source = pull->source ? pull->source : pull->reference,
                                     .kernel =
                                             pull->kernel ? pull->kernel : image_catalog_entries[0].kernel };
        int r;

        job->request.image_path = rootfs;
        r = oci_pull(&job->request, &pulled, err);
        if (r == 0)
                r = image_report(&pull->progress, "seed", 0, 0, err);
        if (r == 0)
                r = make_seed(rootfs, seed, err);
        if (r < 0)
                return r;
        facts.rootfs_size = pulled.layers.size;
        facts.digest = pulled.digest;
        facts.config = pulled.config.run;
        return image_write_manifest(folder, &facts, err);
}

static bool is_as_wanted(const struct image_pull *pull, const struct image *image)
{
        return (pull->size == 0 || pull->size == image->rootfs_size) &&
               (!pull->kernel || strcmp(pull->kernel, image->kernel) == 0);
}

/* 1: the image that is here is what the registry has; it is in *ret_image. */
static int is_current(const struct oci_job *job, struct image *ret_image, struct err *err)
{
        char digest[OCI_DIGEST_MAX] = ""; /* of another source: not asked for */
        struct err ignored = { 0 };
        struct image image = { 0 };
        int r;

        if (image_read(job->pull->images_folder, job->pull->name, &image, &ignored) < 0)
                return 0;
        r = strcmp(image.source, job->pull->source ? job->pull->source : job->pull->reference) == 0
                    ? oci_pull_resolve(&job->request, digest, err)
                    : 0;
        if (r == 0 && digest[0] != '\0' && strcmp(image.digest, digest) == 0 &&
            is_as_wanted(job->pull, &image)) {
                *ret_image = image;
                return 1;
        }
        image_done(&image);
        return r;
}

static int pull_new(struct oci_job *job, struct err *err)
{
        __attribute__((__cleanup__(image_staging_end_at_scope_end))) struct image_staging staging =
                IMAGE_STAGING_NONE;
        const struct image_pull *pull = job->pull;
        scoped_free char *folder = NULL;
        int r = image_staging_begin(pull->images_folder, STAGING_PREFIX, 0700, &staging, err);

        if (r < 0)
                return r;
        folder = xasprintf("%s/image", staging.path);
        if (mkdir(folder, 0700) < 0)
                return err_errno(err, OP, "create '%s'", folder);
        r = make_files(job, folder, err);
        if (r == 0)
                r = image_report(&pull->progress, "publish", 0, 0, err);
        return r < 0 ? r : image_publish(folder, pull->images_folder, pull->name, pull->replace, err);
}

int image_pull_oci(const struct image_pull *pull, struct image *ret_image, struct err *err)
{
        struct oci_job job = { 0 };
        int r = job_init(&job, pull, err);

        if (r == 0)
                r = is_current(&job, ret_image, err);
        if (r == 0)
                r = pull_new(&job, err);
        job_done(&job);
        /* a word alone was perhaps meant for one of ours */
        if (r < 0 && text_starts_with(pull->reference, "docker.io/library/"))
                return err_wrap(err, "no image named '%s' here or in the catalog, and of Docker Hub",
                                pull->name);
        if (r != 0)
                return r < 0 ? r : 0;
        return image_read(pull->images_folder, pull->name, ret_image, err);
}
