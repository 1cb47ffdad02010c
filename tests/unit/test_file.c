#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "unit.h"

static int set_up(void **state)
{
        char *folder = xstrdup("/tmp/banger-file-XXXXXX");

        *state = mkdtemp(folder);
        return *state ? 0 : -1;
}

static int tear_down(void **state)
{
        scoped_free char *folder = *state;
        struct err err = { 0 };

        return file_remove_tree(folder, &err);
}

static void replacing_sets_content_and_mode_and_leaves_no_other_file(void **state)
{
        scoped_free char *path = xasprintf("%s/f", (const char *) *state);
        scoped_free char *text = NULL;
        struct err err = { 0 };
        struct stat st;
        size_t n;

        assert_int_equal(file_replace(path, "old", 3, 0600, &err), 0);
        assert_int_equal(file_replace(path, "newer", 5, 0640, &err), 0);
        assert_int_equal(file_read(path, 5, &text, &n, &err), 0);
        assert_string_equal(text, "newer");
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(*state), 0); /* so nothing else was in it */
        assert_int_equal(mkdir(*state, 0700), 0);
}

static void what_a_killed_replacement_left_goes_and_nothing_else(void **state)
{
        static const char *const names[] = { "f", "f.a1B2c3", "f.a1B2c3d", "f.a1B2c", "ff.a1B2c3", "g" };
        scoped_free char *path = xasprintf("%s/f", (const char *) *state);
        scoped_free char *missing = xasprintf("%s/nosuch/f", (const char *) *state);
        struct err err = { 0 };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                scoped_free char *one = xasprintf("%s/%s", (const char *) *state, names[i]);

                assert_int_equal(file_replace(one, "", 0, 0600, &err), 0);
        }
        assert_int_equal(file_remove_unfinished(path, &err), 0);
        assert_int_equal(file_remove_unfinished(missing, &err), 0);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                scoped_free char *one = xasprintf("%s/%s", (const char *) *state, names[i]);

                assert_int_equal(file_is_missing(one), strcmp(names[i], "f.a1B2c3") == 0);
        }
}

static void reading_is_capped(void **state)
{
        scoped_free char *path = xasprintf("%s/f", (const char *) *state);
        scoped_free char *text = NULL;
        struct err err = { 0 };

        assert_int_equal(file_replace(path, "123456", 6, 0600, &err), 0);
        assert_int_equal(file_read(path, 5, &text, NULL, &err), -EFBIG);
}

static void a_file_in_the_way_of_a_folder_is_an_error(void **state)
{
        scoped_free char *path = xasprintf("%s/f", (const char *) *state);
        scoped_free char *deep = xasprintf("%s/a//b/c", (const char *) *state);
        struct err err = { 0 };

        assert_int_equal(file_make_folders(deep, 0700, &err), 0);
        assert_int_equal(file_make_folders(deep, 0700, &err), 0);
        assert_int_equal(file_replace(path, "", 0, 0600, &err), 0);
        assert_int_equal(file_make_folders(path, 0700, &err), -ENOTDIR);
        err = (struct err){ 0 };
        assert_int_equal(file_make_folders("", 0700, &err), -ENOENT);
}

static void the_end_of_a_file_of_any_length_is_read(void **state)
{
        scoped_free char *path = xasprintf("%s/log", (const char *) *state);
        scoped_free char *some = NULL, *all = NULL, *none = NULL;
        struct err err = { 0 };

        assert_int_equal(file_replace(path, "one\ntwo\n", 8, 0600, &err), 0);
        assert_int_equal(file_read_end(path, 4, &some, &err), 0);
        assert_string_equal(some, "two\n");
        assert_int_equal(file_read_end(path, 100, &all, &err), 0);
        assert_string_equal(all, "one\ntwo\n");
        assert_int_equal(file_remove(path, &err), 0);
        assert_int_equal(file_read_end(path, 4, &none, &err), -ENOENT);
        assert_null(none);
}

static void removing_does_not_follow_links(void **state)
{
        scoped_free char *outside = xasprintf("%s/outside", (const char *) *state);
        scoped_free char *tree = xasprintf("%s/tree", (const char *) *state);
        scoped_free char *link = xasprintf("%s/tree/link", (const char *) *state);
        struct err err = { 0 };

        assert_int_equal(file_make_folders(outside, 0700, &err), 0);
        assert_int_equal(file_make_folders(tree, 0700, &err), 0);
        assert_int_equal(symlink(outside, link), 0);
        assert_int_equal(file_remove_tree(tree, &err), 0);
        assert_int_equal(access(tree, F_OK), -1);
        assert_int_equal(access(outside, F_OK), 0);
        assert_int_equal(file_remove_tree(tree, &err), 0); /* missing is success */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(replacing_sets_content_and_mode_and_leaves_no_other_file,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_a_killed_replacement_left_goes_and_nothing_else, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(reading_is_capped, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_end_of_a_file_of_any_length_is_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_file_in_the_way_of_a_folder_is_an_error, set_up, tear_down),
                cmocka_unit_test_setup_teardown(removing_does_not_follow_links, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
