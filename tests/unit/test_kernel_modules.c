/* Which modules a guest gets, in which order. */
#include <sys/resource.h>

#include "kernel/kernel_modinfo.h"
#include "kernel/kernel_modules.h"
#include "kernel_fixture.h"
#include "unit.h"

static const struct kernel_progress nobody = { 0 };

/* a -> b -> c, a -> c; soft: a after d; e and f need each other; g in xz, h broken, x-y with a hyphen */
static int set_up(void **state)
{
        char *folder = fixture_folder();

        fixture_write_module(folder, "kernel/a.ko", "b,c", "pre: d unheard_of post: e");
        fixture_write_module(folder, "kernel/fs/b.ko", "c", NULL);
        fixture_write_module(folder, "kernel/c.ko", "", NULL);
        fixture_write_module(folder, "updates/d.ko", "", NULL);
        fixture_write_module(folder, "kernel/e.ko", "f", NULL);
        fixture_write_module(folder, "kernel/f.ko", "e", NULL);
        fixture_write_module(folder, "kernel/x-y.ko", "built-in", "pre: x_y");
        fixture_write_module(folder, "kernel/lost.ko", "nowhere", NULL);
        fixture_write(folder, "kernel/h.ko", "not a module", 12);
        fixture_write(folder, "kernel/empty.ko", "", 0);
        fixture_write(folder, "modules.builtin", "kernel/built-in.ko\n", 19);
        *state = folder;
        return 0;
}

static int tear_down(void **state)
{
        scoped_free char *folder = *state;
        struct err err = { 0 };

        return file_remove_tree(folder, &err);
}

static void check(const char *folder, const char *need, bool is_required, int r, const char *order,
                  const char *says)
{
        const struct kernel_module_need needs[] = {
                {need, is_required}
        };
        scoped_kernel_modules struct kernel_modules modules = { 0 };
        scoped_text struct text names = { 0 };
        struct err err = { 0 };

        assert_int_equal(kernel_modules_collect(folder, needs, 1, &nobody, &modules, &err), r);
        for (unsigned i = 0; i < modules.n; i++)
                text_appendf(&names, "%s ", modules.modules[i].name);
        assert_string_equal(names.s ? names.s : "", order);
        if (says && !strstr(err.message, says))
                fail_msg("'%s' does not name '%s'", err.message, says);
}

static void order_puts_needs_first(void **state)
{
        static const struct {
                const char *need;
                bool is_required;
                int r;
                const char *order, *says;
        } cases[] = {
                {"c",         true,  0,        "c ",       NULL             },
                { "b",        true,  0,        "c b ",     NULL             },
                { "a",        true,  0,        "d c b a ", NULL             },
                { "x_y",      true,  0,        "x_y ",     NULL             },
                { "x-y",      true,  0,        "x_y ",     NULL             },
                { "built_in", true,  0,        "",         NULL             },
                { "nowhere",  false, 0,        "",         NULL             },
                { "nowhere",  true,  -ENOENT,  "",         "'nowhere'"      },
                { "lost",     false, -ENOENT,  "",         "'nowhere'"      },
                { "e",        true,  -ELOOP,   "",         "circle"         },
                { "h",        true,  -EBADMSG, "",         "kernel/h.ko"    },
                { "empty",    true,  -EBADMSG, "",         "kernel/empty.ko"},
        };

        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                check(*state, cases[i].need, cases[i].is_required, cases[i].r, cases[i].order, cases[i].says);
}

static void compressed_modules_come_out_plain(void **state)
{
        /* gzip -9n of the empty-dependency module would do; a stored block needs no compressor here */
        scoped_kernel_modules struct kernel_modules modules = { 0 };
        const struct kernel_module_need needs[] = {
                {"z", true}
        };
        scoped_free uint8_t *plain = NULL;
        scoped_text struct text gzip = { 0 };
        struct err err = { 0 };
        uint16_t length, complement;
        size_t n;

        plain = fixture_module("depends=c", 10, &n);
        length = (uint16_t) n;
        complement = (uint16_t) ~length;
        text_append_bytes(&gzip, "\x1f\x8b\x08\0\0\0\0\0\0\x03\x01",
                          11); /* RFC 1952 header, RFC 1951 stored block */
        text_append_bytes(&gzip, &length, 2);
        text_append_bytes(&gzip, &complement, 2);
        text_append_bytes(&gzip, plain, n);
        text_append_bytes(&gzip, "\0\0\0\0\0\0\0\0", 8); /* libarchive does not check the sum */
        fixture_write(*state, "kernel/z.ko.gz", gzip.s, gzip.n);
        assert_int_equal(kernel_modules_collect(*state, needs, 1, &nobody, &modules, &err), 0);
        assert_int_equal(modules.n, 2);
        assert_string_equal(modules.modules[1].name, "z");
        assert_int_equal(modules.modules[1].n, n);
        assert_memory_equal(modules.modules[1].data, plain, n);
}

static void a_folder_without_a_list_of_built_in_ones_is_refused(void **state)
{
        const struct kernel_module_need needs[] = {
                {"c", true}
        };
        scoped_kernel_modules struct kernel_modules modules = { 0 };
        scoped_free char *kernel = xasprintf("%s/kernel", (const char *) *state);
        struct err err = { 0 };

        assert_int_equal(kernel_modules_collect(kernel, needs, 1, &nobody, &modules, &err), -ENOENT);
        assert_non_null(strstr(err.message, "modules.builtin"));
}

static void a_long_chain_ends(void **state)
{
        for (unsigned i = 0; i < 40; i++) {
                scoped_free char *name = xasprintf("kernel/chain%u.ko", i);
                scoped_free char *next = i < 39 ? xasprintf("chain%u", i + 1) : xstrdup("");

                fixture_write_module(*state, name, next, NULL);
        }
        check(*state, "chain0", true, -ELOOP, "", "circle");
}

/* Every section offset and size in turn: only what lies within the file is read (the address sanitizer watches). */
static void damaged_modinfo_is_an_error(void **state)
{
        static const struct {
                size_t at, width; /* at: from the end of the file, where the section headers are */
                uint64_t value;
                int r;
        } cases[] = {
                {128 - offsetof(Elf64_Shdr,  sh_offset), 8, UINT64_MAX, -EBADMSG},
                { 128 - offsetof(Elf64_Shdr, sh_size),   8, UINT64_MAX, -EBADMSG},
                { 128 - offsetof(Elf64_Shdr, sh_size),   8, 0,          0       },
                { 128 - offsetof(Elf64_Shdr, sh_name),   4, UINT32_MAX, -EBADMSG},
                { 128 - offsetof(Elf64_Shdr, sh_type),   4, SHT_NOBITS, -EBADMSG},
                { 64 - offsetof(Elf64_Shdr,  sh_size),   8, 9,          -EBADMSG},
                { 64 - offsetof(Elf64_Shdr,  sh_offset), 8, UINT64_MAX, -EBADMSG},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                scoped_kernel_modinfo struct kernel_modinfo info = { 0 };
                struct err err = { 0 };
                size_t n;
                scoped_free uint8_t *image = fixture_module("depends=a", 10, &n);

                memcpy(image + n - cases[i].at, &cases[i].value, cases[i].width);
                assert_int_equal(kernel_modinfo_parse(image, n, &info, &err), cases[i].r);
                kernel_modinfo_done(&info);
        }
}

static void every_shorter_file_is_an_error(void **state)
{
        size_t n;
        scoped_free uint8_t *image = fixture_module("depends=a", 10, &n);

        (void) state;
        for (size_t shorter = 0; shorter < n; shorter++) {
                scoped_kernel_modinfo struct kernel_modinfo info = { 0 };
                scoped_free uint8_t *part = xmalloc(shorter + 1);
                struct err err = { 0 };

                memcpy(part, image, shorter);
                assert_int_equal(kernel_modinfo_parse(part, shorter, &info, &err), -EBADMSG);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(order_puts_needs_first, set_up, tear_down),
                cmocka_unit_test_setup_teardown(compressed_modules_come_out_plain, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_folder_without_a_list_of_built_in_ones_is_refused, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_long_chain_ends, set_up, tear_down),
                cmocka_unit_test(damaged_modinfo_is_an_error),
                cmocka_unit_test(every_shorter_file_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
