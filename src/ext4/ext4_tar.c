#include "ext4/ext4_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"
#include "ext4/ext4_tar_acl.h"

struct tar {
        struct archive *archive; /* owned */
        const struct ext4_tar_source *source;
        struct ext4_builder *builder;
        int read_errno;
};

static void tar_free(struct tar *tar)
{
        if (!tar)
                return;
        if (tar->archive)
                (void) archive_read_free(tar->archive);
        free(tar);
}
SCOPED_FUNC(struct tar *, tar_free);

static la_ssize_t read_more(struct archive *archive, void *userdata, const void **ret_data)
{
        struct tar *tar = userdata;
        ssize_t got = tar->source->more(tar->source->userdata, ret_data);

        (void) archive;
        if (got >= 0)
                return got;
        tar->read_errno = (int) -got;
        return ARCHIVE_FATAL;
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

static bool support_filters(struct archive *archive)
{
        /* ARCHIVE_WARN: libarchive was built without it and would run a program of that name */
        return archive_read_support_filter_gzip(archive) == ARCHIVE_OK &&
               archive_read_support_filter_xz(archive) == ARCHIVE_OK &&
               archive_read_support_filter_zstd(archive) == ARCHIVE_OK;
}

static int tar_open(struct tar *tar, struct err *err)
{
        tar->archive = archive_read_new();
        if (!tar->archive)
                return err_set(err, ENOMEM, "ext4.tar", "no memory to read an archive");
        if ((!tar->source->is_plain && !support_filters(tar->archive)) ||
            archive_read_support_format_tar(tar->archive) != ARCHIVE_OK)
                return err_set(err, ENOTSUP, "ext4.tar", "this libarchive lacks gzip, xz, zstd or tar");
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

static int report_progress(const struct tar *tar, struct err *err)
{
        return tar->source->progress ? tar->source->progress(tar->source->userdata, err) : 0;
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
        *to = (struct ext4_entry){ .path = below(path, tar->source->only_below),
                                   .mode = archive_entry_mode(from),
                                   .major = (uint32_t) archive_entry_rdevmajor(from),
                                   .minor = (uint32_t) archive_entry_rdevminor(from),
                                   .target = archive_entry_symlink(from) };
        if (!to->path)
                return 0;
        if (link_to) {
                to->link_to = below(link_to, tar->source->only_below);
                if (!to->link_to)
                        return err_set(err, EBADMSG, "ext4.tar", "'%.300s' is a hard link out of '%s'", path,
                                       tar->source->only_below);
        }
        fill_times(from, to);
        r = fill_owner(from, to, err);
        return r < 0 ? r : 1;
}

/* What is in the entry now; acls and xattrs last as long as it is added. */
static int add_converted(struct tar *tar, const struct ext4_entry *entry, struct err *err)
{
        const struct ext4_tar_source *source = tar->source;
        bool wants_data = false;
        int r = source->take ? source->take(source->userdata, tar->builder, entry, err) : 0;

        if (r != 0)
                return r < 0 ? r : 0;
        r = ext4_builder_add(tar->builder, entry, &wants_data, err);
        return r == 0 && wants_data ? copy_data(tar, err) : r;
}

static int add_entry(struct tar *tar, struct archive_entry *from, struct err *err)
{
        struct ext4_xattr xattrs[EXT4_XATTRS_MAX + EXT4_TAR_N_ACLS];
        struct ext4_tar_acls acls = { 0 };
        struct ext4_entry entry;
        int r = convert(tar, from, &entry, err);

        if (r <= 0)
                return r;
        r = fill_xattrs(from, &entry, xattrs, err);
        if (r == 0)
                r = ext4_tar_acls_read(from, &acls, err);
        for (size_t i = 0; r == 0 && i < acls.n; i++)
                xattrs[entry.n_xattrs++] = acls.xattrs[i];
        if (r == 0)
                r = add_converted(tar, &entry, err);
        ext4_tar_acls_done(&acls);
        return r;
}

int ext4_tar_read(const struct ext4_tar_source *source, struct ext4_builder *builder, uint64_t *ret_n_entries,
                  struct err *err)
{
        scoped(tar_free) struct tar *tar = xcalloc(1, sizeof(*tar));
        struct archive_entry *entry;
        int r;

        tar->source = source;
        tar->builder = builder;
        r = tar_open(tar, err);
        if (r < 0)
                return r;
        while ((r = next_entry(tar, &entry, err)) > 0) {
                ++*ret_n_entries;
                r = add_entry(tar, entry, err);
                if (r == 0)
                        r = report_progress(tar, err);
                if (r < 0)
                        return r;
        }
        return r;
}
