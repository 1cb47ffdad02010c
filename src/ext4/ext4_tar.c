#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_builder.h"
#include "ext4/ext4_image.h"
#include "ext4/ext4_tar_acl.h"

#define READ_BYTES      (256U << 10)
#define PROGRESS_BYTES  MIB
#define PROGRESS_COUNT  1024U
#define SIZE_OF_PIPE    (8 * GIB)
#define SIZE_FLOOR      GIB
#define INODE_BYTES_MIN 16384U /* an entry takes an inode, and mke2fs's default has one for so many bytes */

struct tar {
        struct archive *archive; /* owned */
        int fd;                  /* borrowed */
        int read_errno;
        char *buffer; /* owned */
        const struct ext4_options *options;
        struct ext4_builder *builder; /* owned */
        struct ext4_report report;
        uint64_t reported_bytes;
};

static void tar_done(struct tar *tar)
{
        if (tar->archive)
                (void) archive_read_free(tar->archive);
        ext4_builder_free(tar->builder);
        free(tar->buffer);
}

static void tar_free(struct tar *tar)
{
        if (!tar)
                return;
        tar_done(tar);
        free(tar);
}
SCOPED_FUNC(struct tar *, tar_free);

static la_ssize_t read_more(struct archive *archive, void *userdata, const void **ret_data)
{
        struct tar *tar = userdata;
        ssize_t got;

        (void) archive;
        do
                got = read(tar->fd, tar->buffer, READ_BYTES);
        while (got < 0 && errno == EINTR);
        if (got < 0) {
                tar->read_errno = errno;
                return ARCHIVE_FATAL;
        }
        tar->report.bytes_read += (uint64_t) got;
        *ret_data = tar->buffer;
        return got;
}

/* What libarchive found wrong. */
static int archive_failed(struct tar *tar, struct err *err)
{
        const char *why = archive_error_string(tar->archive);

        if (tar->read_errno != 0) {
                errno = tar->read_errno;
                return err_errno(err, "ext4.tar", "read the archive");
        }
        return err_set(err, EBADMSG, "ext4.tar", "the archive is damaged or truncated: %.400s",
                       why ? why : "no reason given");
}

static int tar_open(struct tar *tar, struct err *err)
{
        tar->archive = archive_read_new();
        if (!tar->archive)
                return err_set(err, ENOMEM, "ext4.tar", "no memory to read an archive");
        /* ARCHIVE_WARN: libarchive was built without it and would run a program of that name */
        if (archive_read_support_filter_gzip(tar->archive) != ARCHIVE_OK ||
            archive_read_support_filter_xz(tar->archive) != ARCHIVE_OK ||
            archive_read_support_filter_zstd(tar->archive) != ARCHIVE_OK ||
            archive_read_support_format_tar(tar->archive) != ARCHIVE_OK)
                return err_set(err, ENOTSUP, "ext4.tar", "this libarchive lacks gzip, xz, zstd or tar");
        if (!tar->buffer)
                tar->buffer = xmalloc(READ_BYTES);
        if (archive_read_open(tar->archive, tar, NULL, read_more, NULL) != ARCHIVE_OK)
                return archive_failed(tar, err);
        return 0;
}

/* 1: an entry, 0: the end. Warnings are about host charsets and the like; the bytes of the entry are there. */
static int next_entry(struct tar *tar, struct archive_entry **ret_entry, struct err *err)
{
        int r = archive_read_next_header(tar->archive, ret_entry);

        if (r == ARCHIVE_EOF)
                return 0;
        return r == ARCHIVE_OK || r == ARCHIVE_WARN ? 1 : archive_failed(tar, err);
}

static int report_progress(struct tar *tar, struct err *err)
{
        const struct ext4_options *options = tar->options;

        if (!options->progress || (tar->report.bytes_read - tar->reported_bytes < PROGRESS_BYTES &&
                                   tar->report.n_entries % PROGRESS_COUNT != 0))
                return 0;
        tar->reported_bytes = tar->report.bytes_read;
        if (options->progress(options->userdata, tar->report.bytes_read, tar->report.n_entries) < 0)
                return err_set(err, ECANCELED, "ext4.tar", "cancelled");
        return 0;
}

/* Skips slashes and "." components. */
static const char *skip_dots(const char *path)
{
        for (;;) {
                if (path[0] == '/' || (path[0] == '.' && (path[1] == '/' || path[1] == '\0')))
                        path++;
                else
                        return path;
        }
}

/* The part of path below folder ("" for folder itself), NULL when it is elsewhere. folder NULL: path. */
static const char *below(const char *path, const char *folder)
{
        if (!folder)
                return path;
        for (;;) {
                size_t n;

                path = skip_dots(path);
                folder = skip_dots(folder);
                n = strcspn(folder, "/");
                if (n == 0)
                        return path;
                if (strcspn(path, "/") != n || memcmp(path, folder, n) != 0)
                        return NULL;
                path += n;
                folder += n;
        }
}

static struct timespec time_or(int is_set, time_t s, long ns, struct timespec fallback)
{
        return is_set ? (struct timespec){ .tv_sec = s, .tv_nsec = ns } : fallback;
}

static void fill_times(struct archive_entry *from, struct ext4_entry *to)
{
        const struct timespec none = { .tv_sec = 0 };

        to->mtime = time_or(archive_entry_mtime_is_set(from), archive_entry_mtime(from),
                            archive_entry_mtime_nsec(from), none);
        to->atime = time_or(archive_entry_atime_is_set(from), archive_entry_atime(from),
                            archive_entry_atime_nsec(from), to->mtime);
        to->ctime = time_or(archive_entry_ctime_is_set(from), archive_entry_ctime(from),
                            archive_entry_ctime_nsec(from), to->mtime);
}

/* Room for EXT4_XATTRS_MAX and two ACLs. */
static int fill_xattrs(struct archive_entry *from, struct ext4_entry *to, struct ext4_xattr *xattrs,
                       struct err *err)
{
        const char *name;
        const void *value;
        size_t n;

        (void) archive_entry_xattr_reset(from);
        while (archive_entry_xattr_next(from, &name, &value, &n) == ARCHIVE_OK) {
                if (!name)
                        continue;
                if (to->n_xattrs == EXT4_XATTRS_MAX || n > EXT4_XATTR_VALUE_MAX)
                        return err_set(err, E2BIG, "ext4.tar",
                                       "'%.300s' has too many or too large attributes", to->path);
                xattrs[to->n_xattrs++] = (struct ext4_xattr){ .name = name, .value = value, .n = n };
        }
        to->xattrs = xattrs;
        return 0;
}

static int fill_owner(struct archive_entry *from, struct ext4_entry *to, struct err *err)
{
        int64_t uid = archive_entry_uid(from), gid = archive_entry_gid(from), size = archive_entry_size(from);

        if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX || size < 0)
                return err_set(err, EBADMSG, "ext4.tar", "'%.300s' has an impossible owner or size",
                               to->path);
        to->uid = (uint32_t) uid;
        to->gid = (uint32_t) gid;
        to->size = (uint64_t) size;
        return 0;
}

static int copy_data(struct tar *tar, struct err *err)
{
        const void *data;
        size_t n;
        la_int64_t offset;
        int status, r;

        while ((status = archive_read_data_block(tar->archive, &data, &n, &offset)) == ARCHIVE_OK) {
                r = ext4_builder_data(tar->builder, (uint64_t) offset, data, n, err);
                if (r == 0)
                        r = report_progress(tar, err);
                if (r < 0)
                        return r;
                tar->report.content_bytes += n;
        }
        if (status != ARCHIVE_EOF)
                return archive_failed(tar, err);
        return ext4_builder_end_data(tar->builder, err);
}

/* Fills everything but attributes. 0: not below the wanted folder, 1: filled. */
static int convert(struct tar *tar, struct archive_entry *from, struct ext4_entry *to, struct err *err)
{
        const char *path = archive_entry_pathname(from), *link_to = archive_entry_hardlink(from);
        int r;

        if (!path)
                return err_set(err, EBADMSG, "ext4.tar", "an entry without a name");
        *to = (struct ext4_entry){ .path = below(path, tar->options->only_below),
                                   .mode = archive_entry_mode(from),
                                   .major = (uint32_t) archive_entry_rdevmajor(from),
                                   .minor = (uint32_t) archive_entry_rdevminor(from),
                                   .target = archive_entry_symlink(from) };
        if (!to->path)
                return 0;
        if (link_to) {
                to->link_to = below(link_to, tar->options->only_below);
                if (!to->link_to)
                        return err_set(err, EBADMSG, "ext4.tar", "'%.300s' is a hard link out of '%s'", path,
                                       tar->options->only_below);
        }
        fill_times(from, to);
        r = fill_owner(from, to, err);
        return r < 0 ? r : 1;
}

static int add_entry(struct tar *tar, struct archive_entry *from, struct err *err)
{
        struct ext4_xattr xattrs[EXT4_XATTRS_MAX + EXT4_TAR_N_ACLS];
        struct ext4_tar_acls acls = { 0 };
        struct ext4_entry entry;
        bool wants_data = false;
        int r = convert(tar, from, &entry, err);

        if (r <= 0)
                return r;
        r = fill_xattrs(from, &entry, xattrs, err);
        if (r == 0)
                r = ext4_tar_acls_read(from, &acls, err);
        for (size_t i = 0; r == 0 && i < acls.n; i++)
                xattrs[entry.n_xattrs++] = acls.xattrs[i];
        if (r == 0)
                r = ext4_builder_add(tar->builder, &entry, &wants_data, err);
        if (r == 0 && wants_data)
                r = copy_data(tar, err);
        ext4_tar_acls_done(&acls);
        return r;
}

static int build(struct tar *tar, const char *image_path, const struct ext4_options *options, struct err *err)
{
        struct archive_entry *entry;
        int r = ext4_builder_new(image_path, options, &tar->builder, err);

        if (r == 0)
                r = tar_open(tar, err);
        if (r < 0)
                return r;
        while ((r = next_entry(tar, &entry, err)) > 0) {
                tar->report.n_entries++;
                r = add_entry(tar, entry, err);
                if (r == 0)
                        r = report_progress(tar, err);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : ext4_builder_finish(tar->builder, err);
}

/* Reads the archive once for its size, and goes back. */
static int measure(struct tar *tar, uint64_t *ret_size, struct err *err)
{
        off_t start = lseek(tar->fd, 0, SEEK_CUR);
        uint64_t bytes = 0, n = 0, size;
        struct archive_entry *entry;
        int r;

        if (start < 0) {
                *ret_size = SIZE_OF_PIPE;
                return 0;
        }
        r = tar_open(tar, err);
        if (r < 0)
                return r;
        while ((r = next_entry(tar, &entry, err)) > 0) {
                int64_t entry_size = archive_entry_size(entry);

                bytes += entry_size > 0 && (uint64_t) entry_size < UINT64_MAX / 4 - bytes
                                 ? (uint64_t) entry_size
                                 : 0;
                n++;
        }
        if (r < 0)
                return r;
        if (lseek(tar->fd, start, SEEK_SET) < 0)
                return err_errno(err, "ext4.tar", "go back in the archive");
        (void) archive_read_free(tar->archive);
        tar->archive = NULL;
        tar->report.bytes_read = 0;
        size = bytes + bytes / 2 + n * INODE_BYTES_MIN;
        *ret_size = (size > SIZE_FLOOR ? size : SIZE_FLOOR) / MIB * MIB;
        return 0;
}

int ext4_from_tar(int tar_fd, const char *image_path, const struct ext4_options *options,
                  struct ext4_report *ret_report, struct err *err)
{
        struct ext4_options sized = *options;
        scoped(tar_free) struct tar *tar = xcalloc(1, sizeof(*tar));
        int r = 0;

        tar->fd = tar_fd;
        tar->options = options;
        if (sized.size == 0)
                r = measure(tar, &sized.size, err);
        if (r == 0)
                r = build(tar, image_path, &sized, err);
        if (r < 0)
                return err_wrap(err, "archive to '%s'", image_path);
        tar->report.size = sized.size;
        if (ret_report)
                *ret_report = tar->report;
        return 0;
}
