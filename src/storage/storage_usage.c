#include "storage/storage_usage.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"

#define N_EXTENTS   256U
#define N_CALLS_MAX 4096U /* a million extents a file: more is not worth the time */
#define SECTOR_SIZE 512U  /* of st_blocks, stat(2) */

/* Linux Documentation/filesystems/fiemap.rst: FIEMAP_EXTENT_SHARED says that another file uses the blocks, too. */
static uint64_t count_shared(int fd)
{
        scoped_free struct fiemap *map =
                xcalloc(1, sizeof(struct fiemap) + N_EXTENTS * sizeof(struct fiemap_extent));
        uint64_t shared = 0;

        for (unsigned i = 0; i < N_CALLS_MAX; i++) {
                const struct fiemap_extent *last;

                map->fm_length = UINT64_MAX - map->fm_start;
                map->fm_extent_count = N_EXTENTS;
                if (ioctl(fd, FS_IOC_FIEMAP, map) < 0 || map->fm_mapped_extents == 0)
                        break;
                for (unsigned j = 0; j < map->fm_mapped_extents; j++)
                        if (map->fm_extents[j].fe_flags & FIEMAP_EXTENT_SHARED)
                                shared += map->fm_extents[j].fe_length;
                last = &map->fm_extents[map->fm_mapped_extents - 1];
                if (last->fe_flags & FIEMAP_EXTENT_LAST)
                        break;
                map->fm_start = last->fe_logical + last->fe_length;
        }
        return shared;
}

static void add_file(const char *path, const struct stat *status, struct storage_usage *usage)
{
        uint64_t real = (uint64_t) status->st_blocks * SECTOR_SIZE, shared;
        scoped_close int fd = FD_NONE;

        usage->n_files++;
        usage->apparent += (uint64_t) status->st_size;
        usage->real += real;
        if (status->st_nlink > 1) {
                usage->shareable += real;
                return;
        }
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
        shared = fd < 0 ? 0 : count_shared(fd);
        usage->shareable += shared < real ? shared : real;
}

int storage_usage_add(const char *path, struct storage_usage *usage, struct err *err)
{
        scoped_free char *root = xstrdup(path);
        char *const roots[] = { root, NULL };
        FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
        const FTSENT *entry;
        int r = 0;

        if (!walk)
                return err_errno(err, "storage.usage", "look through '%s'", path);
        errno = 0;
        while ((entry = fts_read(walk)))
                if (entry->fts_info == FTS_F)
                        add_file(entry->fts_accpath, entry->fts_statp, usage);
                else if ((entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR) &&
                         entry->fts_errno != ENOENT && r == 0) {
                        errno = entry->fts_errno;
                        r = err_errno(err, "storage.usage", "look through '%s'", entry->fts_path);
                }
        (void) fts_close(walk);
        return r;
}
