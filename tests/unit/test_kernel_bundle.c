/* Kernels from bundles: the rule of images (test_image_bundle.c), and no kernel tree after a failure (S-260). */
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include "base/size.h"
#include "kernel/kernel_archive.h"
#include "kernel/kernel_manifest.h"
#include "kernel_fixture.h"
#include "unit.h"

static char *folder, *kernels, *agent, *packed, *url, sha256[KERNEL_SHA256_TEXT_MAX];

static int make_scratch(void **state)
{
        (void) state;
        folder = fixture_folder();
        kernels = xasprintf("%s/kernels", folder);
        agent = xasprintf("%s/agent", folder);
        packed = xasprintf("%s/bundle.tar.zst", folder);
        url = xasprintf("file://%s", packed);
        fixture_write(folder, "agent", "agent", 5);
        return 0;
}

static int drop_scratch(void **state)
{
        char *const texts[] = { folder, kernels, agent, packed, url };
        struct err err = { 0 };

        (void) state;
        kernel_fetched_bytes_max = 8 * GIB;
        assert_int_equal(file_remove_tree(folder, &err), 0);
        for (size_t i = 0; i < N_ELEMENTS(texts); i++)
                free(texts[i]);
        return 0;
}

static void add(struct archive *archive, const char *name, const void *data, size_t n)
{
        struct archive_entry *entry = archive_entry_new();

        archive_entry_set_pathname(entry, name);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        archive_entry_set_size(entry, (la_int64_t) n);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        assert_int_equal(archive_write_data(archive, data, n), n);
        archive_entry_free(entry);
}

/* With vmlinux, and one more file when other is not NULL. */
static void pack(bool has_vmlinux, const char *other)
{
        struct archive *archive = archive_write_new();
        uint8_t vmlinux[FIXTURE_VMLINUX_BYTES];
        scoped_free char *bytes = NULL;
        struct err err = { 0 };
        size_t n = 0;

        fixture_vmlinux(vmlinux);
        assert_int_equal(archive_write_add_filter_zstd(archive), ARCHIVE_OK);
        assert_int_equal(archive_write_set_format_pax_restricted(archive), ARCHIVE_OK);
        assert_int_equal(archive_write_open_filename(archive, packed), ARCHIVE_OK);
        add(archive, "manifest.json", "{}", 2);
        if (has_vmlinux)
                add(archive, "vmlinux", vmlinux, sizeof(vmlinux));
        if (other)
                add(archive, other, "x", 1);
        assert_int_equal(archive_write_free(archive), ARCHIVE_OK);
        assert_int_equal(file_read(packed, 1 << 20, &bytes, &n, &err), 0);
        kernel_sha256(bytes, n, sha256);
}

static int pull(struct err *err)
{
        const struct kernel_import import = { .name = "mine",
                                              .kernels_folder = kernels,
                                              .agent_path = agent };
        const struct kernel_catalog_entry bundle = { .url = url, .sha256 = sha256, .distro = "debian" };
        struct kernel kernel = { 0 };
        int r = kernel_pull_bundle(&import, &bundle, &kernel, err);

        if (r == 0) {
                assert_string_equal(kernel.version, "6.9.9-test");
                assert_string_equal(kernel.distro, "debian");
                assert_int_equal(kernel.n_modules, 0);
                assert_true(text_starts_with(kernel.source, "bundle:file://"));
        }
        kernel_done(&kernel);
        return r;
}

static void assert_refused(const char *said)
{
        DIR *open_folder;
        const struct dirent *entry;
        struct err err = { 0 };

        assert_true(pull(&err) < 0);
        if (!strstr(err.message, said))
                fail_msg("'%s' is not in: %s", said ? said : "", err.message);
        open_folder = opendir(kernels);
        while (open_folder && (entry = readdir(open_folder)))
                assert_true(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
        if (open_folder)
                (void) closedir(open_folder);
}

/* The first test: no other has changed it yet (S-241). */
static void the_cap_is_eight_gib(void **state)
{
        (void) state;
        assert_true(kernel_fetched_bytes_max == 8 * GIB);
}

static void a_good_bundle_becomes_a_kernel(void **state)
{
        struct err err = { 0 };

        (void) state;
        pack(true, NULL);
        assert_int_equal(pull(&err), 0);
        assert_int_equal(pull(&err), -EEXIST);
        assert_non_null(strstr(err.message, "already pulled"));
}

static void what_is_wrong_is_refused_and_leaves_no_kernel(void **state)
{
        (void) state;
        pack(true, NULL);
        kernel_fetched_bytes_max = 64;
        assert_refused("cap of 64 B");
        kernel_fetched_bytes_max = 8 * GIB;
        sha256[0] = sha256[0] == 'a' ? 'b' : 'a';
        assert_refused("the catalog says");
        pack(false, NULL);
        assert_refused("'vmlinux' is missing");
        pack(true, "initrd.img");
        assert_refused("does not belong");
        pack(true, "modules/../../x");
        assert_refused("leads out");
        pack(true, "modules/x"); /* a folder of modules has all that guests need */
        assert_refused("mine");
}

static void a_catalog_of_the_users_comes_first(void **state)
{
        scoped_free char *path = xasprintf("%s/kernels.json", folder);
        static const char *const wrong[] = { "{}", "[{}]", "[{\"name\":\"x\"}]", "[" };
        static const char good[] = "[{\"name\":\"debian-6.1\",\"bundle\":{\"url\":\"https://x/y\",\"sha256\":"
                                   "\"0000000000000000000000000000000000000000000000000000000000000000\"}}]";
        struct err err = { 0 };

        (void) state;
        assert_int_equal(kernel_catalog_add(path, &err), 0); /* there is none */
        for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
                fixture_write(folder, "kernels.json", wrong[i], strlen(wrong[i]));
                assert_true(kernel_catalog_add(path, &err) < 0);
                err = (struct err){ 0 };
        }
        assert_string_equal(kernel_catalog_find("debian-6.1")->url, "");
        fixture_write(folder, "kernels.json", good, strlen(good));
        assert_int_equal(kernel_catalog_add(path, &err), 0);
        assert_string_equal(kernel_catalog_find("debian-6.1")->url, "https://x/y");
        assert_null(kernel_catalog_find("nope"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_cap_is_eight_gib, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_good_bundle_becomes_a_kernel, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(what_is_wrong_is_refused_and_leaves_no_kernel, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_catalog_of_the_users_comes_first, make_scratch,
                                                drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
