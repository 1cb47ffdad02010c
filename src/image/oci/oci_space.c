#include "image/oci/oci_space.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/scoped.h"
#include "base/size.h"

#define OP "image.space"
/*
 * No manifest says what its layers unpack to. Compressed file systems unpack to 2.5 to 4 times their size, hardly ever to less
 * than twice: what cannot hold that cannot hold the image, and what can may still turn out too small while it is written.
 */
#define UNPACKED_AT_LEAST 2U

static int check_one(const char *folder, uint64_t needed, struct err *err)
{
        char has[SIZE_TEXT_MAX], wants[SIZE_TEXT_MAX], lacks[SIZE_TEXT_MAX];
        struct statvfs st;
        uint64_t free_bytes;

        if (statvfs(folder, &st) < 0)
                return err_errno(err, OP, "look at the disk of '%s'", folder);
        free_bytes = (uint64_t) st.f_bavail * st.f_frsize;
        if (free_bytes >= needed)
                return 0;
        size_human(free_bytes, has);
        size_human(needed, wants);
        size_human(needed - free_bytes, lacks);
        return err_set(err, ENOSPC, OP,
                       "the disk of '%s' has %s free, the image needs at least %s: %s are missing; nothing "
                       "was pulled",
                       folder, has, wants, lacks);
}

int oci_space_check(const struct oci_fetch_blob *blobs, unsigned n_blobs, const char *cache_folder,
                    const char *image_folder, struct err *err)
{
        uint64_t fetched = 0, unpacked = 0;
        struct stat cache, image;
        int r;

        for (unsigned i = 0; i < n_blobs; i++) {
                uint64_t size = blobs[i].descriptor->size;

                fetched += blobs[i].is_here ? 0 : size;
                unpacked += blobs[i].descriptor->compression == OCI_COMPRESSION_NONE
                                    ? size
                                    : UNPACKED_AT_LEAST * size;
        }
        if (stat(cache_folder, &cache) < 0 || stat(image_folder, &image) < 0)
                return err_errno(err, OP, "look at '%s' and '%s'", cache_folder, image_folder);
        if (cache.st_dev == image.st_dev)
                return check_one(image_folder, fetched + unpacked, err);
        r = check_one(cache_folder, fetched, err);
        return r < 0 ? r : check_one(image_folder, unpacked, err);
}
