/* A walk through descriptors, a folder at a time; the buffer collects until it is a chunk. */
#include "tar/tar_pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/text.h"
#include "tar/tar_sparse.h"

#define OP_TAR       "tar.pack"
#define DEPTH_MAX    256
#define LINKS_MAX    (1U << 20)
#define SPARSE_NAME  "GNUSparseFile.0/file" /* what a reader that does not know the form would make of it */
#define XATTR_PREFIX "SCHILY.xattr."
#define SIZE_MAX_    UINT64_C(077777777777) /* what eleven octal digits hold */

struct tar_link {
        dev_t device;
        ino_t inode;
        char *path; /* owned */
};

static int packing_flush(struct tar_pack *packing)
{
        size_t n = packing->n;

        packing->n = 0;
        return n > 0 ? packing->sink->write(packing->sink->context, packing->buffer, n) : 0;
}

static int packing_write(struct tar_pack *packing, const void *data, size_t n)
{
        for (size_t done = 0; done < n;) {
                size_t part = n - done, room = sizeof(packing->buffer) - packing->n;
                int r;

                if (part > room)
                        part = room;
                memcpy(packing->buffer + packing->n, (const uint8_t *) data + done, part);
                packing->n += part;
                done += part;
                r = packing->n == sizeof(packing->buffer) ? packing_flush(packing) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int packing_pad(struct tar_pack *packing, uint64_t n)
{
        static const uint8_t zeros[TAR_BLOCK];

        return packing_write(packing, zeros, tar_padding(n));
}

/* "<length> <key>=<value>\n", where the length counts its own digits. */
static void append_bytes(struct text *records, const char *key, const void *value, size_t n)
{
        size_t rest = strlen(key) + n + 3, length = rest + 1;

        for (;;) {
                size_t with = rest + (size_t) snprintf(NULL, 0, "%zu", length);

                if (with == length)
                        break;
                length = with;
        }
        text_appendf(records, "%zu %s=", length, key);
        text_append_bytes(records, value, n);
        text_append(records, "\n");
}

static void append_record(struct text *records, const char *key, const char *value)
{
        append_bytes(records, key, value, strlen(value));
}

static void append_number(struct text *records, const char *key, uint64_t value)
{
        char number[24];

        (void) snprintf(number, sizeof(number), "%llu", (unsigned long long) value);
        append_record(records, key, number);
}

/* Only "user." ones: others mean something on this system alone. What cannot be read is left out. */
static void append_xattrs(struct text *records, int fd)
{
        char names[4096], value[4096];
        ssize_t n = flistxattr(fd, names, sizeof(names));

        for (ssize_t at = 0; at < n; at += (ssize_t) strlen(names + at) + 1) {
                scoped_free char *key = xasprintf(XATTR_PREFIX "%s", names + at);
                ssize_t got = text_starts_with(names + at, "user.")
                                      ? fgetxattr(fd, names + at, value, sizeof(value))
                                      : -1;

                if (got >= 0)
                        append_bytes(records, key, value, (size_t) got);
        }
}

/* The fields' offsets are those of POSIX.1-2017 pax, "ustar Interchange Format". */
static void fill_header(uint8_t block[TAR_BLOCK], const char *name, const struct stat *st, char type,
                        uint64_t size)
{
        uint64_t mtime = st->st_mtim.tv_sec > 0 ? (uint64_t) st->st_mtim.tv_sec : 0;

        memset(block, 0, TAR_BLOCK);
        memcpy(block, name, strnlen(name, 100));
        (void) snprintf((char *) block + 100, 8, "%07o", (unsigned) (st->st_mode & 07777));
        (void) snprintf((char *) block + 108, 8, "%07o", st->st_uid <= 07777777 ? st->st_uid : 0);
        (void) snprintf((char *) block + 116, 8, "%07o", st->st_gid <= 07777777 ? st->st_gid : 0);
        (void) snprintf((char *) block + 124, 12, "%011llo",
                        (unsigned long long) (size <= SIZE_MAX_ ? size : 0));
        (void) snprintf((char *) block + 136, 12, "%011llo",
                        (unsigned long long) (mtime <= SIZE_MAX_ ? mtime : SIZE_MAX_));
        block[156] = (uint8_t) type;
        memcpy(block + 257,
               "ustar\0"
               "00",
               8);
}

static void seal_header(uint8_t block[TAR_BLOCK])
{
        (void) snprintf((char *) block + 148, 8, "%06o", tar_checksum(block));
        block[155] = ' ';
}

static int write_pax(struct tar_pack *packing, const struct text *records, const struct stat *st)
{
        uint8_t block[TAR_BLOCK];
        struct stat plain = { .st_mode = 0644, .st_mtim = st->st_mtim };
        int r;

        fill_header(block, "pax", &plain, 'x', records->n);
        seal_header(block);
        r = packing_write(packing, block, sizeof(block));
        if (r == 0)
                r = packing_write(packing, records->s, records->n);
        return r < 0 ? r : packing_pad(packing, records->n);
}

/* What becomes one header, with its records. */
struct header_of {
        const char *path, *link;
        const struct stat *st;
        char type;
        uint64_t size; /* of the content in the stream */
        const struct tar_map *map;
        int xattrs_fd; /* FD_NONE: none are looked for */
};

static void append_sparse(struct text *records, const struct header_of *of)
{
        append_record(records, "GNU.sparse.major", "1");
        append_record(records, "GNU.sparse.minor", "0");
        append_record(records, "GNU.sparse.name", of->path);
        append_number(records, "GNU.sparse.realsize", (uint64_t) of->st->st_size);
}

static void append_records(struct text *records, const struct header_of *of)
{
        const struct timespec *mtime = &of->st->st_mtim;
        char number[64];

        if (of->map)
                append_sparse(records, of);
        else if (strlen(of->path) > 100)
                append_record(records, "path", of->path);
        if (strlen(of->link) > 100)
                append_record(records, "linkpath", of->link);
        if (of->size > SIZE_MAX_)
                append_number(records, "size", of->size);
        if (mtime->tv_nsec != 0 && mtime->tv_sec >= 0) {
                (void) snprintf(number, sizeof(number), "%lld.%09ld", (long long) mtime->tv_sec,
                                mtime->tv_nsec);
                append_record(records, "mtime", number);
        }
        if (of->xattrs_fd >= 0)
                append_xattrs(records, of->xattrs_fd);
}

static int write_header(struct tar_pack *packing, const struct header_of *of)
{
        const char *name = of->map ? SPARSE_NAME : of->path;
        scoped_text struct text records = { 0 };
        uint8_t block[TAR_BLOCK];
        int r = 0;

        append_records(&records, of);
        if (records.n > 0)
                r = write_pax(packing, &records, of->st);
        if (r < 0)
                return r;
        packing->n_entries++;
        fill_header(block, name, of->st, of->type, of->size);
        memcpy(block + 157, of->link, strnlen(of->link, 100));
        seal_header(block);
        return packing_write(packing, block, sizeof(block));
}

/* Straight into the buffer; exactly as much as was promised: a file that shrinks meanwhile ends in zeros. */
static int write_piece(struct tar_pack *packing, int fd, uint64_t size)
{
        for (uint64_t left = size; left > 0;) {
                size_t room = sizeof(packing->buffer) - packing->n, n = left < room ? (size_t) left : room;
                ssize_t got = read(fd, packing->buffer + packing->n, n);
                int r;

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0) {
                        memset(packing->buffer + packing->n, 0, n);
                        got = (ssize_t) n;
                }
                packing->n += (size_t) got;
                packing->n_bytes += (uint64_t) got;
                left -= (uint64_t) got;
                r = packing->n == sizeof(packing->buffer) ? packing_flush(packing) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int write_sparse(struct tar_pack *packing, int fd, const struct tar_map *map, const struct text *text)
{
        int r = packing_write(packing, text->s, text->n);

        for (size_t i = 0; r == 0 && i < map->n; i++)
                r = lseek(fd, (off_t) map->pieces[i].offset, SEEK_SET) < 0
                            ? -errno
                            : write_piece(packing, fd, map->pieces[i].n);
        return r;
}

/* The first name of a file that has several; NULL: this is it, and is noted. */
static const char *first_name(struct tar_pack *packing, const struct stat *st, const char *path)
{
        for (size_t i = 0; i < packing->n_links; i++)
                if (packing->links[i].inode == st->st_ino && packing->links[i].device == st->st_dev)
                        return packing->links[i].path;
        if (packing->n_links == LINKS_MAX)
                return NULL;
        if (packing->n_links == packing->links_capacity) {
                packing->links_capacity = packing->links_capacity * 2 + 64;
                packing->links = xrealloc(packing->links, packing->links_capacity * sizeof(*packing->links));
        }
        packing->links[packing->n_links++] = (struct tar_link){ st->st_dev, st->st_ino, xstrdup(path) };
        return NULL;
}

static int pack_content(struct tar_pack *packing, int fd, const char *path, const struct stat *st)
{
        scoped(tar_map_done) struct tar_map map = { 0 };
        scoped_text struct text text = { 0 };
        struct header_of of = { .path = path,
                                .link = "",
                                .st = st,
                                .type = '0',
                                .size = (uint64_t) st->st_size,
                                .xattrs_fd = fd };
        int r;

        if ((uint64_t) st->st_blocks * 512 < (uint64_t) st->st_size && tar_map_find(fd, of.size, &map)) {
                tar_map_write(&map, &text);
                of.map = &map;
                of.size = text.n + map.n_data;
        }
        r = write_header(packing, &of);
        if (r == 0 && of.map)
                r = write_sparse(packing, fd, &map, &text);
        else if (r == 0)
                r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : write_piece(packing, fd, of.size);
        return r < 0 ? r : packing_pad(packing, of.size);
}

static int pack_file(struct tar_pack *packing, int at, const char *name, const char *path)
{
        scoped_close int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOATIME);
        const char *first;
        struct stat st;

        if (fd < 0 && errno == EPERM) /* O_NOATIME is for owners (open(2)) */
                fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode)) /* replaced since it was looked at */
                return 0;
        first = st.st_nlink > 1 ? first_name(packing, &st, path) : NULL;
        if (first)
                return write_header(
                        packing,
                        &(struct header_of){
                                .path = path, .link = first, .st = &st, .type = '1', .xattrs_fd = FD_NONE });
        return pack_content(packing, fd, path, &st);
}

static int pack_symlink(struct tar_pack *packing, int at, const char *name, const char *path,
                        const struct stat *st)
{
        char link[TAR_PATH_MAX];
        ssize_t n = readlinkat(at, name, link, sizeof(link) - 1);

        if (n < 0)
                return -errno;
        link[n] = '\0';
        return write_header(
                packing, &(struct header_of){
                                 .path = path, .link = link, .st = st, .type = '2', .xattrs_fd = FD_NONE });
}

static int pack_entry(struct tar_pack *packing, int at, const char *name, const char *path, unsigned depth);

static int pack_members(struct tar_pack *packing, DIR *folder, const char *path, unsigned depth)
{
        const struct dirent *entry;
        int r = 0;

        while (r == 0 && (entry = readdir(folder))) {
                scoped_free char *below = NULL;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                below = xasprintf("%s/%s", path, entry->d_name);
                r = pack_entry(packing, dirfd(folder), entry->d_name, below, depth + 1);
        }
        return r;
}

static int pack_folder(struct tar_pack *packing, int at, const char *name, const char *path, unsigned depth)
{
        scoped_close int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        scoped_free char *with_slash = xasprintf("%s/", path);
        struct stat st;
        DIR *folder;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        r = write_header(
                packing,
                &(struct header_of){
                        .path = with_slash, .link = "", .st = &st, .type = '5', .xattrs_fd = FD_NONE });
        folder = r == 0 ? fdopendir(fd) : NULL;
        if (!folder)
                return r < 0 ? r : -errno;
        (void) take_fd(&fd);
        r = pack_members(packing, folder, path, depth);
        (void) closedir(folder);
        return r;
}

static int pack_kind(struct tar_pack *packing, int at, const char *name, const char *path, unsigned depth)
{
        struct stat st;

        if (depth > DEPTH_MAX)
                return -ELOOP;
        if (strlen(path) + 2 > TAR_PATH_MAX)
                return -ENAMETOOLONG;
        if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return depth > 0 && errno == ENOENT ? 0 : -errno;
        if (depth > 0 && packing->leaves_out && /* path begins with the name of what was named */
            packing->leaves_out(packing->leaves_out_context, strchr(path, '/') + 1, S_ISDIR(st.st_mode)))
                return 0;
        if (S_ISREG(st.st_mode))
                return pack_file(packing, at, name, path);
        if (S_ISDIR(st.st_mode))
                return pack_folder(packing, at, name, path, depth);
        if (S_ISLNK(st.st_mode))
                return pack_symlink(packing, at, name, path, &st);
        if (S_ISFIFO(st.st_mode))
                return write_header(
                        packing,
                        &(struct header_of){
                                .path = path, .link = "", .st = &st, .type = '6', .xattrs_fd = FD_NONE });
        packing->n_skipped++;
        return 0;
}

/* Recursion is bounded by DEPTH_MAX. The deepest path that failed is the one to name. */
static int pack_entry(struct tar_pack *packing, int at, const char *name, const char *path, unsigned depth)
{
        int r = pack_kind(packing, at, name, path, depth);

        if (r < 0 && packing->failed_path[0] == '\0')
                (void) snprintf(packing->failed_path, sizeof(packing->failed_path), "%s", path);
        return r;
}

char *tar_pack_name(const char *path)
{
        size_t n = strlen(path), start;

        while (n > 0 && path[n - 1] == '/')
                n--;
        for (start = n; start > 0 && path[start - 1] != '/'; start--)
                ;
        return n > start ? xasprintf("%.*s", (int) (n - start), path + start) : xstrdup(".");
}

static int pack_failed(struct tar_pack *packing, int r, const char *path, struct err *err)
{
        scoped_free char *name = tar_pack_name(path);
        const char *below = packing->failed_path + strnlen(packing->failed_path, strlen(name));

        errno = -r;
        return err_errno(err, OP_TAR, "pack '%.300s%.300s'", path, below);
}

int tar_pack_path(struct tar_pack *pack, const char *path, struct err *err)
{
        scoped_free char *name = tar_pack_name(path);
        scoped_free char *real = NULL;
        size_t n = strlen(path);
        int r;

        pack->failed_path[0] = '\0';
        if (strcmp(name, "..") == 0)
                return err_set(err, EINVAL, OP_TAR, "'%.300s' has no name to be packed under; try '%.300s/.'",
                               path, path);
        /* "link/" is what it leads to (path_resolution(7)) */
        if (pack->follow || (n > 1 && path[n - 1] == '/')) {
                real = realpath(path, NULL);
                if (!real)
                        return err_errno(err, OP_TAR, "pack '%.300s'", path);
        }
        r = pack_entry(pack, AT_FDCWD, real ? real : path, name, 0);
        return r < 0 ? pack_failed(pack, r, path, err) : 0;
}

int tar_pack_end(struct tar_pack *pack, struct err *err)
{
        static const uint8_t end[TAR_BLOCK * 2];
        int r = packing_write(pack, end, sizeof(end));

        if (r == 0)
                r = packing_flush(pack);
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_TAR, "end the tar stream");
        }
        return 0;
}

void tar_pack_done(struct tar_pack *pack)
{
        for (size_t i = 0; i < pack->n_links; i++)
                free(pack->links[i].path);
        free(pack->links);
        pack->links = NULL;
        pack->n_links = pack->links_capacity = 0;
}

static void measure(int at, const char *name, unsigned depth, uint64_t *n_bytes)
{
        struct stat st;
        const struct dirent *entry;
        DIR *folder;
        int fd;

        if (depth > DEPTH_MAX || fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return;
        if (S_ISREG(st.st_mode)) {
                uint64_t stored = (uint64_t) st.st_blocks * 512, size = (uint64_t) st.st_size;

                *n_bytes += stored < size ? stored : size;
        }
        if (!S_ISDIR(st.st_mode) ||
            (fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
                return;
        folder = fdopendir(fd);
        if (!folder) {
                (void) close(fd);
                return;
        }
        while ((entry = readdir(folder)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        measure(dirfd(folder), entry->d_name, depth + 1, n_bytes);
        (void) closedir(folder);
}

void tar_pack_measure(const char *path, bool follow, uint64_t *n_bytes)
{
        scoped_free char *real = follow ? realpath(path, NULL) : NULL;

        measure(AT_FDCWD, real ? real : path, 0, n_bytes);
}
