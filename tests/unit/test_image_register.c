/* What becomes an image without being pulled, and the index that lists a thousand of them. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "image/image_store.h"
#include "unit.h"

struct scratch {
        char *folder, *images, *rootfs;
};

static int make_scratch(void **state)
{
        char name[] = "/tmp/banger-test-register.XXXXXX";
        const struct ext4_options options = { .size = UINT64_C(8) << 20 };
        struct scratch *scratch = xcalloc(1, sizeof(*scratch));
        struct err err = { 0 };

        assert_non_null(mkdtemp(name));
        scratch->folder = xstrdup(name);
        scratch->images = xasprintf("%s/images", name);
        scratch->rootfs = xasprintf("%s/mine.ext4", name);
        assert_int_equal(ext4_make_empty(scratch->rootfs, &options, &err), 0);
        *state = scratch;
        return 0;
}

static int drop_scratch(void **state)
{
        struct scratch *scratch = *state;
        struct err err = { 0 };

        assert_int_equal(file_remove_tree(scratch->folder, &err), 0);
        free(scratch->folder);
        free(scratch->images);
        free(scratch->rootfs);
        free(scratch);
        return 0;
}

static struct image_register a_registration(const struct scratch *scratch)
{
        return (struct image_register){
                .name = "mine", .images_folder = scratch->images, .rootfs = scratch->rootfs, .kernel = "k"
        };
}

static unsigned count_names(const char *folder)
{
        DIR *open_folder = opendir(folder);
        const struct dirent *entry;
        unsigned n = 0;

        while (open_folder && (entry = readdir(open_folder)))
                n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        if (open_folder)
                (void) closedir(open_folder);
        return n;
}

/* Only the wanted image, or none, and no staging folder. */
static void assert_no_leftovers(const struct scratch *scratch, const char *wanted)
{
        struct image *list = NULL;
        struct err err = { 0 };
        unsigned n;

        assert_int_equal(image_list(scratch->images, &list, &n, &err), 0);
        assert_int_equal(n, wanted ? 1 : 0);
        for (unsigned i = 0; i < n; i++) {
                assert_string_equal(list[i].name, wanted);
                image_done(&list[i]);
        }
        free(list);
        assert_int_equal(count_names(scratch->images), n);
}

static void a_registered_file_stays_where_it_is(void **state)
{
        const struct scratch *scratch = *state;
        const struct image_register registration = a_registration(scratch);
        struct image image = { 0 };
        struct err err = { 0 };

        assert_int_equal(image_register(&registration, &image, &err), 0);
        assert_false(image.is_managed);
        assert_string_equal(image.rootfs_path, scratch->rootfs);
        assert_string_equal(image.work_seed_path, "");
        assert_string_equal(image.kernel, "k");
        assert_int_equal(image.rootfs_size, 8 << 20);
        image_done(&image);
        assert_int_equal(image_register(&registration, &image, &err), -EEXIST);
        err = (struct err){ 0 };
        assert_int_equal(image_delete(scratch->images, "mine", &err), 0);
        assert_int_equal(access(scratch->rootfs, F_OK), 0);
        assert_no_leftovers(scratch, NULL);
}

static void a_work_seed_is_copied(void **state)
{
        const struct scratch *scratch = *state;
        struct image_register registration = a_registration(scratch);
        struct image image = { 0 };
        struct err err = { 0 };

        registration.work_seed = scratch->rootfs;
        assert_int_equal(image_register(&registration, &image, &err), 0);
        assert_true(text_starts_with(image.work_seed_path, scratch->images));
        assert_int_equal(access(image.work_seed_path, F_OK), 0);
        image_done(&image);
}

static void only_ext4_files_are_registered(void **state)
{
        const struct scratch *scratch = *state;
        scoped_free char *text = xasprintf("%s/text", scratch->folder);
        const char *const wrong[] = { text, scratch->folder, "/dev/null", "/nonexistent" };
        struct image_register registration = a_registration(scratch);
        struct image image = { 0 };
        struct err err = { 0 };

        assert_int_equal(file_replace(text, "no file system", 14, 0644, &err), 0);
        for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
                err = (struct err){ 0 };
                registration.rootfs = wrong[i];
                assert_true(image_register(&registration, &image, &err) < 0);
                assert_non_null(strstr(err.message, wrong[i]));
        }
        err = (struct err){ 0 };
        registration.rootfs = scratch->rootfs;
        registration.work_seed = text;
        assert_true(image_register(&registration, &image, &err) < 0);
        assert_no_leftovers(scratch, NULL);
}

static void a_promoted_image_needs_the_original_no_more(void **state)
{
        const struct scratch *scratch = *state;
        struct image_register registration = a_registration(scratch);
        const struct image_progress silent = { 0 };
        struct image image = { 0 };
        struct err err = { 0 };

        registration.work_seed = scratch->rootfs;
        assert_int_equal(image_register(&registration, &image, &err), 0);
        image_done(&image);
        assert_int_equal(image_promote(scratch->images, "mine", &silent, &image, &err), 0);
        assert_true(image.is_managed);
        assert_int_equal(unlink(scratch->rootfs), 0);
        assert_int_equal(access(image.rootfs_path, F_OK), 0);
        assert_int_equal(access(image.work_seed_path, F_OK), 0);
        assert_string_equal(image.kernel, "k");
        image_done(&image);
        assert_int_equal(image_promote(scratch->images, "mine", &silent, &image, &err), -EALREADY);
        assert_no_leftovers(scratch, "mine");
}

static int refuse(void *userdata, const char *stage, uint64_t done, uint64_t total)
{
        (void) userdata;
        (void) done;
        (void) total;
        return strcmp(stage, "publish") == 0 ? -1 : 0;
}

static void a_promotion_that_is_stopped_changes_nothing(void **state)
{
        const struct scratch *scratch = *state;
        const struct image_register registration = a_registration(scratch);
        const struct image_progress progress = { .report = refuse };
        struct image image = { 0 };
        struct err err = { 0 };

        assert_int_equal(image_register(&registration, &image, &err), 0);
        image_done(&image);
        assert_int_equal(image_promote(scratch->images, "mine", &progress, &image, &err), -ECANCELED);
        err = (struct err){ 0 };
        assert_int_equal(image_read(scratch->images, "mine", &image, &err), 0);
        assert_false(image.is_managed);
        image_done(&image);
        assert_no_leftovers(scratch, "mine");
}

static unsigned count(struct image_index *index, uint64_t *ret_generation)
{
        const struct image *images = NULL;
        struct err err = { 0 };
        unsigned n = 0;

        assert_int_equal(image_index_list(index, &images, &n, &err), 0);
        for (unsigned i = 1; i < n; i++)
                assert_true(strcmp(images[i - 1].name, images[i].name) < 0);
        *ret_generation = image_index_generation(index);
        return n;
}

static void the_index_sees_what_comes_goes_and_changes(void **state)
{
        const struct scratch *scratch = *state;
        struct image_register registration = a_registration(scratch);
        struct image_index *index = image_index_new(scratch->images);
        const struct image *images = NULL;
        uint64_t generation, before;
        struct image image = { 0 };
        struct err err = { 0 };
        unsigned n;

        assert_int_equal(count(index, &generation), 0); /* not even the folder is there */
        registration.name = "b";
        assert_int_equal(image_register(&registration, &image, &err), 0);
        image_done(&image);
        assert_int_equal(count(index, &generation), 1);
        registration.name = "a";
        assert_int_equal(image_register(&registration, &image, &err), 0);
        image_done(&image);
        assert_int_equal(count(index, &generation), 2);
        assert_int_equal(image_promote(scratch->images, "b", &(struct image_progress){ 0 }, &image, &err), 0);
        image_done(&image);
        image_index_touch(index);
        assert_int_equal(image_index_list(index, &images, &n, &err), 0);
        assert_false(images[0].is_managed);
        assert_true(images[1].is_managed);
        assert_int_equal(image_delete(scratch->images, "a", &err), 0);
        assert_int_equal(count(index, &generation), 1);
        (void) usleep(50000); /* beyond the tick of the last change, nothing is read again */
        (void) count(index, &before);
        (void) count(index, &generation);
        assert_int_equal(generation, before);
        image_index_touch(index);
        assert_int_equal(count(index, &generation), 1);
        assert_int_not_equal(generation, before);
        image_index_free(index);
}

static void the_index_tells_of_a_damaged_manifest_each_time(void **state)
{
        const struct scratch *scratch = *state;
        const struct image_register registration = a_registration(scratch);
        scoped_free char *manifest = xasprintf("%s/mine/manifest.json", scratch->images);
        struct image_index *index = image_index_new(scratch->images);
        const struct image *images = NULL;
        struct image image = { 0 };
        struct err err = { 0 };
        unsigned n;

        assert_int_equal(image_register(&registration, &image, &err), 0);
        image_done(&image);
        assert_int_equal(file_replace(manifest, "[]", 2, 0644, &err), 0);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(image_index_list(index, &images, &n, &err), -EBADMSG);
                assert_non_null(strstr(err.message, "mine"));
                err = (struct err){ 0 };
        }
        image_index_free(index);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_registered_file_stays_where_it_is, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_work_seed_is_copied, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(only_ext4_files_are_registered, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_promoted_image_needs_the_original_no_more, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_promotion_that_is_stopped_changes_nothing, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(the_index_sees_what_comes_goes_and_changes, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(the_index_tells_of_a_damaged_manifest_each_time, make_scratch,
                                                drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
