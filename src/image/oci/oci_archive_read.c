#include "image/oci/oci_archive_read.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/size.h"
#include "base/text.h"
#include "image/oci/oci_confine.h"
#include "image/oci/oci_http.h"

#define OP         "image.archive"
#define READ_SIZE  ((size_t) 256 << 10)
#define COPIED_MAX OCI_LAYER_SIZE_MAX
#define MEMORY_MAX (256 * MIB) /* the largest window of libarchive's zstd takes 128 MiB, of xz -9 64 MiB */

struct input {
        int fd;     /* borrowed */
        char *data; /* owned; READ_SIZE */
};

static void archive_free_at_scope_end(struct archive **archive)
{
        if (*archive)
                (void) archive_read_free(*archive);
}

static la_ssize_t feed(struct archive *archive, void *userdata, const void **ret_data)
{
        struct input *input = userdata;
        ssize_t n;

        do
                n = read(input->fd, input->data, READ_SIZE);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                archive_set_error(archive, errno, "%s", strerror(errno));
        *ret_data = input->data;
        return n < 0 ? ARCHIVE_FATAL : n;
}

/* 0: what cannot be skipped, as in a pipe, is read. */
static la_int64_t skip(struct archive *archive, void *userdata, la_int64_t n)
{
        const struct input *input = userdata;

        (void) archive;
        return lseek(input->fd, n, SEEK_CUR) < 0 ? 0 : n;
}

static int archive_failure(struct archive *archive, const char *what, struct err *err)
{
        const char *said = archive ? archive_error_string(archive) : NULL;
        char shown[200];

        oci_http_show(said ? said : "no reason given", shown, sizeof(shown));
        return err_set(err, EBADMSG, OP, "%s cannot be read: %s", what, shown);
}

static int write_full(int fd, const char *data, size_t n, uint64_t offset)
{
        while (n > 0) {
                ssize_t done = pwrite(fd, data, n, (off_t) offset);

                if (done < 0 && errno != EINTR)
                        return -errno;
                if (done < 0)
                        continue;
                data += done;
                n -= (size_t) done;
                offset += (uint64_t) done;
        }
        return 0;
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
                if (n > COPIED_MAX - total)
                        return err_set(err, E2BIG, OP, "%s unpacks to more than %llu bytes", what,
                                       (unsigned long long) COPIED_MAX);
                r = write_full(to, data, n, total);
                if (r < 0)
                        return err_set(err, -r, OP, "copy %s: %s", what, strerror(-r));
                total += n;
        }
}

/* ARCHIVE_WARN: libarchive was built without it and would run a program of that name. */
static bool support_filters(struct archive *archive)
{
        return archive_read_support_filter_gzip(archive) == ARCHIVE_OK &&
               archive_read_support_filter_bzip2(archive) == ARCHIVE_OK &&
               archive_read_support_filter_xz(archive) == ARCHIVE_OK &&
               archive_read_support_filter_zstd(archive) == ARCHIVE_OK;
}

/* Through libarchive's filters, as one stream. */
static int copy_plain(struct input *input, int copy, const char *what, struct err *err)
{
        __attribute__((__cleanup__(archive_free_at_scope_end))) struct archive *archive = archive_read_new();
        struct archive_entry *entry;

        if (!archive || !support_filters(archive))
                return err_set(err, ENOTSUP, OP, "this libarchive lacks gzip, bzip2, xz or zstd");
        if (archive_read_support_format_raw(archive) != ARCHIVE_OK ||
            archive_read_open2(archive, input, NULL, feed, skip, NULL) != ARCHIVE_OK ||
            archive_read_next_header(archive, &entry) != ARCHIVE_OK)
                return archive_failure(archive, what, err);
        return copy_all(archive, copy, what, err);
}

/* Where it begins in the text; 0: there is no room. */
static uint32_t add_text(struct oci_archive_listing *listing, const char *text)
{
        size_t n = strlen(text) + 1;
        uint32_t at = listing->n_text;

        if (n > OCI_ARCHIVE_TEXT_MAX - at)
                return 0;
        memcpy(listing->text + at, text, n);
        listing->n_text += (uint32_t) n;
        return at;
}

static int add(struct oci_archive_listing *listing, struct archive *reader, struct archive_entry *entry,
               const char *what, struct err *err)
{
        const char *name = archive_entry_pathname(entry), *target = archive_entry_symlink(entry);
        bool is_link = archive_entry_filetype(entry) == AE_IFLNK;
        struct oci_archive_record *record;

        if (!name || (archive_entry_filetype(entry) != AE_IFREG && !is_link) || archive_entry_hardlink(entry))
                return 0;
        if (archive_entry_sparse_count(entry) > 0)
                return err_set(err, EBADMSG, OP, "%s has files with holes, as no image's archive has", what);
        if (listing->n_records == OCI_ARCHIVE_ENTRIES_MAX)
                return err_set(err, E2BIG, OP, "%s has more than %u files", what, OCI_ARCHIVE_ENTRIES_MAX);
        record = &listing->records[listing->n_records++];
        *record = (struct oci_archive_record){
                .name = add_text(listing, text_starts_with(name, "./") ? name + 2 : name),
                .target = is_link ? add_text(listing, target ? target : "") : 0,
                /* what was read of the stream ends with this entry's header: here its content begins */
                .offset = (uint64_t) archive_filter_bytes(reader, 0),
                .size = (uint64_t) archive_entry_size(entry),
        };
        if (record->name == 0 || (is_link && record->target == 0))
                return err_set(err, E2BIG, OP, "%s has more than %u bytes of names", what,
                               OCI_ARCHIVE_TEXT_MAX);
        return 0;
}

static int read_headers(struct input *input, struct oci_archive_listing *listing, const char *what,
                        struct err *err)
{
        __attribute__((__cleanup__(archive_free_at_scope_end))) struct archive *reader = archive_read_new();
        struct archive_entry *entry;
        int r = 0, got = ARCHIVE_OK;

        listing->n_text = 1; /* 0 is no place */
        if (!reader || archive_read_support_format_tar(reader) != ARCHIVE_OK ||
            archive_read_open2(reader, input, NULL, feed, skip, NULL) != ARCHIVE_OK)
                return archive_failure(reader, what, err);
        while (r == 0 &&
               ((got = archive_read_next_header(reader, &entry)) == ARCHIVE_OK || got == ARCHIVE_WARN))
                r = add(listing, reader, entry, what, err);
        return r == 0 && got != ARCHIVE_EOF ? archive_failure(reader, what, err) : r;
}

/* The process. */
static int read_all(int fd, int copy, const char *what, pid_t parent, struct oci_archive_listing *listing,
                    struct err *err)
{
        const struct oci_confine confine = {
                .may_read = true, .may_write = copy >= 0, .memory_max = MEMORY_MAX, .file_max = COPIED_MAX
        };
        struct input input = { .fd = fd, .data = xmalloc(READ_SIZE) };
        int fds[] = { fd, copy };
        int r = oci_confine_begin(fds, copy >= 0 ? 2 : 1, parent, err);

        if (r == 0)
                r = oci_confine_enter(&confine, err);
        if (r == 0 && copy >= 0) {
                r = copy_plain(&input, copy, what, err);
                input.fd = copy;
        }
        if (r == 0)
                r = read_headers(&input, listing, what, err);
        free(input.data);
        return r;
}

static int run(int fd, int copy, const char *what, struct oci_archive_listing *listing, struct err *err)
{
        struct err failure = { 0 };
        pid_t parent = getpid(), pid = fork();
        int status;

        if (pid < 0)
                return err_errno(err, OP, "fork");
        if (pid == 0)
                oci_child_end(&listing->failure, read_all(fd, copy, what, parent, listing, &failure),
                              &failure);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return err_errno(err, OP, "wait for a process");
        return oci_child_judge(&listing->failure, "reads the archive", status, err);
}

int oci_archive_read(int fd, int copy, const char *what, struct oci_archive_listing **ret_listing,
                     struct err *err)
{
        struct oci_archive_listing *listing = mmap(NULL, sizeof(*listing), PROT_READ | PROT_WRITE,
                                                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        int r;

        if (listing == MAP_FAILED)
                return err_errno(err, OP, "memory to share");
        r = run(fd, copy, what, listing, err);
        if (r < 0) {
                oci_archive_listing_free(listing);
                return r;
        }
        *ret_listing = listing;
        return 0;
}

void oci_archive_listing_free(struct oci_archive_listing *listing)
{
        if (listing)
                (void) munmap(listing, sizeof(*listing));
}
