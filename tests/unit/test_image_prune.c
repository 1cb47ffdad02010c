/* What files take on the disk, and emptying the cache of blobs. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "image/image_prune.h"
#include "storage/storage_usage.h"
#include "unit.h"

static char folder[64];

static int make_scratch(void **state)
{
        (void) state;
        (void) snprintf(folder, sizeof(folder), "/tmp/banger-test-prune.XXXXXX");
        assert_non_null(mkdtemp(folder));
        return 0;
}

static int drop_scratch(void **state)
{
        struct err err = { 0 };

        (void) state;
        assert_int_equal(file_remove_tree(folder, &err), 0);
        return 0;
}

static void write_file(const char *name, size_t n)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name), *parent = xstrdup(path);
        scoped_free char *data = xcalloc(1, n + 1);
        struct err err = { 0 };

        *strrchr(parent, '/') = '\0';
        memset(data, 'x', n);
        assert_int_equal(file_make_folders(parent, 0700, &err), 0);
        assert_int_equal(file_replace(path, data, n, 0600, &err), 0);
}

static bool exists(const char *name)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);

        return access(path, F_OK) == 0;
}

/* Names beside the cache whose name tells that they were set aside. */
static unsigned n_set_aside(void)
{
        DIR *open_folder = opendir(folder);
        const struct dirent *entry;
        unsigned n = 0;

        assert_non_null(open_folder);
        while ((entry = readdir(open_folder)))
                n += strstr(entry->d_name, ".pruning-") != NULL;
        (void) closedir(open_folder);
        return n;
}

static struct image_pruned prune(bool dry_run)
{
        scoped_free char *oci = xasprintf("%s/oci", folder);
        struct image_pruned pruned = { 0 };
        struct err err = { 0 };

        assert_int_equal(image_cache_prune(oci, dry_run, &pruned, &err), 0);
        return pruned;
}

static void a_missing_cache_counts_as_nothing(void **state)
{
        (void) state;
        assert_int_equal(prune(true).blobs, 0);
        assert_int_equal(prune(false).bytes, 0);
}

static void a_dry_run_counts_and_leaves_everything(void **state)
{
        struct image_pruned pruned;

        (void) state;
        write_file("oci/blobs/sha256/aa", 5000);
        write_file("oci/blobs/sha256/bb", 70);
        pruned = prune(true);
        assert_int_equal(pruned.blobs, 2);
        assert_int_equal(pruned.bytes, 5070);
        assert_true(exists("oci/blobs/sha256/aa") && exists("oci/blobs/sha256/bb"));
        assert_int_equal(n_set_aside(), 0);
}

static void a_prune_leaves_an_empty_cache_and_nothing_set_aside(void **state)
{
        struct image_pruned pruned;

        (void) state;
        write_file("oci/blobs/sha256/aa", 5000);
        write_file("oci.pruning-1/blobs/sha256/old", 10); /* of a prune that was killed */
        pruned = prune(false);
        assert_int_equal(pruned.blobs, 1);
        assert_int_equal(pruned.bytes, 5000);
        assert_true(exists("oci/blobs/sha256"));
        assert_false(exists("oci/blobs/sha256/aa"));
        assert_int_equal(n_set_aside(), 0);
}

/* As a pull does it: a file without a name, which gets one when it is whole. */
static void a_pull_under_way_ends_in_the_new_cache(void **state)
{
        scoped_free char *blobs = xasprintf("%s/oci/blobs/sha256", folder);
        scoped_free char *target = xasprintf("%s/cc", blobs), *source = NULL;
        scoped_close int fd = FD_NONE;

        (void) state;
        write_file("oci/blobs/sha256/aa", 5000);
        fd = open(blobs, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void) prune(false);
        source = xasprintf("/proc/self/fd/%d", fd);
        assert_int_equal(linkat(AT_FDCWD, source, AT_FDCWD, target, AT_SYMLINK_FOLLOW), 0);
        assert_true(exists("oci/blobs/sha256/cc"));
}

static struct storage_usage usage_of(const char *name)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        struct storage_usage usage = { 0 };
        struct err err = { 0 };

        assert_int_equal(storage_usage_add(path, &usage, &err), 0);
        return usage;
}

static void holes_take_no_space_and_other_names_share_it(void **state)
{
        scoped_free char *sparse = xasprintf("%s/tree/deep/sparse", folder);
        scoped_free char *linked = xasprintf("%s/tree/linked", folder);
        scoped_free char *other = xasprintf("%s/other", folder),
                         *dangling = xasprintf("%s/tree/link", folder);
        struct storage_usage usage;

        (void) state;
        write_file("tree/deep/sparse", 4096);
        write_file("tree/linked", 8192);
        assert_int_equal(truncate(sparse, 1 << 20), 0);
        assert_int_equal(link(linked, other), 0);
        assert_int_equal(symlink("/usr", dangling), 0);
        usage = usage_of("tree");
        assert_int_equal(usage.n_files, 2);
        assert_int_equal(usage.apparent, (1 << 20) + 8192);
        assert_true(usage.real >= 12288 && usage.real < (1 << 20));
        assert_true(usage.shareable >= 8192 && usage.shareable <= usage.real - 4096);
        assert_int_equal(usage_of("absent").n_files, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_missing_cache_counts_as_nothing, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_dry_run_counts_and_leaves_everything, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_prune_leaves_an_empty_cache_and_nothing_set_aside,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_pull_under_way_ends_in_the_new_cache, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(holes_take_no_space_and_other_names_share_it, make_scratch,
                                                drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
