#include "image/oci/oci_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "image/oci/oci_http.h"

#define OP         "image.archive"
#define READ_SIZE  ((size_t) 256 << 10)
#define LINKS_MAX  8
#define COPIED_MAX OCI_LAYER_SIZE_MAX

static void archive_free_at_scope_end(struct archive **archive)
{
        if (*archive)
                (void) archive_read_free(*archive);
}

static int archive_failure(struct archive *archive, const char *what, struct err *err)
{
        const char *said = archive ? archive_error_string(archive) : NULL;
        char shown[200];

        oci_http_show(said ? said : "no reason given", shown, sizeof(shown));
        return err_set(err, EBADMSG, OP, "%s cannot be read: %s", what, shown);
}

/* A tar that begins with a name, in a file that can be read anywhere, is used as it is. */
static bool is_usable(int fd)
{
        static const struct {
                const char *magic;
                size_t n;
        } compressed[] = {
                {"\x1f\x8b",               2},
                { "\x28\xb5\x2f\xfd",      4},
                { "\xfd"
                  "7zXZ", 5},
                { "BZh",                   3},
        };
        char head[8] = "";
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || lseek(fd, 0, SEEK_CUR) != 0 ||
            pread(fd, head, sizeof(head), 0) < 0)
                return false;
        for (size_t i = 0; i < sizeof(compressed) / sizeof(compressed[0]); i++)
                if (memcmp(head, compressed[i].magic, compressed[i].n) == 0)
                        return false;
        return true;
}

static int copy_all(struct archive *from, int to, const char *what, struct err *err)
{
        uint64_t total = 0;

        for (;;) {
                const void *data;
                size_t n;
                la_int64_t offset;
                int r = archive_read_data_block(from, &data, &n, &offset);

                if (r == ARCHIVE_EOF)
                        return 0;
                if (r != ARCHIVE_OK)
                        return archive_failure(from, what, err);
                total += n;
                if (total > COPIED_MAX)
                        return err_set(err, E2BIG, OP, "%s unpacks to more than %llu bytes", what,
                                       (unsigned long long) COPIED_MAX);
                r = fd_write_full(to, data, n);
                if (r < 0)
                        return err_set(err, -r, OP, "copy %s: %s", what, strerror(-r));
        }
}

/* Through libarchive's filters, as one stream, into a file without a name. */
static int copy_plain(int fd, const char *what, const struct oci_cache *cache, struct err *err)
{
        __attribute__((__cleanup__(archive_free_at_scope_end))) struct archive *archive = archive_read_new();
        scoped_close int copy = oci_cache_begin(cache, err);
        struct archive_entry *entry;
        int r;

        if (copy < 0)
                return copy;
        if (!archive || archive_read_support_filter_all(archive) < ARCHIVE_WARN ||
            archive_read_support_format_raw(archive) != ARCHIVE_OK ||
            archive_read_open_fd(archive, fd, READ_SIZE) != ARCHIVE_OK ||
            archive_read_next_header(archive, &entry) != ARCHIVE_OK)
                return archive_failure(archive, what, err);
        r = copy_all(archive, copy, what, err);
        return r < 0 ? r : take_fd(&copy);
}

static int add(struct oci_archive *archive, struct archive *reader, struct archive_entry *entry,
               const char *what, struct err *err)
{
        const char *name = archive_entry_pathname(entry);
        bool is_link = archive_entry_filetype(entry) == AE_IFLNK;
        struct oci_archive_entry *added;

        if (!name || (archive_entry_filetype(entry) != AE_IFREG && !is_link) || archive_entry_hardlink(entry))
                return 0;
        if (archive_entry_sparse_count(entry) > 0)
                return err_set(err, EBADMSG, OP, "%s has files with holes, as no image's archive has", what);
        if (archive->n_entries == OCI_ARCHIVE_ENTRIES_MAX)
                return err_set(err, E2BIG, OP, "%s has more than %u files", what, OCI_ARCHIVE_ENTRIES_MAX);
        if (archive->n_entries == archive->capacity) {
                archive->capacity = archive->capacity ? 2 * archive->capacity : 64;
                archive->entries = xrealloc(archive->entries, archive->capacity * sizeof(*archive->entries));
        }
        added = &archive->entries[archive->n_entries++];
        *added = (struct oci_archive_entry){
                .name = xstrdup(text_starts_with(name, "./") ? name + 2 : name),
                .target = is_link ? xstrdup(archive_entry_symlink(entry) ? archive_entry_symlink(entry) : "")
                                  : NULL,
                /* what was read of the stream ends with this entry's header: here its content begins */
                .offset = (uint64_t) archive_filter_bytes(reader, 0),
                .size = (uint64_t) archive_entry_size(entry),
        };
        return 0;
}

static int read_headers(struct oci_archive *archive, const char *what, struct err *err)
{
        __attribute__((__cleanup__(archive_free_at_scope_end))) struct archive *reader = archive_read_new();
        struct archive_entry *entry;
        struct stat st;
        int r = 0, got;

        if (!reader || archive_read_support_format_tar(reader) != ARCHIVE_OK ||
            archive_read_open_fd(reader, archive->fd, READ_SIZE) != ARCHIVE_OK)
                return archive_failure(reader, what, err);
        while (r == 0 &&
               ((got = archive_read_next_header(reader, &entry)) == ARCHIVE_OK || got == ARCHIVE_WARN))
                r = add(archive, reader, entry, what, err);
        if (r == 0 && got != ARCHIVE_EOF)
                r = archive_failure(reader, what, err);
        if (r == 0 && fstat(archive->fd, &st) < 0)
                r = err_errno(err, OP, "%s", what);
        for (unsigned i = 0; r == 0 && i < archive->n_entries; i++)
                if (archive->entries[i].offset + archive->entries[i].size > (uint64_t) st.st_size)
                        r = err_set(err, EBADMSG, OP, "%s ends in the middle of a file", what);
        return r;
}

int oci_archive_open(int owned_fd, const char *what, const struct oci_cache *cache,
                     struct oci_archive *ret_archive, struct err *err)
{
        struct oci_archive archive = { .fd = owned_fd };
        int r = 0;

        if (!is_usable(archive.fd)) {
                int copy = copy_plain(archive.fd, what, cache, err);

                (void) close(archive.fd);
                archive.fd = copy;
                r = copy < 0 ? copy : lseek(copy, 0, SEEK_SET) < 0 ? err_errno(err, OP, "%s", what) : 0;
        }
        if (r == 0)
                r = read_headers(&archive, what, err);
        if (r < 0) {
                oci_archive_done(&archive);
                return r;
        }
        *ret_archive = archive;
        return 0;
}

void oci_archive_done(struct oci_archive *archive)
{
        for (unsigned i = 0; i < archive->n_entries; i++) {
                free(archive->entries[i].name);
                free(archive->entries[i].target);
        }
        free(archive->entries);
        close_at_scope_end(&archive->fd);
        *archive = (struct oci_archive){ .fd = FD_NONE };
}

static const struct oci_archive_entry *find_name(const struct oci_archive *archive, const char *name)
{
        for (unsigned i = archive->n_entries; i > 0; i--) /* the last of a name counts, tar(5) */
                if (strcmp(archive->entries[i - 1].name, name) == 0)
                        return &archive->entries[i - 1];
        return NULL;
}

/* "a/layer.tar" -> "../b/layer.tar" is "b/layer.tar". */
static char *follow(const struct oci_archive_entry *link)
{
        scoped_free char *folder = xstrdup(link->name);
        const char *target = link->target;

        for (;;) {
                char *slash = strrchr(folder, '/');

                folder[slash ? slash - folder : 0] = '\0';
                if (!text_starts_with(target, "../"))
                        return *folder != '\0' ? xasprintf("%s/%s", folder, target) : xstrdup(target);
                target += 3;
        }
}

const struct oci_archive_entry *oci_archive_find(const struct oci_archive *archive, const char *name)
{
        const struct oci_archive_entry *entry = find_name(archive, name);

        for (int i = 0; entry && entry->target && i < LINKS_MAX; i++) {
                scoped_free char *next = follow(entry);

                entry = find_name(archive, next);
        }
        return entry && !entry->target ? entry : NULL;
}
