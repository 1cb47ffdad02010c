/* The store of kernels: import whole or not at all, read, list, delete, refresh. */
#include <dirent.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "kernel/kernel_archive.h"
#include "kernel/kernel_store.h"
#include "kernel_fixture.h"
#include "unit.h"

#define MIB_TEST_MAX ((size_t) 1 << 20)

struct world {
        char *folder;  /* owned */
        char *kernels; /* owned */
        char *package; /* owned: an unpacked package */
        char *agent;   /* owned */
};

static int set_up(void **state)
{
        static const char *const modules[] = { "virtio_mmio", "virtio_blk", "virtio_net",
                                               "vmw_vsock_virtio_transport" };
        struct world *world = xcalloc(1, sizeof(*world));
        uint8_t image[FIXTURE_VMLINUX_BYTES];
        scoped_free char *folder = NULL;

        world->folder = fixture_folder();
        world->kernels = xasprintf("%s/kernels", world->folder);
        world->package = xasprintf("%s/package", world->folder);
        world->agent = xasprintf("%s/agent", world->folder);
        folder = xasprintf("%s/lib/modules/6.9.9-test", world->package);
        fixture_vmlinux(image);
        fixture_write(world->package, "boot/vmlinux-6.9.9-test", image, sizeof(image));
        for (size_t i = 0; i < N_ELEMENTS(modules); i++) {
                scoped_free char *name = xasprintf("kernel/%s.ko", modules[i]);

                fixture_write_module(folder, name, "", NULL);
        }
        fixture_write(folder, "modules.builtin", "kernel/fs/ext4/ext4.ko\n", 23);
        fixture_write(world->folder, "agent", "agent one", 9);
        *state = world;
        return 0;
}

static int tear_down(void **state)
{
        struct world *world = *state;
        struct err err = { 0 };
        int r = file_remove_tree(world->folder, &err);

        free(world->folder);
        free(world->kernels);
        free(world->package);
        free(world->agent);
        free(world);
        return r;
}

static struct kernel_import import_of(const struct world *world, const char *name)
{
        return (struct kernel_import){ .name = name,
                                       .kernels_folder = world->kernels,
                                       .from = world->package,
                                       .agent_path = world->agent,
                                       .distro = "test" };
}

static unsigned count_entries(const char *folder)
{
        DIR *dir = opendir(folder);
        unsigned n = 0;

        while (dir && readdir(dir))
                n++;
        if (dir)
                (void) closedir(dir);
        return n > 2 ? n - 2 : 0;
}

static void import_one(const struct world *world, const char *name)
{
        struct kernel_import import = import_of(world, name);
        struct kernel kernel = { 0 };
        struct err err = { 0 };

        if (kernel_import(&import, &kernel, &err) < 0)
                fail_msg("%s", err.message);
        kernel_done(&kernel);
}

static void names_are_bounded(void **state)
{
        static const struct {
                const char *name;
                bool is_valid;
        } cases[] = {
                {"a",                                                                  true },
                { "debian-6.1_x",                                                      true },
                { "",                                                                  false},
                { ".a",                                                                false},
                { "..",                                                                false},
                { "a/b",                                                               false},
                { "a b",                                                               false},
                { "\xc3\xa4",                                                          false},
                { "-a",                                                                true },
                { NULL,                                                                false},
                { "0123456789012345678901234567890123456789012345678901234567890123",  true },
                { "01234567890123456789012345678901234567890123456789012345678901234", false},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                assert_int_equal(kernel_name_is_valid(cases[i].name), cases[i].is_valid);
}

static void an_import_says_what_it_is(void **state)
{
        const struct world *world = *state;
        struct kernel kernel = { 0 };
        struct err err = { 0 };

        import_one(world, "k");
        assert_int_equal(kernel_read(world->kernels, "k", &kernel, &err), 0);
        assert_string_equal(kernel.version, "6.9.9-test");
        assert_string_equal(kernel.distro, "test");
        assert_true(text_starts_with(kernel.source, "file:"));
        assert_int_equal(kernel.n_modules, 4);
        assert_int_equal(strlen(kernel.sha256), 64);
        assert_true(kernel.bytes > 0);
        assert_int_equal(access(kernel.vmlinux_path, R_OK), 0);
        assert_int_equal(access(kernel.initramfs_path, R_OK), 0);
        kernel_done(&kernel);
}

static void the_initramfs_is_the_same_for_the_same_input(void **state)
{
        static const char *const members[] = { "init",
                                               "dev/console",
                                               "newroot",
                                               "modules/00-virtio_mmio.ko",
                                               "modules/01-vmw_vsock_virtio_transport.ko",
                                               "modules/call",
                                               "00-virtio_mmio.ko\n01-vmw_vsock_virtio_transport.ko\n",
                                               "modules/disk",
                                               "02-virtio_blk.ko\n",
                                               "modules/rest",
                                               "03-virtio_net.ko\n",
                                               "modules/later" };
        const struct world *world = *state;
        scoped_free char *path_a = xasprintf("%s/a/initramfs.cpio", world->kernels);
        scoped_free char *path_b = xasprintf("%s/b/initramfs.cpio", world->kernels);
        scoped_free char *a = NULL;
        scoped_free char *b = NULL;
        struct err err = { 0 };
        size_t n_a, n_b;

        import_one(world, "a");
        import_one(world, "b");
        assert_int_equal(file_read(path_a, MIB_TEST_MAX, &a, &n_a, &err), 0);
        assert_int_equal(file_read(path_b, MIB_TEST_MAX, &b, &n_b, &err), 0);
        assert_int_equal(n_a, n_b);
        assert_memory_equal(a, b, n_a);
        assert_memory_equal(a, "070701", 6);
        for (size_t i = 0; i < N_ELEMENTS(members); i++)
                assert_non_null(memmem(a, n_a, members[i], strlen(members[i])));
}

static void a_second_import_of_a_name_needs_replace(void **state)
{
        const struct world *world = *state;
        struct kernel_import import = import_of(world, "k");
        struct kernel kernel = { 0 };
        struct err err = { 0 };

        import_one(world, "k");
        assert_int_equal(kernel_import(&import, &kernel, &err), -EEXIST);
        assert_non_null(strstr(err.message, "already pulled"));
        err = (struct err){ 0 };
        import.replace = true;
        assert_int_equal(kernel_import(&import, &kernel, &err), 0);
        kernel_done(&kernel);
        assert_int_equal(count_entries(world->kernels), 1);
}

struct canceller {
        unsigned left;
        bool kill;
};

static int cancel_at(void *userdata, const char *stage, uint64_t done, uint64_t total)
{
        struct canceller *canceller = userdata;

        (void) stage;
        (void) done;
        (void) total;
        if (canceller->left-- > 0)
                return 0;
        if (canceller->kill)
                (void) raise(SIGKILL);
        return -1;
}

static void cancelling_at_any_point_leaves_nothing(void **state)
{
        const struct world *world = *state;
        unsigned n_cancelled = 0;
        int r = -1;

        for (unsigned at = 0; r != 0; at++) {
                struct canceller canceller = { at, false };
                struct kernel_import import = import_of(world, "k");
                struct kernel kernel = { 0 };
                struct err err = { 0 };

                import.progress = (struct kernel_progress){ cancel_at, &canceller };
                r = kernel_import(&import, &kernel, &err);
                kernel_done(&kernel);
                assert_true(r == 0 || r == -ECANCELED);
                n_cancelled += r != 0;
                assert_int_equal(count_entries(world->kernels), r == 0 ? 1 : 0);
        }
        assert_true(n_cancelled >= 5);
}

static void a_kill_at_any_point_is_cleaned_up_by_the_next(void **state)
{
        const struct world *world = *state;
        int status = 1;

        for (unsigned at = 0; status != 0; at++) {
                pid_t pid = fork();

                if (pid == 0) {
                        struct canceller canceller = { at, true };
                        struct kernel_import import = import_of(world, "k");
                        struct kernel kernel = { 0 };
                        struct err err = { 0 };

                        import.progress = (struct kernel_progress){ cancel_at, &canceller };
                        _exit(kernel_import(&import, &kernel, &err) == 0 ? 0 : 1);
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(status == 0 || WIFSIGNALED(status));
                assert_true(count_entries(world->kernels) <= 1);
        }
        import_one(world, "other");
        assert_int_equal(count_entries(world->kernels), 2);
}

static void a_folder_at_work_is_not_taken_for_a_leftover(void **state)
{
        const struct world *world = *state;
        scoped_free char *busy = xasprintf("%s/.staging-busyxx", world->kernels);
        scoped_free char *stale = xasprintf("%s/.staging-staley", world->kernels);
        scoped_close int fd = FD_NONE;

        fixture_write(busy, "file", "x", 1);
        fixture_write(stale, "file", "x", 1);
        fd = open(busy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(flock(fd, LOCK_EX), 0);
        import_one(world, "k");
        assert_int_equal(access(busy, F_OK), 0);
        assert_int_equal(access(stale, F_OK), -1);
}

static void broken_input_leaves_nothing(void **state)
{
        const struct world *world = *state;
        scoped_free char *missing = xasprintf("%s/missing", world->folder);
        const struct {
                const char *from, *agent;
                int r;
        } cases[] = {
                {missing,         world->agent, -ENOENT },
                { world->package, missing,      -ENOENT },
                { world->agent,   world->agent, -EBADMSG}, /* no kernel */
                { "/dev/null",    world->agent, -EINVAL },
                { world->folder,  world->agent, -ENOENT }, /* no boot/ */
        };

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct kernel_import import = import_of(world, "k");
                struct kernel kernel = { 0 };
                struct err err = { 0 };

                import.from = cases[i].from;
                import.agent_path = cases[i].agent;
                assert_int_equal(kernel_import(&import, &kernel, &err), cases[i].r);
                assert_non_null(strstr(err.message, "import kernel 'k'"));
                assert_int_equal(count_entries(world->kernels), 0);
        }
}

static void a_missing_module_is_named_with_its_kernel(void **state)
{
        const struct world *world = *state;
        struct kernel_import import = import_of(world, "k");
        scoped_free char *list = xasprintf("%s/lib/modules/6.9.9-test/modules.builtin", world->package);
        struct kernel kernel = { 0 };
        struct err err = { 0 };

        assert_int_equal(file_replace(list, "", 0, 0644, &err), 0);
        assert_int_equal(kernel_import(&import, &kernel, &err), -ENOENT);
        assert_non_null(strstr(err.message, "'ext4'"));
        assert_non_null(strstr(err.message, "6.9.9-test"));
}

static void one_of_many_at_once_wins(void **state)
{
        const struct world *world = *state;
        unsigned n_won = 0;

        for (int i = 0; i < 4; i++)
                if (fork() == 0) {
                        struct kernel_import import = import_of(world, "k");
                        struct kernel kernel = { 0 };
                        struct err err = { 0 };

                        _exit(-kernel_import(&import, &kernel, &err));
                }
        for (int i = 0; i < 4; i++) {
                int status = 0;

                assert_true(wait(&status) > 0);
                assert_true(WIFEXITED(status));
                n_won += WEXITSTATUS(status) == 0;
                assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EEXIST);
        }
        assert_int_equal(n_won, 1);
        assert_int_equal(count_entries(world->kernels), 1);
}

static void the_list_is_sorted_and_skips_what_is_no_kernel(void **state)
{
        const struct world *world = *state;
        struct kernel *kernels = NULL;
        struct err err = { 0 };
        unsigned n = 7;

        assert_int_equal(kernel_list(world->kernels, &kernels, &n, &err), 0);
        assert_int_equal(n, 0);
        free(kernels);
        import_one(world, "b");
        import_one(world, "a");
        fixture_write(world->kernels, "other/file", "x", 1);
        fixture_write(world->kernels, ".staging-stale/file", "x", 1);
        assert_int_equal(kernel_list(world->kernels, &kernels, &n, &err), 0);
        assert_int_equal(n, 2);
        assert_string_equal(kernels[0].name, "a");
        assert_string_equal(kernels[1].name, "b");
        kernel_done(&kernels[0]);
        kernel_done(&kernels[1]);
        free(kernels);
}

static void delete_removes_the_folder_and_names_what_is_missing(void **state)
{
        const struct world *world = *state;
        struct err err = { 0 };

        import_one(world, "k");
        assert_int_equal(kernel_delete(world->kernels, "k", &err), 0);
        assert_int_equal(count_entries(world->kernels), 0);
        assert_int_equal(kernel_delete(world->kernels, "k", &err), -ENOENT);
        assert_non_null(strstr(err.message, "'k'"));
        err = (struct err){ 0 };
        assert_int_equal(kernel_delete(world->kernels, "../package", &err), -EINVAL);
        assert_int_equal(access(world->package, F_OK), 0);
}

static void a_damaged_kernel_can_still_be_deleted(void **state)
{
        const struct world *world = *state;
        struct kernel kernel = { 0 };
        struct err err = { 0 };

        import_one(world, "k");
        fixture_write(world->kernels, "k/manifest.json", "{", 1);
        assert_int_equal(kernel_read(world->kernels, "k", &kernel, &err), -EBADMSG);
        err = (struct err){ 0 };
        assert_int_equal(kernel_delete(world->kernels, "k", &err), 0);
        assert_int_equal(err.code, 0);
        assert_int_equal(count_entries(world->kernels), 0);
}

static bool initramfs_has(const struct world *world, const char *text)
{
        scoped_free char *path = xasprintf("%s/k/initramfs.cpio", world->kernels);
        scoped_free char *data = NULL;
        struct err err = { 0 };
        size_t n;

        assert_int_equal(file_read(path, MIB_TEST_MAX, &data, &n, &err), 0);
        return memmem(data, n, text, strlen(text)) != NULL;
}

static void a_new_agent_gets_into_the_initramfs(void **state)
{
        const struct world *world = *state;
        scoped_free char *path = xasprintf("%s/k/initramfs.cpio", world->kernels);
        struct stat before, same, after;
        struct err err = { 0 };

        import_one(world, "k");
        assert_int_equal(stat(path, &before), 0);
        assert_int_equal(kernel_refresh_agent(world->kernels, "k", world->agent, &err), 0);
        fixture_write(world->folder, "agent", "agent one", 9); /* another file, the same bytes */
        assert_int_equal(kernel_refresh_agent(world->kernels, "k", world->agent, &err), 0);
        assert_int_equal(stat(path, &same), 0);
        assert_int_equal(before.st_ino, same.st_ino);
        fixture_write(world->folder, "agent", "agent two", 9);
        assert_int_equal(kernel_refresh_agent(world->kernels, "k", world->agent, &err), 0);
        assert_int_equal(stat(path, &after), 0);
        assert_int_not_equal(before.st_ino, after.st_ino);
        assert_true(initramfs_has(world, "agent two"));
        assert_false(initramfs_has(world, "agent one"));
        assert_true(initramfs_has(world, "modules/01-vmw_vsock_virtio_transport.ko"));
        assert_int_equal(count_entries(world->kernels), 1);
        assert_int_equal(kernel_refresh_agent(world->kernels, "none", world->agent, &err), -ENOENT);
}

static void the_catalog_knows_debian_and_pull_names_what_it_has(void **state)
{
        const struct world *world = *state;
        struct kernel_import import = import_of(world, "unheard-of");
        struct kernel kernel = { 0 };
        struct err err = { 0 };
        unsigned n;

        assert_string_equal(kernel_catalog(&n)[0].name, "debian-6.1");
        assert_int_equal(n, 1);
        assert_int_equal(kernel_pull(&import, world->folder, &kernel, &err), -ENOENT);
        assert_non_null(strstr(err.message, "debian-6.1"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_bounded),
                cmocka_unit_test_setup_teardown(an_import_says_what_it_is, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_initramfs_is_the_same_for_the_same_input, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_second_import_of_a_name_needs_replace, set_up, tear_down),
                cmocka_unit_test_setup_teardown(cancelling_at_any_point_leaves_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_kill_at_any_point_is_cleaned_up_by_the_next, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_folder_at_work_is_not_taken_for_a_leftover, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(broken_input_leaves_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_missing_module_is_named_with_its_kernel, set_up, tear_down),
                cmocka_unit_test_setup_teardown(one_of_many_at_once_wins, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_list_is_sorted_and_skips_what_is_no_kernel, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(delete_removes_the_folder_and_names_what_is_missing, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_damaged_kernel_can_still_be_deleted, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_new_agent_gets_into_the_initramfs, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_catalog_knows_debian_and_pull_names_what_it_has, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
