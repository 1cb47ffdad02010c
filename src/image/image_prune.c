#include "image/image_prune.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"
#include "storage/storage_usage.h"

#define BLOBS "blobs/sha256" /* OCI image-layout */
#define ASIDE ".pruning-"

/* What pruners that were killed have set aside. */
static int remove_stale(const char *parent, const char *prefix, struct err *err)
{
        DIR *folder = opendir(parent);
        const struct dirent *entry;
        int r = 0;

        if (!folder)
                return errno == ENOENT ? 0 : err_errno(err, "image.prune", "list '%s'", parent);
        while (r == 0 && (entry = readdir(folder)))
                if (text_starts_with(entry->d_name, prefix))
                        r = file_remove_tree_at(dirfd(folder), entry->d_name, err);
        (void) closedir(folder);
        return r;
}

static int empty(const char *oci_folder, const char *aside, struct err *err)
{
        scoped_free char *blobs = xasprintf("%s/" BLOBS, oci_folder);
        int r;

        if (rename(oci_folder, aside) < 0)
                return errno == ENOENT ? 0 : err_errno(err, "image.prune", "set '%s' aside", oci_folder);
        /* with the folder that pulls under way expect, into which they put what they have fetched */
        r = file_make_folders(blobs, 0700, err);
        return r < 0 ? r : file_remove_tree(aside, err);
}

int image_cache_prune(const char *oci_folder, bool dry_run, struct image_pruned *ret_pruned, struct err *err)
{
        scoped_free char *blobs = xasprintf("%s/blobs", oci_folder);
        scoped_free char *copy = xstrdup(oci_folder), *name_copy = xstrdup(oci_folder);
        const char *parent = dirname(copy);
        scoped_free char *prefix = xasprintf("%s" ASIDE, basename(name_copy));
        scoped_free char *aside = xasprintf("%s/%s%d", parent, prefix, (int) getpid());
        struct storage_usage usage = { 0 };
        int r = storage_usage_add(blobs, &usage, err);

        if (r < 0)
                return r;
        *ret_pruned = (struct image_pruned){ .bytes = usage.apparent, .blobs = usage.n_files };
        if (dry_run)
                return 0;
        r = remove_stale(parent, prefix, err);
        return r < 0 ? r : empty(oci_folder, aside, err);
}
