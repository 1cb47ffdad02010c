#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/size.h"
#include "base/text.h"
#include "image/oci/oci_archive.h"
#include "unit.h"

#define WAIT_MS 20000

struct scratch {
        char *folder, *tar; /* owned */
        struct oci_cache cache;
};

static int make_scratch(void **state)
{
        struct scratch *scratch = xcalloc(1, sizeof(*scratch));
        char name[] = "/tmp/banger-test-archive.XXXXXX";
        struct err err = { 0 };

        assert_non_null(mkdtemp(name));
        scratch->folder = xstrdup(name);
        scratch->tar = xasprintf("%s/tar", name);
        assert_int_equal(oci_cache_open(name, &scratch->cache, &err), 0);
        *state = scratch;
        return 0;
}

static int drop_scratch(void **state)
{
        struct scratch *scratch = *state;
        struct err err = { 0 };

        assert_int_equal(file_remove_tree(scratch->folder, &err), 0);
        oci_cache_done(&scratch->cache);
        free(scratch->folder);
        free(scratch->tar);
        free(scratch);
        return 0;
}

static void put(struct archive *archive, const char *name, const char *content, const char *target)
{
        struct archive_entry *entry = archive_entry_new();
        size_t n = content ? strlen(content) : 0;

        archive_entry_copy_pathname(entry, name);
        archive_entry_set_mode(entry, (target ? AE_IFLNK : AE_IFREG) | 0600);
        archive_entry_set_size(entry, (int64_t) n);
        if (target)
                archive_entry_copy_symlink(entry, target);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        if (n > 0)
                assert_int_equal(archive_write_data(archive, content, n), n);
        archive_entry_free(entry);
}

static void write_tar(const struct scratch *scratch, int (*filter)(struct archive *))
{
        struct archive *archive = archive_write_new();

        assert_int_equal(filter(archive), ARCHIVE_OK);
        assert_int_equal(archive_write_set_format_pax_restricted(archive), ARCHIVE_OK);
        assert_int_equal(archive_write_open_filename(archive, scratch->tar), ARCHIVE_OK);
        put(archive, "./one/layer.tar", "the first", NULL);
        put(archive, "two/layer.tar", NULL, "../one/layer.tar");
        put(archive, "index.json", "old", NULL);
        put(archive, "index.json", "the last of a name counts", NULL);
        assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
        archive_write_free(archive);
}

static void assert_content(const struct oci_archive *archive, const char *name, const char *wanted)
{
        const struct oci_archive_entry *entry = oci_archive_find(archive, name);
        char content[64] = "";

        assert_non_null(entry);
        assert_int_equal(entry->size, strlen(wanted));
        assert_int_equal(pread(archive->fd, content, strlen(wanted), (off_t) entry->offset), strlen(wanted));
        assert_string_equal(content, wanted);
}

static void assert_whole(struct oci_archive *archive)
{
        assert_content(archive, "one/layer.tar", "the first");
        assert_content(archive, "two/layer.tar", "the first");
        assert_content(archive, "index.json", "the last of a name counts");
        assert_null(oci_archive_find(archive, "three"));
        oci_archive_done(archive);
}

static void files_are_found_behind_every_filter(void **state)
{
        static int (*const filters[])(struct archive *) = {
                archive_write_add_filter_none, archive_write_add_filter_gzip, archive_write_add_filter_bzip2,
                archive_write_add_filter_xz, archive_write_add_filter_zstd
        };
        struct scratch *scratch = *state;

        for (size_t i = 0; i < N_ELEMENTS(filters); i++) {
                struct oci_archive archive;
                struct err err = { 0 };

                write_tar(scratch, filters[i]);
                assert_int_equal(oci_archive_open(open(scratch->tar, O_RDONLY | O_CLOEXEC), "it",
                                                  &scratch->cache, &archive, &err),
                                 0);
                assert_whole(&archive);
        }
}

static void cut_and_foreign_files_are_refused(void **state)
{
        static const struct {
                off_t length;
                int (*filter)(struct archive *);
        } cases[] = {
                {100,  archive_write_add_filter_none},
                { 515, archive_write_add_filter_none},
                { 60,  archive_write_add_filter_gzip},
                { 60,  archive_write_add_filter_xz  },
        };
        struct scratch *scratch = *state;

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct oci_archive archive;
                struct err err = { 0 };

                write_tar(scratch, cases[i].filter);
                assert_int_equal(truncate(scratch->tar, cases[i].length), 0);
                assert_int_equal(oci_archive_open(open(scratch->tar, O_RDONLY | O_CLOEXEC), "it",
                                                  &scratch->cache, &archive, &err),
                                 -EBADMSG);
                assert_true(text_starts_with(err.message, "it "));
        }
}

/* Whoever reads a stranger's bytes: the one child of this process. */
static bool reader_is_confined(void)
{
        scoped_free char *path = xasprintf("/proc/%d/task/%d/children", getpid(), getpid());
        scoped_free char *status_path = NULL, *children = NULL, *status = NULL;
        struct err ignored = { 0 };
        size_t n;

        if (file_read(path, 4096, &children, &n, &ignored) < 0 || n == 0)
                return false;
        children[strcspn(children, " ")] = '\0';
        status_path = xasprintf("/proc/%s/status", children);
        return file_read(status_path, 16384, &status, &n, &ignored) == 0 && strstr(status, "Seccomp:\t2\n") &&
               strstr(status, "NoNewPrivs:\t1\n");
}

struct feeder {
        int to, from; /* owned */
        bool was_confined;
};

static void *feed(void *userdata)
{
        struct feeder *feeder = userdata;
        uint64_t deadline = clock_monotonic_ms() + WAIT_MS;
        char bytes[4096];
        ssize_t n;

        while (!(feeder->was_confined = reader_is_confined()) && clock_monotonic_ms() < deadline)
                (void) usleep(1000);
        while ((n = read(feeder->from, bytes, sizeof(bytes))) > 0)
                (void) fd_write_full(feeder->to, bytes, (size_t) n);
        (void) close(feeder->to);
        (void) close(feeder->from);
        return NULL;
}

static void a_pipe_is_read_by_a_process_that_gave_up_its_rights_before(void **state)
{
        struct scratch *scratch = *state;
        struct oci_archive archive;
        struct feeder feeder = { 0 };
        struct err err = { 0 };
        pthread_t thread;
        int ends[2];

        write_tar(scratch, archive_write_add_filter_zstd);
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        feeder.to = ends[1];
        feeder.from = open(scratch->tar, O_RDONLY | O_CLOEXEC);
        assert_int_equal(pthread_create(&thread, NULL, feed, &feeder), 0);
        assert_int_equal(oci_archive_open(ends[0], "it", &scratch->cache, &archive, &err), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(feeder.was_confined);
        assert_whole(&archive);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(files_are_found_behind_every_filter, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(cut_and_foreign_files_are_refused, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_pipe_is_read_by_a_process_that_gave_up_its_rights_before,
                                                make_scratch, drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
