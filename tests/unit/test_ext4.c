/* What is in an archive is in the image, name by name. */
#include <archive_entry.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ext4_fixture.h"

#define S59 "12345678901234567890123456789012345678901234567890123456789"
#define S60 S59 "0"

struct tree_case {
        const char *what;
        struct item items[8];
        const char *wanted; /* description */
        int code;           /* or failure */
};

/* version 14 crashes on lists of lists of unequal length */
/* clang-format off */
static const struct tree_case tree_cases[] = {
        {"owners, modes and content",
         { { "./", 'd', 0711, 5, 6 }, { "./f", '-', 06755, 65536, 4000000000, "hello" } },
         "/ d 711 5:6 0 3\n/f - 6755 65536:4000000000 5 1 hello\n" },
        { "missing parents are made",
         { { "a/b/c", '-', 0600, 0, 0, "x" } },
         ROOT4 "/a d 755 0:0 0 3\n/a/b d 755 0:0 0 2\n/a/b/c - 600 0:0 1 1 x\n" },
        { "a parent described later",
         { { "a/f", '-', 0600, 0, 0, "x" }, { "a", 'd', 0700, 7, 8 } },
         ROOT4 "/a d 700 7:8 0 2\n/a/f - 600 0:0 1 1 x\n" },
        { "the last of a name wins",
         { { "f", '-', 0600, 0, 0, "old content" }, { "f", '-', 0644, 1, 1, "new" } },
         ROOT3 "/f - 644 1:1 3 1 new\n" },
        { "a file replaces a folder",
         { { "a/b/c", '-', 0600, 0, 0, "x" }, { "a", '-', 0644, 0, 0, "file" } },
         ROOT3 "/a - 644 0:0 4 1 file\n" },
        { "a folder replaces a file",
         { { "a", '-', 0644, 0, 0, "file" }, { "a", 'd', 0755 }, { "a/f", '-', 0600, 0, 0, "x" } },
         ROOT4 "/a d 755 0:0 0 2\n/a/f - 600 0:0 1 1 x\n" },
        { "a name comes back in a folder that was gone",
         { { "a/b", '-', 0600, 0, 0, "old" }, { "a", '-', 0644, 0, 0, "x" }, { "a", 'd', 0755 },
           { "a/b", '-', 0600, 0, 0, "new" } },
         ROOT4 "/a d 755 0:0 0 2\n/a/b - 600 0:0 3 1 new\n" },
        { "hard links after their file",
         { { "f", '-', 0600, 0, 0, "x" }, { "d/g", 'h', 0, 0, 0, "f" }, { "h", 'h', 0, 0, 0, "./d/g" } },
         ROOT4 "/f - 600 0:0 1 3 x\n/d d 755 0:0 0 2\n/d/g - 600 0:0 1 3 x\n/h - 600 0:0 1 3 x\n" },
        { "hard links before their file",
         { { "h", 'h', 0, 0, 0, "g" }, { "g", 'h', 0, 0, 0, "d/f" }, { "d/f", '-', 0600, 0, 0, "x" } },
         ROOT4 "/h - 600 0:0 1 3 x\n/g - 600 0:0 1 3 x\n/d d 755 0:0 0 2\n/d/f - 600 0:0 1 3 x\n" },
        { "one of two links is replaced",
         { { "f", '-', 0600, 0, 0, "x" }, { "g", 'h', 0, 0, 0, "f" }, { "f", '-', 0600, 0, 0, "y" } },
         ROOT3 "/f - 600 0:0 1 1 y\n/g - 600 0:0 1 1 x\n" },
        { "symbolic links of 59 and 60 bytes",
         { { "s", 'l', 0777, 0, 0, S59 }, { "l", 'l', 0777, 0, 0, S60 } },
         ROOT3 "/s l 777 0:0 59 1 -> " S59 "\n/l l 777 0:0 60 1 -> 901234567890\n" },
        { "devices and fifos",
         { { "c", 'c', 0666, 0, 0 }, { "b", 'b', 0660, 0, 6 }, { "p", 'p', 0600, 0, 0 } },
         ROOT3 "/c c 666 0:0 0 1 0,11112c70\n/b b 660 0:6 0 1 0,11112c70\n/p p 600 0:0 0 1\n" },
        { "attributes",
         { { "f", '-', 0600, 0, 0, "x", "user.note", "hello" }, { "g", '-', 0600, 0, 0, "x", "user.big", "", 3000 },
           { "h", '-', 0600, 0, 0, "x", "user.huge", "", 60000 }, { "o", '-', 0600, 0, 0, "x", "other.fs", "no" },
           { "d", 'd', 0700, 0, 0, NULL, "security.capability", "cap" } },
         ROOT4 "/f - 600 0:0 1 1 x user.note=hello\n/g - 600 0:0 1 1 x user.big=3000 bytes\n"
               "/h - 600 0:0 1 1 x user.huge=60000 bytes\n/o - 600 0:0 1 1 x\n"
               "/d d 700 0:0 0 2 security.capability=cap\n" },
        { "replaced with attributes of every size",
         { { "g", '-', 0600, 0, 0, "x", "user.big", "", 3000 }, { "h", '-', 0600, 0, 0, "x", "user.huge", "", 60000 },
           { "g", '-', 0600, 0, 0, "y" }, { "h", '-', 0600, 0, 0, "y" }, { "./", 'd', 0755, 0, 0, NULL, "user.r", "", 2000 },
           { "./", 'd', 0755, 0, 0, NULL, "user.s", "t" } },
         "/ d 755 0:0 0 3 user.s=t user.r=2000 bytes\n/g - 600 0:0 1 1 y\n/h - 600 0:0 1 1 y\n" },
        { "absolute names stay inside", { { "/etc//./x", '-', 0600, 0, 0, "x" } },
         ROOT4 "/etc d 755 0:0 0 2\n/etc/x - 600 0:0 1 1 x\n" },
        { "names that are not UTF-8", { { "\xff\xfe", '-', 0600, 0, 0, "x" } }, ROOT3 "/\xff\xfe - 600 0:0 1 1 x\n" },
        { "a sparse file", { { "f", '-', 0600, 0, 0, "end", NULL, NULL, 0, 1000000 } },
         ROOT3 "/f - 600 0:0 1000003 1 000000000end\n" },
        { "lost+found in the archive", { { "lost+found", 'd', 0700 } }, ROOT3 },
        { "..", { { "a/../../f", '-', 0600, 0, 0, "x" } }, NULL, EBADMSG },
        { "through a symbolic link", { { "l", 'l', 0777, 0, 0, "/etc" }, { "l/f", '-', 0600, 0, 0, "x" } }, NULL, EBADMSG },
        { "through a file", { { "f", '-', 0600, 0, 0, "x" }, { "f/g", '-', 0600, 0, 0, "x" } }, NULL, EBADMSG },
        { "hard link through a symbolic link",
         { { "l", 'l', 0777, 0, 0, "/etc" }, { "h", 'h', 0, 0, 0, "l/passwd" } }, NULL, EBADMSG },
        { "hard link to nothing", { { "h", 'h', 0, 0, 0, "nothing" } }, NULL, EBADMSG },
        { "hard links in a circle", { { "h", 'h', 0, 0, 0, "g" }, { "g", 'h', 0, 0, 0, "h" } }, NULL, EBADMSG },
        { "hard link to a folder", { { "d", 'd', 0755 }, { "h", 'h', 0, 0, 0, "d" } }, NULL, EBADMSG },
        { "a file as the root", { { "./", '-', 0600, 0, 0, "x" } }, NULL, EBADMSG },
};

/* clang-format on */

static void trees_are_kept_or_refused(void **state)
{
        struct scratch *scratch = *state;

        for (size_t i = 0; i < N_ELEMENTS(tree_cases); i++) {
                const struct tree_case *tree = &tree_cases[i];
                scoped_free char *description = NULL;
                struct err err = { 0 };
                int r;

                write_tar(scratch->tar, tree->items, archive_write_add_filter_none,
                          archive_write_set_format_pax);
                r = convert(scratch, &err);
                if (r != -tree->code)
                        print_error("%s: %s\n", tree->what, err.message);
                assert_int_equal(r, -tree->code);
                assert_int_equal(access(scratch->image, F_OK), tree->code ? -1 : 0);
                if (tree->code)
                        continue;
                description = describe(scratch->image);
                if (tree->wanted && strcmp(description, tree->wanted) != 0)
                        print_error("case: %s\n", tree->what);
                if (tree->wanted)
                        assert_string_equal(description, tree->wanted);
        }
}

static void a_folder_of_many_names_is_found_whole(void **state)
{
        enum {
                N = 20000
        };
        struct scratch *scratch = *state;
        scoped_free struct item *items = xcalloc(N + 1, sizeof(*items));
        scoped_free char *names = xmalloc(N * 16);
        ext2_filsys ext2;
        ext2_ino_t folder, found;
        struct err err = { 0 };
        const struct ext4_options options = { .size = GIB };

        for (int i = 0; i < N; i++) {
                (void) snprintf(names + 16 * i, 16, "d/file-%06d", i);
                items[i] = (struct item){ .path = names + 16 * i, .type = '-', .mode = 0600, .text = "x" };
        }
        write_tar(scratch->tar, items, archive_write_add_filter_none, archive_write_set_format_ustar);
        assert_int_equal(convert_with(scratch, &options, &err), 0);
        assert_is_clean(scratch->image);
        assert_int_equal(ext2fs_open(scratch->image, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &ext2), 0);
        assert_int_equal(ext2fs_lookup(ext2, EXT2_ROOT_INO, "d", 1, NULL, &folder), 0);
        for (int i = 0; i < N; i += 997)
                assert_int_equal(ext2fs_lookup(ext2, folder, items[i].path + 2, 11, NULL, &found), 0);
        (void) ext2fs_close_free(&ext2);
}

/* More extents than an inode holds. */
static void a_file_of_many_pieces_is_whole(void **state)
{
        enum {
                N = 3000
        };
        struct scratch *scratch = *state;
        struct archive *archive = archive_write_new();
        struct archive_entry *entry = archive_entry_new();
        scoped_free char *content = xcalloc(N, 8192), *description = NULL;
        struct err err = { 0 };

        archive_entry_copy_pathname(entry, "f");
        archive_entry_set_mode(entry, AE_IFREG | 0600);
        archive_entry_set_size(entry, N * 8192);
        for (int i = 0; i < N; i++) {
                memset(content + i * 8192, 'a', 4096);
                archive_entry_sparse_add_entry(entry, i * 8192, 4096);
        }
        (void) archive_write_set_format_pax(archive);
        assert_int_equal(archive_write_open_filename(archive, scratch->tar), ARCHIVE_OK);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        assert_int_equal(archive_write_data(archive, content, N * 8192), N * 8192);
        assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
        archive_write_free(archive);
        archive_entry_free(entry);
        assert_int_equal(convert(scratch, &err), 0);
        description = describe(scratch->image);
        assert_string_equal(description, ROOT3 "/f - 600 0:0 24576000 1 000000000000\n");
}

static void only_below_and_copies_take_a_subtree(void **state)
{
        static const struct item items[] = {
                {"root",    'd', 0700, 3, 4, NULL, "user.x", "y" },
                { "root/.profile",     '-', 0600, 0, 0, "login" },
                { "rootless",        '-', 0600, 0, 0, "x" },
                { "root/c", 'c', 0600, 0, 0 },
                { "root/s",        'l', 0777, 0, 0, "/target/which/is/longer/than/fifty/nine/bytes/of/inline/room" },
                { "root/h",  'h', 0, 0, 0, "root/.profile" },
                { "root/big",        '-', 0600, 0, 0, "x", "user.big", "", 60000 },
                { NULL }
        };
        static const char wanted[] = "/ d 700 3:4 0 3 user.x=y\n/.profile - 600 0:0 5 2 login\n"
                                     "/c c 600 0:0 0 1 0,11112c70\n"
                                     "/s l 777 0:0 60 1 -> /inline/room\n"
                                     "/h - 600 0:0 5 2 login\n/big - 600 0:0 1 1 x user.big=60000 bytes\n";
        const struct ext4_options below = { .size = IMAGE_SIZE, .only_below = "root/" },
                                  bigger = { .size = GIB };
        struct scratch *scratch = *state;
        scoped_free char *direct = NULL, *copied = NULL, *of_copy = NULL;
        struct err err = { 0 };

        write_tar(scratch->tar, items, archive_write_add_filter_none, archive_write_set_format_pax);
        assert_int_equal(convert_with(scratch, &below, &err), 0);
        direct = describe(scratch->image);
        assert_string_equal(direct, wanted);

        assert_int_equal(ext4_copy_tree(scratch->image, scratch->copy, &bigger, &err), 0);
        copied = describe(scratch->copy);
        assert_string_equal(copied, wanted);
        assert_int_equal(ext4_copy_tree(scratch->image, scratch->copy, &bigger, &err), -EEXIST);
        err = (struct err){ 0 };
        assert_int_equal(unlink(scratch->copy), 0);

        assert_int_equal(convert(scratch, &err), 0);
        assert_int_equal(ext4_copy_tree(scratch->image, scratch->copy, &below, &err), 0);
        of_copy = describe(scratch->copy);
        assert_string_equal(of_copy, wanted);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(trees_are_kept_or_refused, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_folder_of_many_names_is_found_whole, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_file_of_many_pieces_is_whole, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(only_below_and_copies_take_a_subtree, make_scratch,
                                                drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
