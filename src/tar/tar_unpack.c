#include "tar/tar_unpack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "tar/tar_place.h"
#include "tar/tar_sparse.h"

#define OP_TAR      "tar.unpack"
#define FOLDERS_MAX (1U << 20)   /* folders of one archive whose times are set at the end */
#define LATE_MAX    (256U << 20) /* bytes of their names */
#define DEPTH_MAX   512

/* A folder's time and bits are set last: files that are put into it would change the time, and bits may forbid them. */
struct late_folder {
        char *path; /* owned */
        mode_t mode;
        struct timespec mtime;
};

struct unpacking {
        const struct tar_source *source;
        struct tar_unpack *options;
        struct tar_place place;
        int root_fd;        /* borrowed from one of the two */
        char temporary[40]; /* the name of a file that is not whole yet */
        int parent_fd;      /* owned; the folder of the last entry, for the next one in it */
        char parent[TAR_PATH_MAX];
        bool is_root;
        struct late_folder *late; /* owned */
        size_t n_late, late_capacity, late_bytes;
        char *known;     /* owned; the last first component that was found to be asked for */
        bool is_unasked; /* why an entry was refused */
};

static int failed(int r, const char *what, const char *path, struct err *err)
{
        errno = -r;
        return err_errno(err, OP_TAR, "%s '%.300s'", what, path);
}

/* One step down, made when missing. A symbolic link is not followed: ENOTDIR or ELOOP. Returns a descriptor. */
static int step_down(int at, const char *name, bool create)
{
        int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd >= 0 || errno != ENOENT || !create)
                return fd < 0 ? -errno : fd;
        if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/*
 * "a/./b//c" to "a/b/c" in place. EINVAL when it climbs: an archive of ours never does, and guessing what was meant is
 * how files end up elsewhere.
 */
static int normalize(char *path)
{
        char *out = path;
        unsigned depth = 0;

        for (const char *at = path; *at != '\0';) {
                size_t n;

                while (*at == '/')
                        at++;
                n = strcspn(at, "/");
                if (n == 2 && at[0] == '.' && at[1] == '.')
                        return -EINVAL;
                if (n > 0 && !(n == 1 && at[0] == '.')) {
                        if (out > path)
                                *out++ = '/';
                        memmove(out, at, n);
                        out += n;
                        if (++depth > DEPTH_MAX)
                                return -ENAMETOOLONG;
                }
                at += n;
        }
        *out = '\0';
        return 0;
}

/* A descriptor of the folder named by the first n bytes of path; owned by the caller. */
static int open_folder(int root_fd, const char *path, size_t n, bool create)
{
        scoped_free char *copy = strndup(path, n);
        scoped_close int at = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
        char *rest = NULL;

        if (!copy)
                return -ENOMEM;
        if (at < 0)
                return -errno;
        for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
                int next = step_down(at, name, create);

                if (next < 0)
                        return next;
                (void) close(at);
                at = next;
        }
        return take_fd(&at);
}

/* The folder a normalized path lies in (kept in the cache) and its last name. */
static int enter_parent(struct unpacking *unpacking, const char *path, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        size_t n = slash ? (size_t) (slash - path) : 0;
        int fd;

        *ret_name = slash ? slash + 1 : path;
        if (unpacking->parent_fd >= 0 && strncmp(unpacking->parent, path, n) == 0 &&
            unpacking->parent[n] == '\0')
                return unpacking->parent_fd;
        fd = open_folder(unpacking->root_fd, path, n, true);
        if (fd < 0)
                return fd;
        if (unpacking->parent_fd >= 0)
                (void) close(unpacking->parent_fd);
        memcpy(unpacking->parent, path, n);
        unpacking->parent[n] = '\0';
        unpacking->parent_fd = fd;
        return fd;
}

static void tell(struct unpacking *unpacking, uint64_t n)
{
        unpacking->options->counts.n_bytes += n;
        if (unpacking->options->moved)
                unpacking->options->moved(unpacking->options->context, &unpacking->options->counts);
}

static int copy_piece(struct unpacking *unpacking, int fd, uint64_t size)
{
        const struct tar_source *source = unpacking->source;
        uint8_t buffer[65536];

        for (uint64_t left = size; left > 0;) {
                size_t n = left < sizeof(buffer) ? (size_t) left : sizeof(buffer);
                int r = source->read(source->context, buffer, n);

                if (r < 0)
                        return r == -ENODATA ? -EBADMSG : r;
                r = fd_write_full(fd, buffer, n);
                if (r < 0)
                        return r;
                left -= n;
                tell(unpacking, n);
        }
        return 0;
}

static int copy_sparse(struct unpacking *unpacking, int fd, const struct tar_entry *entry)
{
        scoped(tar_map_done) struct tar_map map = { 0 };
        uint64_t n_read;
        int r = tar_map_read(unpacking->source, entry, &map, &n_read);

        for (size_t i = 0; r == 0 && i < map.n; i++)
                r = lseek(fd, (off_t) map.pieces[i].offset, SEEK_SET) < 0
                            ? -errno
                            : copy_piece(unpacking, fd, map.pieces[i].n);
        if (r == 0 && ftruncate(fd, (off_t) entry->real_size) < 0)
                r = -errno;
        return r;
}

static int copy_content(struct unpacking *unpacking, int fd, const struct tar_entry *entry)
{
        const struct tar_source *source = unpacking->source;
        char padding[TAR_BLOCK];
        int r;

        if (unpacking->options->bytes_max > 0 &&
            (entry->size > unpacking->options->bytes_max ||
             unpacking->options->counts.n_bytes > unpacking->options->bytes_max - entry->size))
                return -EFBIG;
        r = entry->sparse ? copy_sparse(unpacking, fd, entry) : copy_piece(unpacking, fd, entry->size);
        if (r < 0 || tar_padding(entry->size) == 0)
                return r;
        /* An archive may be cut behind its last byte of content. */
        r = source->read(source->context, padding, tar_padding(entry->size));
        return r == -ENODATA ? 0 : r;
}

/* A file system without them loses them, as cp(1) has it. */
static int set_xattrs(int fd, const struct tar_entry *entry)
{
        const char *at = entry->xattrs.s, *end = at + entry->xattrs.n;

        while (at < end) {
                const char *name = at;
                uint32_t n;

                at += strlen(name) + 1;
                memcpy(&n, at, sizeof(n));
                at += sizeof(n);
                if (fsetxattr(fd, name, at, n, 0) < 0 && errno != ENOTSUP && errno != EPERM)
                        return -errno;
                at += n;
        }
        return 0;
}

static mode_t allowed_mode(const struct unpacking *unpacking, mode_t mode)
{
        if (unpacking->options->guarded)
                return mode & 0777;
        return unpacking->options->drop_set_id ? mode & 01777 : mode;
}

static int fill_file(struct unpacking *unpacking, int fd, const struct tar_entry *entry)
{
        const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, entry->mtime };
        int r = copy_content(unpacking, fd, entry);

        if (r == 0 && entry->xattrs.n > 0)
                r = set_xattrs(fd, entry);
        if (r < 0)
                return r;
        /* the folder's set-group-ID bit may have decided otherwise */
        if (unpacking->is_root && !unpacking->options->guarded && fchown(fd, 0, 0) < 0)
                return -errno;
        return fchmod(fd, allowed_mode(unpacking, entry->mode)) < 0 || futimens(fd, times) < 0 ? -errno : 0;
}

/*
 * Under its own name at once where nothing has that, which is quicker; else under another one that then replaces what is
 * there. Either way a file that could not be finished is gone.
 */
static int unpack_file(struct unpacking *unpacking, int at, const char *name, const struct tar_entry *entry)
{
        const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        const char *made = unpacking->options->guarded ? unpacking->temporary : name;
        scoped_close int fd = openat(at, made, flags, 0600);
        int r;

        if (fd < 0 && errno == EEXIST && made == name) {
                made = unpacking->temporary;
                fd = openat(at, made, flags, 0600);
        }
        if (fd < 0)
                return -errno;
        r = fill_file(unpacking, fd, entry);
        if (r == 0 && made != name && renameat(at, made, at, name) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(at, made, 0);
        return r;
}

static int unpack_folder(struct unpacking *unpacking, int at, const char *name, const struct tar_entry *entry)
{
        struct late_folder *late;

        if (mkdirat(at, name, 0700) < 0) {
                struct stat st;

                if (errno != EEXIST)
                        return -errno;
                if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                if (!S_ISDIR(st.st_mode) && (unlinkat(at, name, 0) < 0 || mkdirat(at, name, 0700) < 0))
                        return -errno;
        }
        unpacking->late_bytes += strlen(entry->path) + 1;
        if (unpacking->n_late == FOLDERS_MAX || unpacking->late_bytes > LATE_MAX)
                return -E2BIG;
        if (unpacking->n_late == unpacking->late_capacity) {
                unpacking->late_capacity = unpacking->late_capacity * 2 + 64;
                unpacking->late =
                        xrealloc(unpacking->late, unpacking->late_capacity * sizeof(*unpacking->late));
        }
        late = &unpacking->late[unpacking->n_late++];
        *late = (struct late_folder){ xstrdup(entry->path), entry->mode, entry->mtime };
        return 0;
}

static bool was_asked(struct unpacking *unpacking, const char *name)
{
        size_t n = strcspn(name, "/");

        if (!unpacking->options->asked ||
            (unpacking->known && strncmp(unpacking->known, name, n) == 0 && unpacking->known[n] == '\0'))
                return true;
        if (!tar_place_was_asked(unpacking->options->asked, name))
                return false;
        free(unpacking->known);
        unpacking->known = strndup(name, n);
        return true;
}

/* A name of the stream to the one it gets, in place. "." can only be a folder: a link there would lead all the rest astray. */
static int place_name(struct unpacking *unpacking, char name[TAR_PATH_MAX], bool is_folder)
{
        int r = normalize(name);

        if (r < 0)
                return r;
        if (name[0] == '\0' && !is_folder)
                return -EINVAL;
        if (!was_asked(unpacking, name)) {
                unpacking->is_unasked = true;
                return -EBADMSG;
        }
        return unpacking->options->destination ? tar_place_name(&unpacking->place, name) : 0;
}

static int unpack_hard_link(struct unpacking *unpacking, int at, const char *name, struct tar_entry *entry)
{
        scoped_close int from = FD_NONE;
        const char *slash, *target;
        int r = place_name(unpacking, entry->link, false);

        if (r < 0 || entry->link[0] == '\0')
                return -EINVAL;
        slash = strrchr(entry->link, '/');
        target = slash ? slash + 1 : entry->link;
        from = open_folder(unpacking->root_fd, entry->link, slash ? (size_t) (slash - entry->link) : 0,
                           false);
        if (from < 0)
                return from;
        if (linkat(from, target, at, name, 0) == 0)
                return 0;
        if (errno != EEXIST || unlinkat(at, name, 0) < 0)
                return -errno;
        return linkat(from, target, at, name, 0) < 0 ? -errno : 0;
}

static int unpack_symlink(int at, const char *name, const struct tar_entry *entry)
{
        const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, entry->mtime };

        if (entry->link[0] == '\0')
                return -EINVAL;
        if (symlinkat(entry->link, at, name) < 0) {
                if (errno != EEXIST || unlinkat(at, name, 0) < 0 || symlinkat(entry->link, at, name) < 0)
                        return -errno;
        }
        return utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int prepare_entry(struct unpacking *unpacking, struct tar_entry *entry)
{
        const struct tar_unpack *options = unpacking->options;

        if (options->entries_max > 0 && options->counts.n_entries == options->entries_max)
                return -EFBIG;
        return place_name(unpacking, entry->path, entry->type == TAR_FOLDER);
}

static int unpack_entry(struct unpacking *unpacking, struct tar_entry *entry)
{
        const char *name;
        int r = prepare_entry(unpacking, entry), at;

        if (r < 0)
                return r;
        if (entry->path[0] == '\0') /* "./": the folder itself, which stays as it is */
                return entry->type == TAR_FOLDER ? 0 : -EINVAL;
        at = enter_parent(unpacking, entry->path, &name);
        if (at < 0)
                return at;
        switch (entry->type) {
        case TAR_FILE:
                return unpack_file(unpacking, at, name, entry);
        case TAR_FOLDER:
                return unpack_folder(unpacking, at, name, entry);
        case TAR_HARD_LINK:
                return unpack_hard_link(unpacking, at, name, entry);
        case TAR_SYMLINK:
                return unpack_symlink(at, name, entry);
        case TAR_FIFO:
                if (unpacking->options->guarded) {
                        unpacking->options->counts.n_skipped++;
                        return 0;
                }
                return mkfifoat(at, name, entry->mode) < 0 && errno != EEXIST ? -errno : 0;
        }
        return -EINVAL;
}

/* Deepest first, as they came parents first. One that was replaced since by something else is not ours to set. */
static int finish_folders(struct unpacking *unpacking, struct err *err)
{
        while (unpacking->n_late > 0) {
                struct late_folder *late = &unpacking->late[--unpacking->n_late];
                const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, late->mtime };
                scoped_free char *path = take_ptr(late->path);
                scoped_close int fd = open_folder(unpacking->root_fd, path, strlen(path), false);

                if (fd < 0)
                        continue;
                if ((unpacking->is_root && !unpacking->options->guarded && fchown(fd, 0, 0) < 0) ||
                    fchmod(fd, allowed_mode(unpacking, late->mode)) < 0 || futimens(fd, times) < 0)
                        return failed(-errno, "set mode and time of", path, err);
        }
        return 0;
}

static void unpacking_done(struct unpacking *unpacking)
{
        if (unpacking->parent_fd >= 0)
                (void) close(unpacking->parent_fd);
        while (unpacking->n_late > 0)
                free(unpacking->late[--unpacking->n_late].path);
        free(unpacking->late);
        free(unpacking->known);
        tar_place_done(&unpacking->place);
}

static inline void unpacking_done_at_scope_end(struct unpacking *unpacking)
{
        unpacking_done(unpacking);
}

/* What it could not do, with the limits' numbers where it was one. */
static int entry_failed(const struct unpacking *unpacking, int r, const char *path, struct err *err)
{
        const struct tar_unpack *options = unpacking->options;

        if (unpacking->is_unasked)
                return err_set(err, EBADMSG, OP_TAR, "'%.300s' was sent, which was not asked for", path);
        if (r == -EFBIG && options->entries_max > 0 && options->counts.n_entries == options->entries_max)
                return err_set(err, EFBIG, OP_TAR, "more than %llu files and folders are sent",
                               (unsigned long long) options->entries_max);
        if (r == -EFBIG && options->bytes_max > 0)
                return err_set(err, EFBIG, OP_TAR,
                               "unpack '%.300s': that would be more than the limit of %llu bytes", path,
                               (unsigned long long) options->bytes_max);
        return failed(r, "unpack", path, err);
}

static int open_place(struct unpacking *unpacking, const struct tar_entry *first, struct err *err)
{
        const struct tar_unpack *options = unpacking->options;
        int r = tar_place_open(options->destination,
                               &(struct tar_place_wish){ options->must_be_folder, options->guarded }, first,
                               &unpacking->place, err);

        unpacking->root_fd = unpacking->place.root_fd;
        return r;
}

static inline void tar_entry_free_at_scope_end(struct tar_entry **owned)
{
        if (*owned)
                tar_entry_done(*owned);
        free(*owned);
}

int tar_unpack(const struct tar_source *source, struct tar_unpack *unpack, struct err *err)
{
        scoped(unpacking_done) struct unpacking unpacking = { .source = source,
                                                              .options = unpack,
                                                              .place = { .root_fd = FD_NONE },
                                                              .root_fd = unpack->root_fd,
                                                              .parent_fd = FD_NONE,
                                                              .is_root = geteuid() == 0 };
        scoped(tar_entry_free) struct tar_entry *entry = xcalloc(1, sizeof(*entry));
        uint64_t random = clock_monotonic_ns();
        bool is_first = true;
        int r;

        (void) !getrandom(&random, sizeof(random), GRND_NONBLOCK); /* not a secret: it must only be unused */
        (void) snprintf(unpacking.temporary, sizeof(unpacking.temporary), ".banger-%016llx.part",
                        (unsigned long long) random);
        while ((r = tar_next(source, entry, err)) == 1) {
                if (is_first && unpack->destination && open_place(&unpacking, entry, err) < 0)
                        return -err->code;
                is_first = false;
                r = unpack_entry(&unpacking, entry);
                if (r < 0)
                        return entry_failed(&unpacking, r, entry->path, err);
                unpack->counts.n_entries++;
                tell(&unpacking, 0);
        }
        return r < 0 ? r : finish_folders(&unpacking, err);
}
