#include "kernel/kernel_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/size.h"

#define BLOCK       ((size_t) 64 << 10)
#define N_FILES_MAX 50000

uint64_t kernel_fetched_bytes_max = 8 * GIB;

static void reader_free(struct archive *archive)
{
        if (archive)
                (void) archive_read_free(archive);
}
SCOPED_FUNC(struct archive *, reader_free);

int kernel_report(const struct kernel_progress *progress, const char *stage, uint64_t done, uint64_t total,
                  struct err *err)
{
        if (progress->report && progress->report(progress->userdata, stage, done, total) < 0)
                return err_set(err, ECANCELED, "kernel.import", "cancelled");
        return 0;
}

static int archive_err(struct err *err, struct archive *archive)
{
        const char *why = archive_error_string(archive);

        return err_set(err, EBADMSG, "kernel.unpack", "damaged: %.200s", why ? why : "unknown reason");
}

/* Those that are libraries: lzop, lrzip and grzip would start programs. */
static struct archive *reader_new(void)
{
        struct archive *archive = archive_read_new();

        if (!archive)
                return NULL;
        (void) archive_read_support_filter_gzip(archive);
        (void) archive_read_support_filter_bzip2(archive);
        (void) archive_read_support_filter_xz(archive);
        (void) archive_read_support_filter_lzma(archive);
        (void) archive_read_support_filter_zstd(archive);
        (void) archive_read_support_filter_lz4(archive);
        return archive;
}

int kernel_archive_decompress(const void *data, size_t n, size_t max, struct text *ret_bytes, struct err *err)
{
        scoped(reader_free) struct archive *archive = reader_new();
        scoped_free char *buffer = xmalloc(BLOCK);
        struct archive_entry *entry;
        la_ssize_t got;

        if (!archive)
                return err_set(err, ENOMEM, "kernel.unpack", "out of memory");
        (void) archive_read_support_format_raw(archive);
        if (archive_read_open_memory(archive, data, n) != ARCHIVE_OK ||
            archive_read_next_header(archive, &entry) != ARCHIVE_OK)
                return archive_err(err, archive);
        while ((got = archive_read_data(archive, buffer, BLOCK)) != 0) {
                if (got < 0)
                        return archive_err(err, archive);
                if (ret_bytes->n + (size_t) got > max)
                        return err_set(err, EFBIG, "kernel.unpack", "it unpacks to more than %zu bytes", max);
                text_append_bytes(ret_bytes, buffer, (size_t) got);
        }
        return 0;
}

struct unpacking {
        const char *folder;
        const struct kernel_progress *progress;
        struct archive *outer; /* the .deb, an ar(5) archive: borrowed */
        uint64_t outer_bytes;
        struct archive *inner; /* data.tar within it: borrowed */
        uint64_t bytes;        /* written so far */
        unsigned n_files;
        char block[BLOCK];
};

static la_ssize_t read_member(struct archive *inner, void *userdata, const void **ret_block)
{
        struct unpacking *unpacking = userdata;
        la_ssize_t got = archive_read_data(unpacking->outer, unpacking->block, sizeof(unpacking->block));

        if (got < 0)
                archive_set_error(inner, EBADMSG, "the package is cut short");
        *ret_block = unpacking->block;
        return got;
}

/* The part of a path that we keep, or NULL; -EBADMSG in *ret_r when it would lead out of the package. */
static const char *wanted_path(const char *path, int *ret_r)
{
        const char *component;

        *ret_r = 0;
        if (!path)
                return NULL;
        while (path[0] == '.' && path[1] == '/')
                path += 2;
        for (component = path; component;
             component = strchr(component, '/') ? strchr(component, '/') + 1 : NULL)
                if (component[0] == '.' && component[1] == '.' &&
                    (component[2] == '/' || component[2] == '\0'))
                        *ret_r = -EBADMSG;
        if (path[0] == '/' || strlen(path) >= PATH_MAX / 2)
                *ret_r = -EBADMSG;
        if (text_starts_with(path, "usr/lib/modules/"))
                path += strlen("usr/");
        return text_starts_with(path, "lib/modules/") || text_starts_with(path, "boot/vmlinu") ? path : NULL;
}

static int copy_data(struct unpacking *unpacking, int fd, const char *path, struct err *err)
{
        scoped_free char *buffer = xmalloc(BLOCK);
        la_ssize_t got;
        int r;

        while ((got = archive_read_data(unpacking->inner, buffer, BLOCK)) != 0) {
                if (got < 0)
                        return archive_err(err, unpacking->inner);
                unpacking->bytes += (uint64_t) got;
                if (unpacking->bytes > kernel_fetched_bytes_max)
                        return err_set(err, EFBIG, "kernel.unpack",
                                       "it unpacks to more than the limit of %ju bytes",
                                       (uintmax_t) kernel_fetched_bytes_max);
                r = fd_write_full(fd, buffer, (size_t) got);
                if (r < 0) {
                        errno = -r;
                        return err_errno(err, "kernel.unpack", "write '%s'", path);
                }
        }
        return 0;
}

static int unpack_file(struct unpacking *unpacking, const char *name, struct err *err)
{
        scoped_free char *path = xasprintf("%s/%s", unpacking->folder, name);
        scoped_free char *parent = xstrdup(path);
        scoped_close int fd = FD_NONE;
        int r;

        if (++unpacking->n_files > N_FILES_MAX)
                return err_set(err, EFBIG, "kernel.unpack", "it has more than %d files", N_FILES_MAX);
        *strrchr(parent, '/') = '\0';
        r = file_make_folders(parent, 0700, err);
        if (r < 0)
                return r;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return err_errno(err, "kernel.unpack", "create '%s'", path);
        return copy_data(unpacking, fd, path, err);
}

static int unpack_entries(struct unpacking *unpacking, struct err *err)
{
        struct archive_entry *entry;
        int got;

        while ((got = archive_read_next_header(unpacking->inner, &entry)) == ARCHIVE_OK ||
               got == ARCHIVE_WARN) {
                int r;
                const char *name = wanted_path(archive_entry_pathname(entry), &r);

                if (r < 0)
                        return err_set(err, EBADMSG, "kernel.unpack",
                                       "it has a path that leads out of it: '%.200s'",
                                       archive_entry_pathname(entry));
                if (!name || archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry))
                        continue;
                r = unpack_file(unpacking, name, err);
                if (r == 0)
                        r = kernel_report(unpacking->progress, "unpack",
                                          (uint64_t) archive_filter_bytes(unpacking->outer, -1),
                                          unpacking->outer_bytes, err);
                if (r < 0)
                        return r;
        }
        return got == ARCHIVE_EOF ? 0 : archive_err(err, unpacking->inner);
}

static int unpack_data_member(struct unpacking *unpacking, struct err *err)
{
        scoped(reader_free) struct archive *inner = reader_new();

        if (!inner)
                return err_set(err, ENOMEM, "kernel.unpack", "out of memory");
        (void) archive_read_support_format_tar(inner);
        if (archive_read_open(inner, unpacking, NULL, read_member, NULL) != ARCHIVE_OK)
                return archive_err(err, inner);
        unpacking->inner = inner;
        return unpack_entries(unpacking, err);
}

int kernel_archive_unpack_deb(const char *path, const char *folder, const struct kernel_progress *progress,
                              struct err *err)
{
        scoped(reader_free) struct archive *outer = archive_read_new();
        scoped_free struct unpacking *unpacking = xcalloc(1, sizeof(*unpacking));
        struct archive_entry *entry;
        struct stat st;

        if (stat(path, &st) < 0)
                return err_errno(err, "kernel.unpack", "look at it");
        if ((uint64_t) st.st_size > kernel_fetched_bytes_max)
                return err_set(err, EFBIG, "kernel.unpack", "it is larger than the limit of %ju bytes",
                               (uintmax_t) kernel_fetched_bytes_max);
        if (!outer)
                return err_set(err, ENOMEM, "kernel.unpack", "out of memory");
        (void) archive_read_support_format_ar(outer);
        if (archive_read_open_filename(outer, path, BLOCK) != ARCHIVE_OK)
                return archive_err(err, outer);
        *unpacking = (struct unpacking){
                .folder = folder, .progress = progress, .outer = outer, .outer_bytes = (uint64_t) st.st_size
        };
        while (archive_read_next_header(outer, &entry) == ARCHIVE_OK) {
                const char *name = archive_entry_pathname(entry);

                if (name && text_starts_with(name, "data.tar")) /* deb(5) */
                        return unpack_data_member(unpacking, err);
        }
        return err_set(err, EBADMSG, "kernel.unpack", "it is not a Debian package: no data.tar in it");
}
