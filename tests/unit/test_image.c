#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/image_host.h"
#include "image/image_packages.h"
#include "image/image_recipe.h"
#include "image/image_staging.h"
#include "image/image_store.h"
#include "unit.h"

static int make_scratch(void **state)
{
        char name[] = "/tmp/banger-test-image.XXXXXX";

        assert_non_null(mkdtemp(name));
        *state = xstrdup(name);
        return 0;
}

static int drop_scratch(void **state)
{
        struct err err = { 0 };

        assert_int_equal(file_remove_tree(*state, &err), 0);
        free(*state);
        return 0;
}

static bool has(const char *const *packages, const char *wanted)
{
        for (; *packages; packages++)
                if (strcmp(*packages, wanted) == 0)
                        return true;
        return false;
}

static void the_base_list_has_a_floor(void **state)
{
        const char *const *base = image_recipes[0].packages; /* the golden image is the catalog's first */

        (void) state;
        assert_true(has(base, "ca-certificates") && has(base, "curl") && has(base, "git"));
}

static void the_hash_is_of_lines_in_order(void **state)
{
        static const char *const one[] = { "a", "b", NULL }, *const other[] = { "b", "a", NULL };
        char hash[IMAGE_PACKAGES_HASH_MAX], other_hash[IMAGE_PACKAGES_HASH_MAX],
                wanted[IMAGE_PACKAGES_HASH_MAX];
        unsigned char digest[SHA256_DIGEST_LENGTH];

        (void) state;
        (void) SHA256((const unsigned char *) "a\nb\n", 4, digest);
        text_hex(digest, sizeof(digest), wanted);
        image_packages_hash(one, hash);
        image_packages_hash(other, other_hash);
        assert_string_equal(hash, wanted);
        assert_string_not_equal(hash, other_hash);
}

static void the_hash_is_written_beside_the_rootfs_or_not_at_all(void **state)
{
        static const char *const some[] = { "a", NULL }, *const none[] = { NULL };
        scoped_free char *rootfs = xasprintf("%s/rootfs.ext4", (char *) *state);
        scoped_free char *path = xasprintf("%s.packages.sha256", rootfs), *text = NULL;
        char hash[IMAGE_PACKAGES_HASH_MAX];
        struct err err = { 0 };

        assert_int_equal(image_packages_write(rootfs, none, &err), 0);
        assert_int_equal(image_packages_write("", some, &err), 0);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(image_packages_write(rootfs, some, &err), 0);
        assert_int_equal(file_read(path, 1000, &text, NULL, &err), 0);
        image_packages_hash(some, hash);
        assert_int_equal(strncmp(text, hash, 64), 0);
        assert_string_equal(text + 64, "\n");
}

static void an_optional_artifact_needs_a_source(void **state)
{
        static const struct {
                const char *source, *wanted;
        } cases[] = {
                {NULL,       ""                        },
                { "",        ""                        },
                { " \t\n",   ""                        },
                { "/x/seed", "/images/a/work-seed.ext4"}
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped_free char *path = image_stage_optional("/images/a", cases[i].source, "work-seed.ext4");

                assert_string_equal(path, cases[i].wanted);
        }
}

static void write_file(const char *folder, const char *name, const char *text)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        struct err err = { 0 };

        assert_int_equal(file_replace(path, text, strlen(text), 0644, &err), 0);
}

static char *make_image(const char *images, const char *name)
{
        char *folder = xasprintf("%s/%s", images, name);

        assert_int_equal(mkdir(folder, 0700), 0);
        write_file(folder, "rootfs.ext4", "root");
        write_file(folder, "manifest.json",
                   "{\"source\":\"recipe:x\",\"kernel\":\"k\",\"created_at\":\"2026-01-01T00:00:00Z\","
                   "\"rootfs_size\":4}");
        return folder;
}

static void images_are_listed_read_and_deleted(void **state)
{
        const char *images = *state;
        scoped_free char *b = make_image(images, "b"), *a = make_image(images, "a");
        scoped_free char *half = xasprintf("%s/half", images), *staging = xasprintf("%s/.staging-x", images);
        struct image *list = NULL, image;
        struct err err = { 0 };
        unsigned n;

        assert_int_equal(mkdir(half, 0700), 0); /* no manifest: what a cut-off deletion leaves */
        assert_int_equal(mkdir(staging, 0700), 0);
        write_file(a, "work-seed.ext4", "seed");
        assert_int_equal(image_list(images, &list, &n, &err), 0);
        assert_int_equal(n, 2);
        assert_string_equal(list[0].name, "a");
        assert_true(text_ends_with(list[0].work_seed_path, "/a/work-seed.ext4"));
        assert_string_equal(list[1].name, "b");
        assert_string_equal(list[1].work_seed_path, "");
        assert_string_equal(list[1].kernel, "k");
        assert_int_equal(list[1].rootfs_size, 4);
        assert_true(list[1].real_bytes > 0);
        for (unsigned i = 0; i < n; i++)
                image_done(&list[i]);
        free(list);

        assert_int_equal(image_delete(images, "a", &err), 0);
        assert_int_equal(access(a, F_OK), -1);
        assert_int_equal(image_read(images, "a", &image, &err), -ENOENT);
        assert_non_null(strstr(err.message, "banger image pull"));
        err = (struct err){ 0 };
        assert_int_equal(image_delete(images, "a", &err), -ENOENT);
        err = (struct err){ 0 };
        assert_int_equal(image_delete(images, "../b", &err), -EINVAL);
        assert_int_equal(access(b, F_OK), 0);
}

static void no_folder_is_no_images(void **state)
{
        scoped_free char *images = xasprintf("%s/none", (char *) *state);
        struct image *list = NULL;
        struct err err = { 0 };
        unsigned n = 1;

        assert_int_equal(image_list(images, &list, &n, &err), 0);
        assert_int_equal(n, 0);
        free(list);
}

static void a_broken_manifest_is_told(void **state)
{
        static const char *const broken[] = { "", "{", "[]", "{} {}" };
        scoped_free char *folder = make_image(*state, "a");

        for (size_t i = 0; i < N_ELEMENTS(broken); i++) {
                struct image image;
                struct err err = { 0 };

                write_file(folder, "manifest.json", broken[i]);
                assert_true(image_read(*state, "a", &image, &err) < 0);
                assert_true(err.message[0] != '\0');
        }
}

static void names_are_checked(void **state)
{
        static const struct {
                const char *name;
                bool is_valid;
        } cases[] = {
                {"debian-bookworm", true },
                { "A_1.x",          true },
                { "",               false},
                { NULL,             false},
                { ".hidden",        false},
                { "a/b",            false},
                { "..",             false},
                { "a b",            false}
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                assert_int_equal(image_name_is_valid(cases[i].name), cases[i].is_valid);
}

static void pulls_that_cannot_begin_change_nothing(void **state)
{
        scoped_free char *staging = xasprintf("%s/new", (char *) *state);
        const struct {
                const char *name, *recipe;
                int code;
                const char *message;
        } cases[] = {
                {"new",    "no-such",         ENOENT, "debian-bookworm"},
                { "taken", "debian-bookworm", EEXIST, "taken"          },
                { "../x",  "debian-bookworm", EINVAL, "image name"     }
        };

        free(make_image(*state, "taken"));
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                const struct image_pull pull = { .name = cases[i].name,
                                                 .recipe = cases[i].recipe,
                                                 .images_folder = *state,
                                                 .cache_folder = *state };
                struct image image;
                struct err err = { 0 };

                assert_int_equal(image_pull(&pull, &image, &err), -cases[i].code);
                assert_non_null(strstr(err.message, cases[i].message));
        }
        assert_int_equal(access(staging, F_OK), -1);
}

/* mmdebstrap is played by a script: the tree comes as a tar, and failure is told in its words. */
static void play(const char *folder, const char *script)
{
        scoped_free char *path = xasprintf("%s/mmdebstrap", folder);
        struct err err = { 0 };

        assert_int_equal(file_replace(path, script, strlen(script), 0755, &err), 0);
}

static int cancel_in_write(void *userdata, const char *stage, uint64_t done, uint64_t total)
{
        (void) done;
        (void) total;
        return strcmp(stage, userdata) == 0 ? -1 : 0;
}

static unsigned count_names(const char *folder)
{
        struct image *list = NULL;
        struct err err = { 0 };
        unsigned n = 0;

        assert_int_equal(image_list(folder, &list, &n, &err), 0);
        for (unsigned i = 0; i < n; i++)
                image_done(&list[i]);
        free(list);
        return n;
}

/* Needs root: as anybody else the check for subordinate ids depends on the machine. */
static void check_pulls(const char *folder)
{
        static const struct {
                const char *script, *cancel_at;
                int code;
                const char *message;
        } cases[] = {
                {"#!/bin/sh\necho 'I: running apt-get update...' >&2\nmkdir -p $TMPDIR/t/root "
                  "$TMPDIR/t/etc\n"
                  "echo hi >$TMPDIR/t/root/.profile\ntar -C $TMPDIR/t -c .\n",         "",         0,         ""                            },
                { "#!/bin/sh\necho 'E: mirror is away' >&2\necho 'I: removing tempdir' >&2\nexit 25\n", "",
                 EIO,                                                                                                          "status 25: E: mirror is away"},
                { "#!/bin/sh\nmkdir -p $TMPDIR/t/root\ntar -C $TMPDIR/t -c .\necho 'E: too late' >&2\nexit "
                  "1\n",                                                               "",         EIO,       "E: too late"                 },
                { "#!/bin/sh\nmkdir $TMPDIR/left\nexec sleep 1000\n",                                   "packages", ECANCELED, "cancelled"                   },
                { "#!/bin/sh\nmkdir -p $TMPDIR/t/root\ntar -C $TMPDIR/t -c .\n",                        "seed",     ECANCELED,
                 "cancelled"                                                                                                                                 },
                { "#!/bin/sh\nmkdir -p $TMPDIR/t/root\ntar -C $TMPDIR/t -c .\n",                        "publish",  ECANCELED,
                 "cancelled"                                                                                                                                 },
        };
        const char *old_path = getenv("PATH");
        scoped_free char *saved = xstrdup(old_path), *bin = xasprintf("%s/bin", folder);
        scoped_free char *path = xasprintf("%s:%s", bin, old_path);
        scoped_free char *images = xasprintf("%s/images", folder);

        assert_int_equal(mkdir(bin, 0755), 0);
        assert_int_equal(setenv("PATH", path, 1), 0);
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                const struct image_pull pull = {
                        .name = "x",
                        .recipe = "debian-bookworm",
                        .images_folder = images,
                        .cache_folder = folder,
                        .size = UINT64_C(64) << 20,
                        .progress = {.report = cancel_in_write,
                                     .userdata = (void *) (uintptr_t) cases[i].cancel_at}
                };
                struct image image = { 0 };
                struct err err = { 0 };
                int r;

                play(bin, cases[i].script);
                r = image_pull(&pull, &image, &err);
                if (r != -cases[i].code)
                        print_error("case %zu: %s\n", i, err.message);
                assert_int_equal(r, -cases[i].code);
                assert_non_null(strstr(err.message, cases[i].message));
                assert_int_equal(count_names(images), r == 0);
                if (r == 0) {
                        assert_true(text_ends_with(image.work_seed_path, "/images/x/work-seed.ext4"));
                        assert_int_equal(access(image.rootfs_path, R_OK), 0);
                        image_done(&image);
                        assert_int_equal(image_delete(images, "x", &err), 0);
                }
                /* neither staging nor build folder: the folder itself must be removable, empty as it is */
                assert_int_equal(rmdir(images), 0);
        }
        assert_int_equal(setenv("PATH", saved, 1), 0);
}

static void a_pull_ends_whole_or_leaves_nothing(void **state)
{
        if (geteuid() != 0) {
                print_message("needs root: skipped\n");
                skip();
        }
        check_pulls(*state);
}

static void staging_of_the_dead_goes_and_of_the_living_stays(void **state)
{
        scoped_free char *dead = xasprintf("%s/.s-dead", (char *) *state);
        struct image_staging first = IMAGE_STAGING_NONE, second = IMAGE_STAGING_NONE;
        struct err err = { 0 };

        assert_int_equal(mkdir(dead, 0700), 0);
        assert_int_equal(image_staging_begin(*state, ".s-", 0700, &first, &err), 0);
        assert_int_equal(access(dead, F_OK), -1);
        assert_int_equal(image_staging_begin(*state, ".s-", 0711, &second, &err), 0);
        assert_int_equal(access(first.path, F_OK), 0);
        image_staging_end(&first);
        image_staging_end(&second);
}

static void folders_closed_to_others_are_seen(void **state)
{
        scoped_free char *open_folder = xasprintf("%s/open", (char *) *state);

        assert_int_equal(mkdir(open_folder, 0755), 0);
        assert_false(image_host_can_others_enter(open_folder)); /* mkdtemp(3) makes its parent 0700 */
        assert_int_equal(chmod(*state, 0711), 0);
        assert_true(image_host_can_others_enter(open_folder));
        assert_true(image_host_can_others_enter("/tmp"));
        assert_false(image_host_can_others_enter("/no/such"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_base_list_has_a_floor),
                cmocka_unit_test(the_hash_is_of_lines_in_order),
                cmocka_unit_test_setup_teardown(the_hash_is_written_beside_the_rootfs_or_not_at_all,
                                                make_scratch, drop_scratch),
                cmocka_unit_test(an_optional_artifact_needs_a_source),
                cmocka_unit_test_setup_teardown(images_are_listed_read_and_deleted, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(no_folder_is_no_images, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_broken_manifest_is_told, make_scratch, drop_scratch),
                cmocka_unit_test(names_are_checked),
                cmocka_unit_test_setup_teardown(pulls_that_cannot_begin_change_nothing, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_pull_ends_whole_or_leaves_nothing, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(staging_of_the_dead_goes_and_of_the_living_stays,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(folders_closed_to_others_are_seen, make_scratch,
                                                drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
