#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"
#include "bundle/bundle.h"

#define BLOCK         ((size_t) 64 << 10)
#define N_FILES_MAX   20000U
#define N_ENTRIES_MAX 16U /* of those that may be in it */

static void reader_free(struct archive *archive)
{
        if (archive)
                (void) archive_read_free(archive);
}
SCOPED_FUNC(struct archive *, reader_free);

struct unpacking {
        const struct bundle_entry *entries;
        const struct bundle_progress *progress;
        const char *folder;
        struct archive *archive; /* borrowed */
        uint64_t n, max;         /* bytes of content */
        uint64_t total_packed;
        unsigned n_files;
        bool seen[N_ENTRIES_MAX];
};

static int refuse(const char *name, const char *why, struct err *err)
{
        char shown[128];
        size_t i = 0;

        for (; name && name[i] && i < sizeof(shown) - 1; i++) {
                shown[i] = name[i];
                if ((unsigned char) name[i] < ' ' ||
                    name[i] == 0x7f) /* a stranger's, on somebody's terminal */
                        shown[i] = '?';
        }
        shown[i] = '\0';
        return err_set(err, EBADMSG, "bundle.unpack", "the bundle is refused: '%s' %s", shown, why);
}

static int damaged(struct archive *archive, struct err *err)
{
        const char *why = archive_error_string(archive);

        return err_set(err, EBADMSG, "bundle.unpack", "the bundle is damaged: %.200s",
                       why ? why : "no reason given");
}

/* Relative, and without "..", "." or empty parts. A slash may end it. */
static bool path_is_plain(const char *path)
{
        const char *part = path;

        while (*part) {
                size_t n = strcspn(part, "/");

                if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
                        return false;
                part += n;
                part += *part == '/';
        }
        return *path != '\0' && strlen(path) < PATH_MAX / 2;
}

/* Which of the entries that may be there this is; -1: none of them. */
static int find_entry(const struct bundle_entry *entries, const char *name, bool is_folder)
{
        for (int i = 0; entries[i].name; i++) {
                size_t n = strlen(entries[i].name);
                bool whole_tree = entries[i].name[n - 1] == '/';

                if (whole_tree && strncmp(name, entries[i].name, n - 1) == 0 &&
                    (name[n - 1] == '/' || (is_folder && name[n - 1] == '\0')))
                        return i;
                if (!whole_tree && !is_folder && strcmp(name, entries[i].name) == 0)
                        return i;
        }
        return -1;
}

static int report(const struct unpacking *unpacking, struct err *err)
{
        const struct bundle_progress *progress = unpacking->progress;

        if (progress->report && progress->report(progress->userdata, "unpack",
                                                 (uint64_t) archive_filter_bytes(unpacking->archive, -1),
                                                 unpacking->total_packed) < 0)
                return err_set(err, ECANCELED, "bundle.unpack", "cancelled");
        return 0;
}

static int write_at(int fd, const char *data, size_t n, la_int64_t offset, const char *path, struct err *err)
{
        while (n > 0) {
                ssize_t done = pwrite(fd, data, n, offset);

                if (done < 0 && errno == EINTR)
                        continue;
                if (done < 0)
                        return err_errno(err, "bundle.unpack", "write '%s'", path);
                data += done;
                n -= (size_t) done;
                offset += done;
        }
        return 0;
}

static bool is_zero(const char *data, size_t n)
{
        return n > 0 && data[0] == '\0' && memcmp(data, data + 1, n - 1) == 0;
}

/* A block of zeros stays a hole, whatever the archive's own idea of holes. */
static int write_block(int fd, const char *data, size_t n, la_int64_t offset, const char *path,
                       struct err *err)
{
        for (size_t at = 0; at < n; at += BLOCK) {
                size_t length = n - at < BLOCK ? n - at : BLOCK;
                int r = is_zero(data + at, length)
                                ? 0
                                : write_at(fd, data + at, length, offset + (la_int64_t) at, path, err);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int copy_data(struct unpacking *unpacking, int fd, la_int64_t size, const char *path, struct err *err)
{
        const void *block;
        size_t n;
        la_int64_t offset;
        int got, r = 0;

        while (r == 0 &&
               (got = archive_read_data_block(unpacking->archive, &block, &n, &offset)) == ARCHIVE_OK) {
                if (offset < 0 || offset > size || (la_int64_t) n > size - offset)
                        return refuse(path, "has more content than it says", err);
                r = write_block(fd, block, n, offset, path, err);
                if (r == 0)
                        r = report(unpacking, err);
        }
        if (r < 0)
                return r;
        if (got != ARCHIVE_EOF)
                return damaged(unpacking->archive, err);
        return ftruncate(fd, size) < 0 ? err_errno(err, "bundle.unpack", "set the size of '%s'", path) : 0;
}

static int unpack_file(struct unpacking *unpacking, const char *name, la_int64_t size, struct err *err)
{
        scoped_free char *path = xasprintf("%s/%s", unpacking->folder, name), *parent = xstrdup(path);
        scoped_close int fd = FD_NONE;
        int r;

        if (size < 0 || (uint64_t) size > unpacking->max - unpacking->n)
                return err_set(err, EFBIG, "bundle.unpack",
                               "the bundle unpacks to more than the cap of %" PRIu64 " bytes",
                               unpacking->max);
        unpacking->n += (uint64_t) size;
        *strrchr(parent, '/') = '\0';
        r = file_make_folders(parent, 0700, err);
        if (r < 0)
                return r;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return errno == EEXIST ? refuse(name, "is in it twice", err)
                                       : err_errno(err, "bundle.unpack", "create '%s'", path);
        return copy_data(unpacking, fd, size, path, err);
}

static int unpack_entry(struct unpacking *unpacking, struct archive_entry *entry, struct err *err)
{
        const char *name = archive_entry_pathname(entry);
        bool is_folder = archive_entry_filetype(entry) == AE_IFDIR;
        scoped_free char *plain = NULL;
        int at;

        while (name && name[0] == '.' && name[1] == '/')
                name += 2;
        if (name && is_folder && (strcmp(name, ".") == 0 || name[0] == '\0'))
                return 0; /* the folder that it was made of */
        if (!name || !path_is_plain(name))
                return refuse(name, "leads out of it", err);
        if (!is_folder && (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)))
                return refuse(name, "is not a regular file", err);
        plain = xstrdup(name);
        while (text_ends_with(plain, "/"))
                plain[strlen(plain) - 1] = '\0';
        at = find_entry(unpacking->entries, plain, is_folder);
        if (at < 0)
                return refuse(name, "does not belong in it", err);
        if (++unpacking->n_files > N_FILES_MAX)
                return refuse(name, "is one file too many", err);
        if (is_folder)
                return 0; /* made when a file in it comes */
        unpacking->seen[at] = true;
        return unpack_file(unpacking, plain, archive_entry_size(entry), err);
}

static int unpack_all(struct unpacking *unpacking, struct err *err)
{
        struct archive_entry *entry;
        int got, r;

        while ((got = archive_read_next_header(unpacking->archive, &entry)) == ARCHIVE_OK) {
                r = unpack_entry(unpacking, entry, err);
                if (r < 0)
                        return r;
        }
        if (got != ARCHIVE_EOF)
                return damaged(unpacking->archive, err);
        for (unsigned i = 0; unpacking->entries[i].name; i++)
                if (unpacking->entries[i].is_required && !unpacking->seen[i])
                        return refuse(unpacking->entries[i].name, "is missing", err);
        return 0;
}

int bundle_unpack(int fd, const char *folder, const struct bundle_entry *entries, uint64_t max,
                  const struct bundle_progress *progress, struct err *err)
{
        scoped(reader_free) struct archive *archive = archive_read_new();
        struct unpacking unpacking = {
                .entries = entries, .progress = progress, .folder = folder, .archive = archive, .max = max
        };
        struct stat status;

        if (!archive)
                return err_set(err, ENOMEM, "bundle.unpack", "out of memory");
        if (fstat(fd, &status) == 0)
                unpacking.total_packed = (uint64_t) status.st_size;
        (void) archive_read_support_filter_zstd(archive);
        (void) archive_read_support_format_tar(archive);
        if (archive_read_open_fd(archive, fd, BLOCK) != ARCHIVE_OK)
                return damaged(archive, err);
        return unpack_all(&unpacking, err);
}
