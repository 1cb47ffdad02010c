/*
 * A header is one block of text fields (POSIX.1-2017 pax, "ustar Interchange Format"). Extended headers before it say
 * what those fields cannot hold: pax ones ("x") as records "<length> <key>=<value>\n", GNU ones ("L", "K") as a bare name.
 */
#include "tar/tar_header.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/text.h"

#define OP_TAR       "tar.read"
#define XATTR_PREFIX "SCHILY.xattr." /* star(1), as GNU tar and libarchive write it */
#define EXTENDED_MAX \
        16 /* extended headers before one entry: more than that is not an archive somebody made */
#define NS_DIGITS 9

struct header {
        uint8_t name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
        uint8_t type;
        uint8_t link[100], magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155],
                padding[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is a block");

/* What extended headers have said about the entry that follows. */
struct extended {
        bool has_path, has_link, has_size, has_mtime, has_sparse_name, has_real_size;
        uint64_t sparse_major, sparse_minor; /* UINT64_MAX: not said */
};

static int malformed(const char *what, struct err *err)
{
        return err_set(err, EBADMSG, OP_TAR, "the stream is not a tar archive (%s)", what);
}

unsigned tar_checksum(const uint8_t block[TAR_BLOCK])
{
        const size_t from = offsetof(struct header, checksum);
        unsigned sum = 0;

        for (size_t i = 0; i < TAR_BLOCK; i++)
                sum += i >= from && i < from + 8 ? ' ' : block[i];
        return sum;
}

/* Octal digits among blanks, or GNU's base 256 where the first bit is set. Negative ones do not come from us. */
static int parse_number(const uint8_t *field, size_t n, uint64_t *ret_value)
{
        uint64_t value = 0;
        size_t i = 0;

        if ((field[0] & 0x80U) != 0) {
                value = field[0] & 0x7fU;
                for (i = 1; i < n; i++) {
                        if (value >> 55)
                                return -EBADMSG;
                        value = value << 8 | field[i];
                }
                *ret_value = value;
                return 0;
        }
        while (i < n && field[i] == ' ')
                i++;
        for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
                value = value << 3 | (uint64_t) (field[i] - '0');
        for (; i < n; i++)
                if (field[i] != ' ' && field[i] != '\0')
                        return -EBADMSG;
        *ret_value = value;
        return 0;
}

/* "1700000000.123456789"; pax allows a sign and any number of digits behind the point. */
static int parse_time(const char *text, struct timespec *ret_time)
{
        bool negative = *text == '-';
        uint64_t seconds = 0;
        long ns = 0;
        int digits = 0;

        text += negative;
        if (*text < '0' || *text > '9')
                return -EBADMSG;
        for (; *text >= '0' && *text <= '9'; text++) {
                if (seconds > (UINT64_C(1) << 48))
                        return -EBADMSG;
                seconds = seconds * 10 + (uint64_t) (*text - '0');
        }
        if (*text == '.')
                for (text++; *text >= '0' && *text <= '9'; text++)
                        if (digits++ < NS_DIGITS)
                                ns = ns * 10 + (*text - '0');
        for (; digits < NS_DIGITS; digits++)
                ns *= 10;
        if (*text != '\0')
                return -EBADMSG;
        ret_time->tv_sec = negative ? -(time_t) seconds : (time_t) seconds;
        ret_time->tv_nsec = ns;
        if (negative && ns > 0) { /* -1.25 s is 0.75 s after -2 s */
                ret_time->tv_sec--;
                ret_time->tv_nsec = 1000000000L - ns;
        }
        return 0;
}

static int set_name(char out[TAR_PATH_MAX], const char *value, size_t n)
{
        if (n == 0 || n >= TAR_PATH_MAX || memchr(value, '\0', n))
                return -EBADMSG;
        memcpy(out, value, n);
        out[n] = '\0';
        return 0;
}

static int take_xattr(const char *name, const char *value, size_t n, struct tar_entry *entry)
{
        uint32_t length = (uint32_t) n;

        /* others need rights that neither side has, or would give rights that nobody meant to give (capabilities) */
        if (!text_starts_with(name, "user."))
                return 0;
        if (entry->xattrs.n + strlen(name) + 1 + sizeof(length) + n > TAR_XATTRS_MAX)
                return -EBADMSG;
        text_append_bytes(&entry->xattrs, name, strlen(name) + 1);
        text_append_bytes(&entry->xattrs, &length, sizeof(length));
        text_append_bytes(&entry->xattrs, value, n);
        return 0;
}

/* GNU tar manual, "PAX Format, Version 1.0". */
static int take_sparse(const char *key, const char *value, size_t n, struct tar_entry *entry,
                       struct extended *extended)
{
        if (strcmp(key, "major") == 0)
                return text_parse_u64(value, UINT32_MAX, &extended->sparse_major) < 0 ? -EBADMSG : 0;
        if (strcmp(key, "minor") == 0)
                return text_parse_u64(value, UINT32_MAX, &extended->sparse_minor) < 0 ? -EBADMSG : 0;
        if (strcmp(key, "realsize") == 0) {
                extended->has_real_size = true;
                return text_parse_u64(value, INT64_MAX, &entry->real_size) < 0 ? -EBADMSG : 0;
        }
        if (strcmp(key, "name") == 0) {
                extended->has_path = extended->has_sparse_name = true;
                return set_name(entry->path, value, n);
        }
        return -ENOTSUP; /* the forms 0.0 and 0.1 */
}

/* One record's value is NUL-terminated at value[n]. */
static int take_record(const char *key, const char *value, size_t n, struct tar_entry *entry,
                       struct extended *extended)
{
        if (strcmp(key, "path") == 0) {
                extended->has_path = true;
                return extended->has_sparse_name ? 0 : set_name(entry->path, value, n);
        }
        if (strcmp(key, "linkpath") == 0) {
                extended->has_link = true;
                return set_name(entry->link, value, n);
        }
        if (strcmp(key, "size") == 0) {
                extended->has_size = true;
                return text_parse_u64(value, INT64_MAX, &entry->size) < 0 ? -EBADMSG : 0;
        }
        if (strcmp(key, "mtime") == 0) {
                extended->has_mtime = true;
                return parse_time(value, &entry->mtime);
        }
        if (text_starts_with(key, "GNU.sparse."))
                return take_sparse(key + strlen("GNU.sparse."), value, n, entry, extended);
        if (text_starts_with(key, XATTR_PREFIX))
                return take_xattr(key + strlen(XATTR_PREFIX), value, n, entry);
        return 0; /* owners, access times: what arrives belongs to whoever unpacks */
}

static int parse_pax(char *text, size_t n, struct tar_entry *entry, struct extended *extended)
{
        char *at = text, *end = text + n;

        while (at < end) {
                char *blank = memchr(at, ' ', (size_t) (end - at)), *equals, *start = at;
                uint64_t length;
                int r;

                if (!blank)
                        return -EBADMSG;
                *blank = '\0';
                if (text_parse_u64(start, n, &length) < 0 || length > (uint64_t) (end - start) ||
                    length < (uint64_t) (blank - start) + 3 || start[length - 1] != '\n')
                        return -EBADMSG;
                at = start + length;
                equals = memchr(blank + 1, '=', (size_t) (at - blank - 1));
                if (!equals)
                        return -EBADMSG;
                *equals = '\0';
                at[-1] = '\0';
                r = take_record(blank + 1, equals + 1, (size_t) (at - 1 - (equals + 1)), entry, extended);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_extended(const struct tar_source *source, uint8_t type, uint64_t size,
                         struct tar_entry *entry, struct extended *extended)
{
        scoped_free char *text = NULL;
        size_t n = (size_t) size;
        int r;

        if (size > TAR_PAX_MAX)
                return -EBADMSG;
        text = xmalloc(n + TAR_BLOCK);
        r = n > 0 ? source->read(source->context, text, n + tar_padding(n)) : 0;
        if (r < 0)
                return r == -ENODATA ? -EBADMSG : r;
        text[n] = '\0';
        if (type == 'x')
                return parse_pax(text, n, entry, extended);
        if (type == 'g') /* git puts the commit's id there; nothing in it concerns an entry */
                return 0;
        n = strlen(text);
        if (type == 'L') {
                extended->has_path = true;
                return set_name(entry->path, text, n);
        }
        extended->has_link = true;
        return set_name(entry->link, text, n);
}

static size_t field_length(const uint8_t *field, size_t max)
{
        const uint8_t *nul = memchr(field, '\0', max);

        return nul ? (size_t) (nul - field) : max;
}

/* prefix "/" name, where the header is a ustar one (GNU's own format uses the prefix field for other things). */
static int take_name(const struct header *header, char out[TAR_PATH_MAX])
{
        size_t n = field_length(header->name, sizeof(header->name));
        size_t n_prefix = memcmp(header->magic, "ustar\0", 6) == 0
                                  ? field_length(header->prefix, sizeof(header->prefix))
                                  : 0;

        if (n == 0)
                return -EBADMSG;
        if (n_prefix > 0) {
                memcpy(out, header->prefix, n_prefix);
                out[n_prefix++] = '/';
        }
        memcpy(out + n_prefix, header->name, n);
        out[n_prefix + n] = '\0';
        return 0;
}

static int take_type(uint8_t type, struct tar_entry *entry)
{
        size_t n = strlen(entry->path);

        switch (type) {
        case '\0':
        case '0':
        case '7':
                /* Before POSIX a folder was a file whose name ends so. */
                entry->type = n > 0 && entry->path[n - 1] == '/' ? TAR_FOLDER : TAR_FILE;
                break;
        case '1':
                entry->type = TAR_HARD_LINK;
                break;
        case '2':
                entry->type = TAR_SYMLINK;
                break;
        case '5':
                entry->type = TAR_FOLDER;
                break;
        case '6':
                entry->type = TAR_FIFO;
                break;
        default:
                return -ENOTSUP;
        }
        if (entry->type != TAR_FILE)
                entry->size = 0;
        return 0;
}

static int check_sparse(const struct extended *extended, struct tar_entry *entry)
{
        if (extended->sparse_major == UINT64_MAX && extended->sparse_minor == UINT64_MAX)
                return extended->has_sparse_name || extended->has_real_size ? -ENOTSUP : 0;
        if (extended->sparse_major != 1 || extended->sparse_minor != 0 || !extended->has_real_size ||
            entry->type != TAR_FILE)
                return -ENOTSUP;
        entry->sparse = true;
        return 0;
}

static int take_fields(const struct header *header, struct tar_entry *entry, const struct extended *extended)
{
        uint64_t mode, size, mtime;
        int r = parse_number(header->mode, sizeof(header->mode), &mode);

        if (r == 0)
                r = parse_number(header->size, sizeof(header->size), &size);
        if (r == 0)
                r = parse_number(header->mtime, sizeof(header->mtime), &mtime);
        if (r == 0 && !extended->has_path)
                r = take_name(header, entry->path);
        if (r < 0)
                return r;
        entry->mode = (mode_t) (mode & 07777);
        if (!extended->has_size)
                entry->size = size;
        if (!extended->has_mtime)
                entry->mtime = (struct timespec){ .tv_sec = (time_t) mtime };
        if (!extended->has_link) {
                size_t n = field_length(header->link, sizeof(header->link));

                memcpy(entry->link, header->link, n);
                entry->link[n] = '\0';
        }
        if (entry->size > INT64_MAX)
                return -EBADMSG;
        r = take_type(header->type, entry);
        return r < 0 ? r : check_sparse(extended, entry);
}

static bool is_empty(const uint8_t *block)
{
        return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

/* 1 with a header whose checksum holds, 0 at the end. */
static int read_header(const struct tar_source *source, struct header *header, struct err *err)
{
        int r = source->read(source->context, header, sizeof(*header));
        uint64_t sum;

        if (r == -ENODATA) /* some writers leave out the blocks of zeros at the end */
                return 0;
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_TAR, "read the tar stream");
        }
        if (is_empty((const uint8_t *) header))
                return 0;
        if (parse_number(header->checksum, sizeof(header->checksum), &sum) < 0 ||
            sum != tar_checksum((const uint8_t *) header))
                return malformed("a header's checksum is wrong", err);
        return 1;
}

void tar_entry_done(struct tar_entry *entry)
{
        text_done(&entry->xattrs);
        entry->path[0] = entry->link[0] = '\0';
        entry->sparse = false;
        entry->real_size = 0;
}

int tar_next(const struct tar_source *source, struct tar_entry *ret_entry, struct err *err)
{
        struct extended extended = { .sparse_major = UINT64_MAX, .sparse_minor = UINT64_MAX };
        struct header header;

        tar_entry_done(ret_entry);
        for (int i = 0; i < EXTENDED_MAX; i++) {
                uint64_t size;
                int r = read_header(source, &header, err);

                if (r <= 0)
                        return r == 0 && i > 0 ? malformed("it ends behind an extended header", err) : r;
                if (header.type != 'x' && header.type != 'g' && header.type != 'L' && header.type != 'K') {
                        r = take_fields(&header, ret_entry, &extended);
                        if (r == -ENOTSUP)
                                return err_set(
                                        err, ENOTSUP, OP_TAR,
                                        "'%.200s' is neither file, folder, link nor pipe, or a file in "
                                        "an old sparse form",
                                        ret_entry->path);
                        return r < 0 ? malformed("a header's fields", err) : 1;
                }
                r = parse_number(header.size, sizeof(header.size), &size);
                if (r == 0)
                        r = read_extended(source, header.type, size, ret_entry, &extended);
                if (r == -ENOTSUP)
                        return err_set(err, ENOTSUP, OP_TAR,
                                       "a sparse file in a form before GNU's 1.0 is not supported");
                if (r < 0)
                        return malformed("an extended header", err);
        }
        return malformed("too many extended headers", err);
}
