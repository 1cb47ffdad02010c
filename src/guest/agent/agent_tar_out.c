/*
 * Packs a path for the host: ustar headers, with pax records where those fall short (long names, parts of a second,
 * large files). Names in the archive begin with the path's last component; "folder/." packs what is in the folder as "./…".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "guest/agent/agent_serve.h"
#include "guest/agent/agent_tar_header.h"
#include "guest/contract/guest_frame.h"

#define OP_TAR    "agent.tar"
#define DEPTH_MAX 256
#define SIZE_MAX_ UINT64_C(077777777777) /* what eleven octal digits hold */

struct packing {
        int fd; /* borrowed */
        uint8_t buffer[GUEST_DATA_MAX];
        size_t n;
};

static int packing_flush(struct packing *packing)
{
        int r = packing->n > 0 ? guest_frame_send(packing->fd, GUEST_FRAME_DATA, packing->buffer, packing->n,
                                                  UINT64_MAX)
                               : 0;

        packing->n = 0;
        return r;
}

static int packing_write(struct packing *packing, const void *data, size_t n)
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

static int packing_pad(struct packing *packing, uint64_t n)
{
        static const uint8_t zeros[TAR_BLOCK];

        return packing_write(packing, zeros, tar_padding(n));
}

/* "<length> <key>=<value>\n", where the length counts its own digits. */
static void append_record(struct text *records, const char *key, const char *value)
{
        size_t rest = strlen(key) + strlen(value) + 3, length = rest + 1;

        for (;;) {
                size_t with = rest + (size_t) snprintf(NULL, 0, "%zu", length);

                if (with == length)
                        break;
                length = with;
        }
        text_appendf(records, "%zu %s=", length, key);
        text_append_bytes(records, value, strlen(value));
        text_append(records, "\n");
}

/* The fields' offsets are those of POSIX.1-2017 pax, "ustar Interchange Format". */
static void fill_header(uint8_t block[TAR_BLOCK], const char *name, const struct stat *st, char type,
                        uint64_t size)
{
        uint64_t mtime = st->st_mtim.tv_sec > 0 ? (uint64_t) st->st_mtim.tv_sec : 0;

        memset(block, 0, TAR_BLOCK);
        memcpy(block, name, strnlen(name, 100));
        (void) snprintf((char *) block + 100, 8, "%07o", (unsigned) (st->st_mode & 07777));
        (void) snprintf((char *) block + 108, 8, "%07o", 0U);
        (void) snprintf((char *) block + 116, 8, "%07o", 0U);
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

static int write_pax(struct packing *packing, const struct text *records, const struct stat *st)
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

static int write_header(struct packing *packing, const char *name, const char *link, const struct stat *st,
                        char type)
{
        scoped_text struct text records = { 0 };
        uint64_t size = type == '0' ? (uint64_t) st->st_size : 0;
        uint8_t block[TAR_BLOCK];
        char number[64];
        int r = 0;

        if (strlen(name) > 100)
                append_record(&records, "path", name);
        if (strlen(link) > 100)
                append_record(&records, "linkpath", link);
        if (size > SIZE_MAX_) {
                (void) snprintf(number, sizeof(number), "%llu", (unsigned long long) size);
                append_record(&records, "size", number);
        }
        if (st->st_mtim.tv_nsec != 0 && st->st_mtim.tv_sec >= 0) {
                (void) snprintf(number, sizeof(number), "%lld.%09ld", (long long) st->st_mtim.tv_sec,
                                st->st_mtim.tv_nsec);
                append_record(&records, "mtime", number);
        }
        if (records.n > 0)
                r = write_pax(packing, &records, st);
        if (r < 0)
                return r;
        fill_header(block, name, st, type, size);
        memcpy(block + 157, link, strnlen(link, 100));
        seal_header(block);
        return packing_write(packing, block, sizeof(block));
}

/* Exactly as much as the header promised: a file that shrinks meanwhile ends in zeros. */
static int write_content(struct packing *packing, int fd, uint64_t size)
{
        uint8_t buffer[65536];

        for (uint64_t left = size; left > 0;) {
                size_t n = left < sizeof(buffer) ? (size_t) left : sizeof(buffer);
                ssize_t got = read(fd, buffer, n);
                int r;

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0) {
                        memset(buffer, 0, n);
                        got = (ssize_t) n;
                }
                r = packing_write(packing, buffer, (size_t) got);
                if (r < 0)
                        return r;
                left -= (uint64_t) got;
        }
        return packing_pad(packing, size);
}

static int pack_file(struct packing *packing, int at, const char *name, const char *path)
{
        scoped_close int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat st;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return 0; /* it was replaced since */
        r = write_header(packing, path, "", &st, '0');
        return r < 0 ? r : write_content(packing, fd, (uint64_t) st.st_size);
}

static int pack_symlink(struct packing *packing, int at, const char *name, const char *path,
                        const struct stat *st)
{
        char link[TAR_PATH_MAX];
        ssize_t n = readlinkat(at, name, link, sizeof(link) - 1);

        if (n < 0)
                return -errno;
        link[n] = '\0';
        return write_header(packing, path, link, st, '2');
}

static int pack(struct packing *packing, int at, const char *name, const char *path, unsigned depth);

static int pack_folder(struct packing *packing, int at, const char *name, const char *path, unsigned depth)
{
        scoped_close int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        scoped_free char *with_slash = xasprintf("%s/", path);
        const struct dirent *entry;
        struct stat st;
        DIR *folder;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        r = write_header(packing, with_slash, "", &st, '5');
        folder = r == 0 ? fdopendir(fd) : NULL;
        if (!folder)
                return r < 0 ? r : -errno;
        (void) take_fd(&fd);
        while (r == 0 && (entry = readdir(folder))) {
                scoped_free char *below = NULL;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                below = xasprintf("%s/%s", path, entry->d_name);
                r = pack(packing, dirfd(folder), entry->d_name, below, depth + 1);
        }
        (void) closedir(folder);
        return r;
}

/* Recursion is bounded by DEPTH_MAX. Sockets and devices mean nothing on another machine and are left out. */
static int pack(struct packing *packing, int at, const char *name, const char *path, unsigned depth)
{
        struct stat st;

        if (depth > DEPTH_MAX)
                return -ELOOP;
        if (strlen(path) + 2 > TAR_PATH_MAX)
                return -ENAMETOOLONG;
        if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return depth > 0 && errno == ENOENT ? 0 : -errno;
        if (S_ISREG(st.st_mode))
                return pack_file(packing, at, name, path);
        if (S_ISDIR(st.st_mode))
                return pack_folder(packing, at, name, path, depth);
        if (S_ISLNK(st.st_mode))
                return pack_symlink(packing, at, name, path, &st);
        return S_ISFIFO(st.st_mode) ? write_header(packing, path, "", &st, '6') : 0;
}

/* The last component, without slashes behind it; "." for "/" and for "folder/.". The caller owns it. */
static char *archive_name(const char *path)
{
        size_t n = strlen(path), start;

        while (n > 0 && path[n - 1] == '/')
                n--;
        for (start = n; start > 0 && path[start - 1] != '/'; start--)
                ;
        return n > start ? xasprintf("%.*s", (int) (n - start), path + start) : xstrdup(".");
}

int agent_tar_out(int fd, const char *path, struct err *err)
{
        static const uint8_t end[TAR_BLOCK * 2];
        scoped_free struct packing *packing = xmalloc(sizeof(*packing));
        scoped_free char *name = archive_name(path);
        int r;

        packing->fd = fd;
        packing->n = 0;
        r = strcmp(name, "..") == 0 ? -EINVAL : pack(packing, AT_FDCWD, path, name, 0);
        if (r == 0)
                r = packing_write(packing, end, sizeof(end));
        if (r == 0)
                r = packing_flush(packing);
        if (r == 0)
                r = guest_frame_send(fd, GUEST_FRAME_DATA, NULL, 0, UINT64_MAX);
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_TAR, "pack '%.300s'", path);
        }
        return 0;
}
