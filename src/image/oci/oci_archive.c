#include "image/oci/oci_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "image/oci/oci_archive_read.h"

#define OP        "image.archive"
#define LINKS_MAX 8

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

static int take_records(struct oci_archive *archive, struct oci_archive_listing *listing, const char *what,
                        struct err *err)
{
        struct stat st;

        if (fstat(archive->fd, &st) < 0)
                return err_errno(err, OP, "%s", what);
        if (listing->n_records > OCI_ARCHIVE_ENTRIES_MAX)
                return err_set(err, EBADMSG, OP, "%s has more files than it can", what);
        listing->text[OCI_ARCHIVE_TEXT_MAX - 1] = '\0';
        archive->entries = xcalloc((size_t) listing->n_records + 1, sizeof(*archive->entries));
        for (uint32_t i = 0; i < listing->n_records; i++) {
                const struct oci_archive_record *record = &listing->records[i];

                if (record->name >= OCI_ARCHIVE_TEXT_MAX || record->target >= OCI_ARCHIVE_TEXT_MAX)
                        return err_set(err, EBADMSG, OP, "%s has a name that is nowhere", what);
                if (record->offset > (uint64_t) st.st_size ||
                    record->size > (uint64_t) st.st_size - record->offset)
                        return err_set(err, EBADMSG, OP, "%s ends in the middle of a file", what);
                archive->entries[archive->n_entries++] = (struct oci_archive_entry){
                        .name = xstrdup(listing->text + record->name),
                        .target = record->target ? xstrdup(listing->text + record->target) : NULL,
                        .offset = record->offset,
                        .size = record->size,
                };
        }
        return 0;
}

static int read_archive(struct oci_archive *archive, const char *what, const struct oci_cache *cache,
                        struct err *err)
{
        scoped(oci_archive_listing_free) struct oci_archive_listing *listing = NULL;
        bool is_plain = is_usable(archive->fd);
        scoped_close int copy = is_plain ? FD_NONE : oci_cache_begin(cache, err);
        int r;

        if (!is_plain && copy < 0)
                return copy;
        r = oci_archive_read(archive->fd, copy, what, &listing, err);
        if (r < 0)
                return r;
        if (!is_plain) {
                (void) close(archive->fd);
                archive->fd = take_fd(&copy);
        }
        return take_records(archive, listing, what, err);
}

int oci_archive_open(int owned_fd, const char *what, const struct oci_cache *cache,
                     struct oci_archive *ret_archive, struct err *err)
{
        struct oci_archive archive = { .fd = owned_fd };
        int r = read_archive(&archive, what, cache, err);

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
