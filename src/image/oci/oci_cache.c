#include "image/oci/oci_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/scoped.h"

#define OP        "image.cache"
#define SUBFOLDER "oci/blobs/sha256"

int oci_cache_open(const char *cache_folder, struct oci_cache *ret_cache, struct err *err)
{
        char *folder = xasprintf("%s/" SUBFOLDER, cache_folder);
        int r = file_make_folders(folder, 0700, err);

        if (r < 0) {
                free(folder);
                return r;
        }
        ret_cache->folder = folder;
        return 0;
}

void oci_cache_done(struct oci_cache *cache)
{
        free(cache->folder);
        *cache = (struct oci_cache){ 0 };
}

/* digest was checked by whoever read it: behind its colon is nothing but hex. */
static char *path_of(const struct oci_cache *cache, const char *digest)
{
        return xasprintf("%s/%s", cache->folder, strchr(digest, ':') + 1);
}

int oci_cache_find(const struct oci_cache *cache, const struct oci_descriptor *blob)
{
        scoped_free char *path = path_of(cache, blob->digest);
        scoped_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t) st.st_size != blob->size)
                return -ENOENT;
        return take_fd(&fd);
}

int oci_cache_read(const struct oci_cache *cache, const struct oci_descriptor *blob, struct text *ret_text)
{
        scoped_close int fd = oci_cache_find(cache, blob);
        scoped_free char *data = NULL;
        char digest[OCI_DIGEST_MAX];

        if (fd < 0 || blob->size > OCI_MANIFEST_MAX * 2)
                return -ENOENT;
        data = xmalloc((size_t) blob->size + 1);
        if (fd_read_full(fd, data, (size_t) blob->size) < 0)
                return -ENOENT;
        oci_digest_of(data, (size_t) blob->size, digest);
        if (strcmp(digest, blob->digest) != 0)
                return -ENOENT;
        text_append_bytes(ret_text, data, (size_t) blob->size);
        return 0;
}

/* A file system without O_TMPFILE (open(2)) keeps no blobs: the file is there for this one pull. */
int oci_cache_begin(const struct oci_cache *cache, struct err *err)
{
        int fd = open(cache->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        scoped_free char *name = NULL;

        if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
                return fd >= 0 ? fd : err_errno(err, OP, "create a file in '%s'", cache->folder);
        name = xasprintf("%s/.blob-XXXXXX", cache->folder);
        fd = mkostemp(name, O_CLOEXEC);
        if (fd < 0)
                return err_errno(err, OP, "create a file in '%s'", cache->folder);
        (void) unlink(name);
        return fd;
}

int oci_cache_publish(const struct oci_cache *cache, int fd, const char *digest, struct err *err)
{
        scoped_free char *path = path_of(cache, digest);
        char self[64];

        /* linkat(2): the way to name a file of O_TMPFILE without privileges. ENOENT: unlinked, or the cache was pruned. */
        (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 || errno == EEXIST ||
            errno == ENOENT)
                return 0;
        return err_errno(err, OP, "keep '%s'", path);
}

void oci_cache_keep(const struct oci_cache *cache, const char *digest, const void *data, size_t n)
{
        struct err ignored = { 0 };
        scoped_close int fd = oci_cache_begin(cache, &ignored);

        if (fd >= 0 && fd_write_full(fd, data, n) == 0)
                (void) oci_cache_publish(cache, fd, digest, &ignored);
}

void oci_cache_drop(const struct oci_cache *cache, const char *digest)
{
        scoped_free char *path = path_of(cache, digest);

        (void) unlink(path);
}
