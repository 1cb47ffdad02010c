#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/spawn.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "storage/storage_disk.h"
#include "unit.h"

struct scratch {
        char *folder, *image, *disk; /* owned */
};

static int make_scratch(void **state)
{
        struct scratch *scratch = xcalloc(1, sizeof(*scratch));
        char name[] = "/tmp/banger-test-disk.XXXXXX";

        assert_non_null(mkdtemp(name));
        scratch->folder = xstrdup(name);
        scratch->image = xasprintf("%s/image", name);
        scratch->disk = xasprintf("%s/disk", name);
        *state = scratch;
        return 0;
}

static int drop_scratch(void **state)
{
        struct scratch *scratch = *state;
        struct err err = { 0 };

        assert_int_equal(file_remove_tree(scratch->folder, &err), 0);
        free(scratch->folder);
        free(scratch->image);
        free(scratch->disk);
        free(scratch);
        return 0;
}

/* MiB of 'x' after a hole of as much, and a hole of 64 MiB behind it. */
static void write_image(const char *path, unsigned mib)
{
        scoped_close int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        scoped_free char *block = xmalloc(MIB);

        assert_true(fd >= 0);
        memset(block, 'x', MIB);
        assert_int_equal(ftruncate(fd, (off_t) ((2 * mib + 64) * MIB)), 0);
        for (unsigned i = 0; i < mib; i++)
                assert_int_equal(pwrite(fd, block, MIB, (off_t) ((mib + i) * MIB)), MIB);
}

static void assert_same(const char *a, const char *b)
{
        const char *const argv[] = { "cmp", a, b, NULL };
        struct err err = { 0 };

        assert_int_equal(spawn_run(argv, 60000, MIB, NULL, NULL, &err), 0);
}

static unsigned count_files(const char *folder)
{
        const char *const argv[] = { "ls", "-A", folder, NULL };
        scoped_free char *output = NULL;
        struct err err = { 0 };
        unsigned n = 0;

        assert_int_equal(spawn_run(argv, 60000, MIB, &output, NULL, &err), 0);
        for (const char *p = output; *p != '\0'; p++)
                n += *p == '\n';
        return n;
}

static void a_clone_is_equal_private_and_sparse(void **state)
{
        struct scratch *scratch = *state;
        struct err err = { 0 };
        enum disk_driver found, used;
        struct stat status;

        write_image(scratch->image, 3);
        assert_int_equal(disk_driver_find(scratch->folder, &found, &err), 0);
        assert_int_equal(disk_clone(scratch->image, scratch->disk, &used, &err), 0);
        assert_int_equal(found, used);
        assert_same(scratch->image, scratch->disk);
        assert_int_equal(stat(scratch->disk, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_true(status.st_blocks * 512 <= (off_t) (4 * MIB));
        assert_int_equal(count_files(scratch->folder), 2);
        assert_string_equal(disk_driver_name(DISK_REFLINK), "reflink");
        assert_string_equal(disk_driver_name(DISK_COPY), "copy");
}

static void what_cannot_be_cloned_leaves_what_was_there(void **state)
{
        struct scratch *scratch = *state;
        struct err err = { 0 };

        assert_int_equal(disk_clone(scratch->image, scratch->disk, NULL, &err), -ENOENT);
        assert_int_equal(access(scratch->disk, F_OK), -1);
        write_image(scratch->image, 1);
        write_image(scratch->disk, 2);
        err = (struct err){ 0 };
        assert_int_equal(disk_clone(scratch->image, scratch->disk, NULL, &err), -EEXIST);
        assert_int_equal(count_files(scratch->folder), 2);
}

static void a_reserved_disk_gets_its_content_while_it_is_open(void **state)
{
        struct scratch *scratch = *state;
        scoped_close int opened = FD_NONE;
        enum disk_driver driver;
        struct err err = { 0 };
        struct stat image, disk;
        char byte = 1;

        write_image(scratch->image, 3);
        assert_int_equal(disk_reserve(scratch->image, scratch->disk, &err), 0);
        assert_int_equal(stat(scratch->image, &image), 0);
        opened = open(scratch->disk, O_RDONLY | O_CLOEXEC);
        assert_int_equal(fstat(opened, &disk), 0);
        assert_int_equal(disk.st_size, image.st_size);
        assert_int_equal(disk.st_blocks, 0);
        assert_int_equal(disk.st_mode & 0777, 0600);
        assert_int_equal(pread(opened, &byte, 1, 0), 1);
        assert_int_equal(byte, 0);
        assert_int_equal(disk_fill(scratch->image, scratch->disk, &driver, &err), 0);
        assert_same(scratch->image, scratch->disk);

        assert_int_equal(disk_reserve(scratch->image, scratch->disk, &err), -EEXIST);
}

static int make_work(const char *seed, uint64_t size, const char *disk, struct err *err)
{
        scoped_free char *grown = NULL;
        int r = disk_grow_seed(seed, size, &grown, err);

        return r < 0 ? r : disk_clone(grown, disk, NULL, err);
}

static void work_disks_come_from_a_seed_grown_once(void **state)
{
        const struct ext4_options options = { .size = 16 * MIB };
        const char *const fsck[] = { "e2fsck", "-fn", ((struct scratch *) *state)->disk, NULL };
        struct scratch *scratch = *state;
        scoped_free char *grown = xasprintf("%s.%llu", scratch->image, 64ULL * MIB);
        struct stat first, second;
        struct err err = { 0 };

        assert_int_equal(ext4_make_empty(scratch->image, &options, &err), 0);
        assert_int_equal(make_work(scratch->image, 64 * MIB, scratch->disk, &err), 0);
        assert_int_equal(stat(grown, &first), 0);
        assert_int_equal(stat(scratch->disk, &second), 0);
        assert_int_equal(second.st_size, 64 * MIB);
        assert_int_equal(spawn_run(fsck, 60000, MIB, NULL, NULL, &err), 0);

        assert_int_equal(unlink(scratch->disk), 0);
        assert_int_equal(make_work(scratch->image, 64 * MIB, scratch->disk, &err), 0);
        assert_int_equal(stat(grown, &second), 0);
        assert_int_equal(first.st_ino, second.st_ino);
        assert_int_equal(count_files(scratch->folder), 3);

        /* a new seed makes the grown one old */
        assert_int_equal(unlink(scratch->disk), 0);
        assert_int_equal(unlink(scratch->image), 0);
        assert_int_equal(ext4_make_empty(scratch->image, &options, &err), 0);
        assert_int_equal(make_work(scratch->image, 64 * MIB, scratch->disk, &err), 0);
        assert_int_equal(stat(grown, &second), 0);
        assert_true(second.st_mtim.tv_sec > first.st_mtim.tv_sec ||
                    second.st_mtim.tv_nsec != first.st_mtim.tv_nsec);
}

static void an_empty_work_disk_needs_no_seed(void **state)
{
        struct scratch *scratch = *state;
        const char *const fsck[] = { "e2fsck", "-fn", scratch->disk, NULL };
        struct err err = { 0 };

        assert_int_equal(disk_make_empty(8 * GIB, scratch->disk, &err), 0);
        assert_int_equal(spawn_run(fsck, 60000, MIB, NULL, NULL, &err), 0);
}

static void parallel_callers_share_a_grown_seed(void **state)
{
        enum {
                N = 6
        };
        const struct ext4_options options = { .size = 16 * MIB };
        struct scratch *scratch = *state;
        struct err err = { 0 };
        int status;

        assert_int_equal(ext4_make_empty(scratch->image, &options, &err), 0);
        for (int i = 0; i < N; i++)
                if (fork() == 0) {
                        scoped_free char *disk = xasprintf("%s.%d", scratch->disk, i);

                        _exit(make_work(scratch->image, 32 * MIB, disk, &err) == 0 ? 0 : 1);
                }
        for (int i = 0; i < N; i++) {
                assert_true(wait(&status) > 0);
                assert_int_equal(status, 0);
        }
        assert_int_equal(count_files(scratch->folder), N + 2); /* disks, seed, grown seed */
}

static void a_killed_copy_leaves_no_name(void **state)
{
        struct scratch *scratch = *state;
        unsigned n_killed = 0;

        write_image(scratch->image, 256);
        for (useconds_t delay_us = 1000; delay_us < 200000 && n_killed < 5; delay_us += delay_us / 2) {
                struct err err = { 0 };
                int status;
                pid_t pid = fork();

                if (pid == 0)
                        _exit(disk_clone(scratch->image, scratch->disk, NULL, &err) == 0 ? 0 : 1);
                (void) usleep(delay_us);
                (void) kill(pid, SIGKILL);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                if (WIFSIGNALED(status)) {
                        n_killed++;
                        /* killed between naming it and the end, the disk is there and whole */
                        if (access(scratch->disk, F_OK) == 0)
                                assert_same(scratch->image, scratch->disk);
                        else
                                assert_int_equal(count_files(scratch->folder), 1);
                }
                (void) unlink(scratch->disk);
        }
        assert_true(n_killed > 0);
}

/* false: not possible here */
static bool fill_a_small_disk(struct scratch *scratch)
{
        scoped_free char *small = xasprintf("%s/small", scratch->folder);
        scoped_free char *disk = xasprintf("%s/disk", small);
        struct err err = { 0 };

        assert_int_equal(mkdir(small, 0700), 0);
        if (mount("tmpfs", small, "tmpfs", 0, "size=4m") < 0)
                return false;
        write_image(scratch->image, 8);
        assert_int_equal(disk_clone(scratch->image, disk, NULL, &err), -ENOSPC);
        assert_non_null(strstr(err.message, "needs 8"));
        assert_non_null(strstr(err.message, "4.0 MiB more"));
        assert_int_equal(count_files(small), 0);
        write_image(scratch->image, 2);
        err = (struct err){ 0 };
        assert_int_equal(disk_clone(scratch->image, disk, NULL, &err), 0);
        assert_same(scratch->image, disk);
        assert_int_equal(umount2(small, MNT_DETACH), 0);
        return true;
}

static void a_full_disk_is_told_before_copying(void **state)
{
        if (!fill_a_small_disk(*state)) {
                print_message("mounting needs root: skipped\n");
                skip();
        }
}

/* Runs a program that may be missing on this machine. */
static bool runs(const char *const *argv)
{
        scoped_free char *error = NULL;
        struct err err = { 0 };

        return spawn_run(argv, 60000, MIB, NULL, &error, &err) == 0;
}

/* false: not possible here */
static bool clone_with_reflinks(struct scratch *scratch)
{
        scoped_free char *volume = xasprintf("%s/volume", scratch->folder);
        scoped_free char *mounted = xasprintf("%s/mounted", scratch->folder);
        scoped_free char *image = xasprintf("%s/image", mounted), *disk = xasprintf("%s/disk", mounted);
        const char *const make_xfs[] = { "mkfs.xfs", "-q", "-m", "reflink=1", volume, NULL };
        const char *const make_btrfs[] = { "mkfs.btrfs", "-q", volume, NULL };
        const char *const do_mount[] = { "mount", "-o", "loop", volume, mounted, NULL };
        enum disk_driver driver;
        struct err err = { 0 };

        write_image(volume, 512);
        assert_int_equal(mkdir(mounted, 0700), 0);
        if ((!runs(make_btrfs) && !runs(make_xfs)) || !runs(do_mount))
                return false;
        write_image(image, 8);
        if (disk_driver_find(mounted, &driver, &err) != 0 || driver != DISK_REFLINK ||
            disk_clone(image, disk, &driver, &err) != 0 || driver != DISK_REFLINK) {
                (void) umount2(mounted, MNT_DETACH);
                fail_msg("no reflink: %s", err.message);
        }
        assert_same(image, disk);
        assert_int_equal(umount2(mounted, MNT_DETACH), 0);
        return true;
}

static void a_file_system_with_reflinks_clones_at_once(void **state)
{
        if (!clone_with_reflinks(*state)) {
                print_message("mkfs.btrfs or mkfs.xfs, and root to mount it, are not here: skipped\n");
                skip();
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_reserved_disk_gets_its_content_while_it_is_open,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_clone_is_equal_private_and_sparse, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(what_cannot_be_cloned_leaves_what_was_there, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(work_disks_come_from_a_seed_grown_once, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(an_empty_work_disk_needs_no_seed, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(parallel_callers_share_a_grown_seed, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_killed_copy_leaves_no_name, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_full_disk_is_told_before_copying, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_file_system_with_reflinks_clones_at_once, make_scratch,
                                                drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
