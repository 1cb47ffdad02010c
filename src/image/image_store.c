#include "image/image_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/image_files.h"

#define NAME_MAX_BYTES 64U
#define MANIFEST_MAX   ((size_t) 1 << 20) /* of OCI_RUN_BYTES_MAX as JSON, and more */
#define SECTOR_SIZE    512U               /* of st_blocks, stat(2) */

void image_done(struct image *image)
{
        free(image->name);
        free(image->source);
        free(image->kernel);
        free(image->rootfs_path);
        free(image->work_seed_path);
        free(image->created_at);
        free(image->distro);
        free(image->digest);
        free(image->config);
        *image = (struct image){ 0 };
}

bool image_name_is_valid(const char *name)
{
        size_t n = name ? strlen(name) : 0;

        return n > 0 && n <= NAME_MAX_BYTES && name[0] != '.' &&
               strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static int check_name(const char *name, const char *op, struct err *err)
{
        if (image_name_is_valid(name))
                return 0;
        return err_set(err, EINVAL, op,
                       "'%.100s' is not an image name: letters, digits, '.', '_', '-', at most %u, not "
                       "starting with '.'",
                       name ? name : "", NAME_MAX_BYTES);
}

/* What a folder's files occupy, holes not counted. */
static uint64_t count_bytes(const char *folder)
{
        DIR *open_folder = opendir(folder);
        const struct dirent *entry;
        uint64_t bytes = 0;
        struct stat status;

        while (open_folder && (entry = readdir(open_folder)))
                if (fstatat(dirfd(open_folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISREG(status.st_mode))
                        bytes += (uint64_t) status.st_blocks * SECTOR_SIZE;
        if (open_folder)
                (void) closedir(open_folder);
        return bytes;
}

/* A registered root file system that is gone is no error here: it is the use of the image that fails. */
static uint64_t count_file(const char *path)
{
        struct stat status;

        return stat(path, &status) == 0 ? (uint64_t) status.st_blocks * SECTOR_SIZE : 0;
}

static int read_manifest(const char *path, const char *name, json_t **ret_manifest, struct err *err)
{
        int r = json_read_file(path, MANIFEST_MAX, ret_manifest, err);

        if (r == -ENOENT) {
                *err = (struct err){ 0 };
                return err_set(
                        err, ENOENT, "image.read",
                        "no image named '%s': see 'banger image list', or get it with 'banger image pull'",
                        name);
        }
        if (r == 0 && !json_is_object(*ret_manifest)) {
                json_decref(take_ptr(*ret_manifest));
                return err_set(err, EBADMSG, "image.read",
                               "'%s' is not a manifest: delete image '%s' and get it again", path, name);
        }
        return r;
}

int image_read(const char *images_folder, const char *name, struct image *ret_image, struct err *err)
{
        scoped_free char *folder = xasprintf("%s/%s", images_folder, name ? name : "");
        scoped_free char *path = xasprintf("%s/" IMAGE_MANIFEST, folder);
        scoped_free char *seed = xasprintf("%s/" IMAGE_WORK_SEED, folder);
        json_auto_t *manifest = NULL;
        scoped_free char *config = NULL;
        const char *elsewhere;
        int r = check_name(name, "image.read", err);

        if (r == 0)
                r = read_manifest(path, name, &manifest, err);
        if (r < 0)
                return r;
        elsewhere = json_text(manifest, "rootfs_path");
        config = json_is_object(json_object_get(manifest, "config"))
                         ? json_dumps(json_object_get(manifest, "config"), JSON_COMPACT)
                         : NULL;
        *ret_image =
                (struct image){ .name = xstrdup(name),
                                .source = xstrdup(json_text(manifest, "source")),
                                .kernel = xstrdup(json_text(manifest, "kernel")),
                                .created_at = xstrdup(json_text(manifest, "created_at")),
                                .rootfs_size = json_u64(manifest, "rootfs_size", 0),
                                .distro = xstrdup(json_text(manifest, "distro")),
                                .digest = xstrdup(json_text(manifest, "digest")),
                                .config = config ? take_ptr(config) : xstrdup(""),
                                .is_managed = elsewhere[0] == '\0',
                                .rootfs_path = elsewhere[0] == '\0' ? xasprintf("%s/" IMAGE_ROOTFS, folder)
                                                                    : xstrdup(elsewhere),
                                .work_seed_path = access(seed, F_OK) == 0 ? take_ptr(seed) : xstrdup(""),
                                .real_bytes = count_bytes(folder) };
        if (!ret_image->is_managed)
                ret_image->real_bytes += count_file(ret_image->rootfs_path);
        return 0;
}

static int is_image_folder(const struct dirent *entry)
{
        return image_name_is_valid(entry->d_name) && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
}

static int compare_bytes(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

int image_list(const char *images_folder, struct image **ret_images, unsigned *ret_n, struct err *err)
{
        struct dirent **entries = NULL;
        int n_entries = scandir(images_folder, &entries, is_image_folder, compare_bytes), r = 0;
        struct image *images;
        unsigned n = 0;

        if (n_entries < 0 && errno != ENOENT)
                return err_errno(err, "image.list", "list '%s'", images_folder);
        images = xcalloc(n_entries > 0 ? (size_t) n_entries : 1, sizeof(*images));
        for (int i = 0; i < n_entries; i++) {
                struct err one = { 0 };

                if (r == 0 && image_read(images_folder, entries[i]->d_name, &images[n], &one) == 0)
                        n++;
                else if (r == 0 && one.code != ENOENT) { /* deleted meanwhile, or somebody else's folder */
                        *err = one;
                        r = -one.code;
                }
                free(entries[i]);
        }
        free(entries);
        if (r < 0) {
                while (n > 0)
                        image_done(&images[--n]);
                free(images);
                return r;
        }
        *ret_images = images;
        *ret_n = n;
        return 0;
}

int image_delete(const char *images_folder, const char *name, struct err *err)
{
        scoped_free char *folder = xasprintf("%s/%s", images_folder, name ? name : "");
        scoped_free char *manifest = xasprintf("%s/" IMAGE_MANIFEST, folder);
        int r = check_name(name, "image.delete", err);

        if (r < 0)
                return r;
        /* The manifest first: without it there is no such image, whatever happens to the rest. */
        if (unlink(manifest) < 0) {
                if (errno == ENOENT)
                        return err_set(err, ENOENT, "image.delete",
                                       "no image named '%s': see 'banger image list'", name);
                return err_errno(err, "image.delete", "remove '%s'", manifest);
        }
        return file_remove_tree(folder, err);
}
