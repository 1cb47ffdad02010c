/*
 * An image is read again when its folder is another one or has changed: images are published, replaced and deleted by renames
 * and unlinks, and grown work seeds come as new names, all of which show in the folder's own times. And the folders are
 * looked at only when something may have happened: after image_index_touch(), or when the folder of all images has changed.
 * Two changes within one tick of the file system's clock look like one, so what was read in the tick of its last change is
 * read again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/image_store.h"

#define TICK_NS UINT64_C(20000000) /* the coarsest that Linux has: HZ=100, and as much again */

/* What a folder looked like when it was read. */
struct look {
        dev_t device;
        ino_t inode;
        struct timespec changed;
        bool is_fresh; /* in the tick of its last change */
};

struct entry {
        struct image image;
        struct look look;
};

struct image_index {
        char *folder; /* owned */
        struct entry *entries;
        struct image *listed; /* the images of entries, borrowed from them */
        unsigned n;
        struct look look; /* of the folder of all images */
        bool touched;
        uint64_t generation;
};

static void entries_free(struct entry *entries, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                image_done(&entries[i].image);
        free(entries);
}

struct image_index *image_index_new(const char *images_folder)
{
        struct image_index *index = xcalloc(1, sizeof(*index));

        index->folder = xstrdup(images_folder);
        index->touched = true;
        return index;
}

void image_index_free(struct image_index *index)
{
        if (!index)
                return;
        entries_free(index->entries, index->n);
        free(index->listed);
        free(index->folder);
        free(index);
}

static int is_image_name(const struct dirent *entry)
{
        return image_name_is_valid(entry->d_name) && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static struct look look_of(const struct stat *status)
{
        uint64_t changed_ns =
                (uint64_t) status->st_ctim.tv_sec * UINT64_C(1000000000) + (uint64_t) status->st_ctim.tv_nsec;

        return (struct look){ .device = status->st_dev,
                              .inode = status->st_ino,
                              .changed = status->st_ctim,
                              .is_fresh = clock_real_ns() < changed_ns + TICK_NS };
}

static bool is_current(const struct look *look, const struct stat *status)
{
        return !look->is_fresh && look->device == status->st_dev && look->inode == status->st_ino &&
               look->changed.tv_sec == status->st_ctim.tv_sec &&
               look->changed.tv_nsec == status->st_ctim.tv_nsec;
}

/* 1: made or taken over; 0: no image (any more); else -code. */
static int make_entry(struct image_index *index, const char *name, const struct stat *status,
                      struct entry *old, struct entry *ret_entry, struct err *err)
{
        int r;

        if (old && old->image.is_managed && is_current(&old->look, status)) {
                *ret_entry = *old;
                old->image = (struct image){ 0 };
                return 1;
        }
        *ret_entry = (struct entry){ .look = look_of(status) };
        r = image_read(index->folder, name, &ret_entry->image, err);
        if (r != -ENOENT)
                return r < 0 ? r : 1;
        *err = (struct err){ 0 }; /* deleted meanwhile, or somebody else's folder */
        return 0;
}

/* The old entry of this name; both lists are sorted, so at moves forward only. */
static struct entry *find_old(const struct image_index *index, const char *name, unsigned *at)
{
        while (*at < index->n) {
                const char *old = index->entries[*at].image.name;
                int order = old ? strcmp(old, name) : -1;

                if (order >= 0)
                        return order == 0 ? &index->entries[*at] : NULL;
                (*at)++;
        }
        return NULL;
}

static int read_all(struct image_index *index, struct dirent **names, unsigned n_names, struct entry *entries,
                    unsigned *n, struct err *err)
{
        scoped_close int folder = open(index->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        unsigned at = 0;

        if (folder < 0)
                return err_errno(err, "image.list", "open '%s'", index->folder);
        for (unsigned i = 0; i < n_names; i++) {
                const char *name = names[i]->d_name;
                struct entry *old = find_old(index, name, &at);
                struct stat status;
                int r;

                if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(status.st_mode))
                        continue;
                r = make_entry(index, name, &status, old, &entries[*n], err);
                if (r < 0)
                        return r;
                *n += (unsigned) r;
        }
        return 0;
}

static void replace(struct image_index *index, struct entry *owned_entries, unsigned n)
{
        entries_free(index->entries, index->n);
        index->entries = owned_entries;
        index->n = n;
        index->listed = xrealloc(index->listed, (n + 1) * sizeof(*index->listed));
        for (unsigned i = 0; i < n; i++)
                index->listed[i] = owned_entries[i].image;
}

static int read_again(struct image_index *index, struct err *err)
{
        struct dirent **names = NULL;
        int n_names = scandir(index->folder, &names, is_image_name, compare_names), r = 0;
        struct entry *entries = xcalloc(n_names > 0 ? (size_t) n_names : 1, sizeof(*entries));
        unsigned n = 0;

        if (n_names > 0)
                r = read_all(index, names, (unsigned) n_names, entries, &n, err);
        else if (n_names < 0 && errno != ENOENT)
                r = err_errno(err, "image.list", "list '%s'", index->folder);
        for (int i = 0; i < n_names; i++)
                free(names[i]);
        free(names);
        /* also after a failure: what has been read is kept, what had been taken over is not lost */
        replace(index, entries, n);
        index->touched = r < 0;
        return r;
}

void image_index_touch(struct image_index *index)
{
        index->touched = true;
}

uint64_t image_index_generation(const struct image_index *index)
{
        return index->generation;
}

int image_index_list(struct image_index *index, const struct image **ret_images, unsigned *ret_n,
                     struct err *err)
{
        struct stat status = { 0 };
        bool is_there = stat(index->folder, &status) == 0;
        int r = 0;

        if (index->touched || !is_there || !is_current(&index->look, &status)) {
                index->look = look_of(&status);
                index->generation++;
                r = read_again(index, err);
        }
        *ret_images = index->listed;
        *ret_n = r < 0 ? 0 : index->n;
        return r;
}
