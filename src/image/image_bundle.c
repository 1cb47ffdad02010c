#include "image/image_bundle.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "bundle/bundle.h"
#include "ext4/ext4_image.h"
#include "image/image_files.h"
#include "image/image_publish.h"

#define UNPACKED_MAX (64 * GIB) /* holes counted */
#define MANIFEST_MAX ((size_t) 64 << 10)
#define SEED_SIZE    (64 * MIB)

uint64_t image_bundle_bytes_max = 8 * GIB;

static int make_seed(const char *rootfs, const char *folder, struct err *err)
{
        const struct ext4_options options = { .size = SEED_SIZE, .label = "work", .only_below = "root" };
        scoped_free char *seed = xasprintf("%s/" IMAGE_WORK_SEED, folder);
        int r = ext4_copy_tree(rootfs, seed, &options, err);

        if (r != -ENOENT) /* a root file system without /root: VMs begin with an empty one */
                return r;
        *err = (struct err){ 0 };
        return 0;
}

/* The bundle's own manifest says what it is; the image's is written anew. */
static int check_manifest(const char *folder, struct err *err)
{
        scoped_free char *path = xasprintf("%s/" IMAGE_MANIFEST, folder);
        json_auto_t *manifest = NULL;
        int r = json_read_file(path, MANIFEST_MAX, &manifest, err);

        if (r == 0 && !json_is_object(manifest))
                r = err_set(err, EBADMSG, "image.bundle", "its manifest.json is not an object");
        return r < 0 ? err_wrap(err, "the bundle is refused") : file_remove(path, err);
}

int image_bundle_unpack(const struct image_bundle *bundle, const char *folder,
                        const struct image_progress *progress, uint64_t *ret_rootfs_size, struct err *err)
{
        static const struct bundle_entry entries[] = {
                {IMAGE_ROOTFS,    true },
                { IMAGE_MANIFEST, true },
                { NULL,           false}
        };
        const struct bundle_source source = { .url = bundle->url,
                                              .sha256 = bundle->sha256,
                                              .size = bundle->size,
                                              .max = image_bundle_bytes_max };
        const struct bundle_progress listener = { .report = progress->report,
                                                  .userdata = progress->userdata };
        scoped_free char *rootfs = xasprintf("%s/" IMAGE_ROOTFS, folder);
        scoped_close int fd = FD_NONE;
        int r = bundle_fetch(&source, folder, &listener, &fd, err);

        if (r == 0)
                r = bundle_unpack(fd, folder, entries, UNPACKED_MAX, &listener, err);
        if (r == 0)
                r = check_manifest(folder, err);
        if (r == 0)
                r = image_check_ext4(rootfs, ret_rootfs_size, err);
        if (r == 0)
                r = image_report(progress, "seed", 0, 0, err);
        return r < 0 ? r : make_seed(rootfs, folder, err);
}
