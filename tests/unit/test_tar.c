/* Trees as tar streams in memory, and where what comes out of one goes. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "tar/tar_pack.h"
#include "tar/tar_place.h"
#include "tar/tar_sparse.h"
#include "tar/tar_unpack.h"
#include "unit.h"

struct bytes {
        struct text text;
        size_t at;
};

static int bytes_write(void *context, const void *data, size_t n)
{
        struct bytes *bytes = context;

        text_append_bytes(&bytes->text, data, n);
        return 0;
}

static int bytes_read(void *context, void *buffer, size_t n)
{
        struct bytes *bytes = context;

        if (bytes->at == bytes->text.n)
                return -ENODATA;
        if (n > bytes->text.n - bytes->at)
                return -EBADMSG;
        memcpy(buffer, bytes->text.s + bytes->at, n);
        bytes->at += n;
        return 0;
}

static int pack_to(struct bytes *bytes, const char *path)
{
        const struct tar_sink sink = { bytes_write, bytes };
        scoped_free struct tar_pack *pack = xcalloc(1, sizeof(*pack));
        struct err err = { 0 };
        int r;

        pack->sink = &sink;
        r = tar_pack_path(pack, path, &err);
        if (r == 0)
                r = tar_pack_end(pack, &err);
        tar_pack_done(pack);
        return r;
}

static int unpack_to(struct bytes *bytes, const char *destination, struct tar_unpack options, struct err *err)
{
        const struct tar_source source = { bytes_read, bytes };

        options.destination = destination;
        options.root_fd = FD_NONE;
        bytes->at = 0;
        return tar_unpack(&source, &options, err);
}

static void write_file(const char *folder, const char *name, const char *content)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name);
        struct err err = { 0 };

        assert_int_equal(file_replace_unsynced(path, content, strlen(content), 0644, &err), 0);
}

static void check_file(const char *folder, const char *name, const char *content)
{
        scoped_free char *path = xasprintf("%s/%s", folder, name), *text = NULL;
        struct err err = { 0 };

        if (file_read(path, 4096, &text, NULL, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(text, content);
}

static char *make_folder(char *template, const char *name)
{
        char *path = xasprintf("%s/%s", template, name);

        assert_int_equal(mkdir(path, 0755), 0);
        return path;
}

static void a_tree_goes_under_a_new_name_and_into_a_folder(void **state)
{
        char top[] = "/tmp/banger-tar-XXXXXX";
        struct bytes bytes = { 0 }, inner = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_non_null(mkdtemp(top));
        scoped_free char *tree = make_folder(top, "tree"), *there = make_folder(top, "there"),
                         *made = xasprintf("%s/made", top), *dot = xasprintf("%s/.", tree);

        write_file(tree, "a", "A");
        assert_int_equal(pack_to(&bytes, tree), 0);
        assert_int_equal(pack_to(&inner, dot), 0);
        assert_int_equal(unpack_to(&bytes, made, (struct tar_unpack){ .guarded = true }, &err), 0);
        check_file(made, "a", "A");
        assert_int_equal(unpack_to(&bytes, there, (struct tar_unpack){ 0 }, &err), 0);
        check_file(there, "tree/a", "A");
        assert_int_equal(unpack_to(&inner, there, (struct tar_unpack){ .guarded = true }, &err), 0);
        check_file(there, "a", "A");
        text_done(&bytes.text);
        text_done(&inner.text);
        assert_int_equal(file_remove_tree(top, &err), 0);
}

static void a_file_is_replaced_only_by_a_whole_one(void **state)
{
        char top[] = "/tmp/banger-tar-XXXXXX";
        struct bytes bytes = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_non_null(mkdtemp(top));
        scoped_free char *from = make_folder(top, "from"), *to = make_folder(top, "to"),
                         *source = xasprintf("%s/f", from), *target = xasprintf("%s/old", to);

        write_file(from, "f", "new content");
        write_file(to, "old", "old content");
        assert_int_equal(pack_to(&bytes, source), 0);
        bytes.text.n -= 2U * TAR_BLOCK + TAR_BLOCK - 4; /* the end and all but 4 bytes of the content */
        for (int guarded = 0; guarded < 2; guarded++) {
                struct err cut = { 0 };

                assert_true(unpack_to(&bytes, target, (struct tar_unpack){ .guarded = guarded == 1 }, &cut) <
                            0);
                check_file(to, "old", "old content");
        }
        text_done(&bytes.text);
        bytes = (struct bytes){ 0 };
        assert_int_equal(pack_to(&bytes, source), 0);
        assert_int_equal(unpack_to(&bytes, target, (struct tar_unpack){ 0 }, &err), 0);
        check_file(to, "old", "new content");
        text_done(&bytes.text);
        assert_int_equal(rmdir(to), -1); /* only "old" is in it: */
        assert_int_equal(unlink(target), 0);
        assert_int_equal(rmdir(to), 0);
        assert_int_equal(file_remove_tree(top, &err), 0);
}

static void holes_stay_holes(void **state)
{
        char top[] = "/tmp/banger-tar-XXXXXX";
        struct bytes bytes = { 0 };
        struct err err = { 0 };
        struct stat st;
        char ends[8];

        (void) state;
        assert_non_null(mkdtemp(top));
        scoped_free char *source = xasprintf("%s/sparse", top), *copy = xasprintf("%s/copy", top);
        int fd = open(source, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "begin", 5, 0), 5);
        assert_int_equal(pwrite(fd, "end", 3, 8 << 20), 3);
        assert_int_equal(ftruncate(fd, 16 << 20), 0);
        (void) close(fd);
        assert_int_equal(stat(source, &st), 0);
        assert_int_equal(pack_to(&bytes, source), 0);
        if (st.st_blocks * 512 < 1 << 20) /* a file system with holes */
                assert_true(bytes.text.n < 100000);
        assert_int_equal(unpack_to(&bytes, copy, (struct tar_unpack){ .guarded = true }, &err), 0);
        assert_int_equal(stat(copy, &st), 0);
        assert_int_equal(st.st_size, 16 << 20);
        assert_true(st.st_blocks * 512 < 1 << 20);
        fd = open(copy, O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, ends, 3, 8 << 20), 3);
        assert_memory_equal(ends, "end", 3);
        assert_int_equal(pread(fd, ends, 5, 0), 5);
        assert_memory_equal(ends, "begin", 5);
        (void) close(fd);
        text_done(&bytes.text);
        assert_int_equal(file_remove_tree(top, &err), 0);
}

static void limits_are_kept_and_told(void **state)
{
        char top[] = "/tmp/banger-tar-XXXXXX";
        struct bytes bytes = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_non_null(mkdtemp(top));
        scoped_free char *tree = make_folder(top, "tree"), *copy = xasprintf("%s/copy", top);

        write_file(tree, "a", "12345");
        write_file(tree, "b", "12345");
        assert_int_equal(pack_to(&bytes, tree), 0);
        assert_int_equal(unpack_to(&bytes, copy, (struct tar_unpack){ .bytes_max = 9 }, &err), -EFBIG);
        assert_non_null(strstr(err.message, "limit of 9 bytes"));
        err = (struct err){ 0 };
        assert_int_equal(unpack_to(&bytes, copy, (struct tar_unpack){ .entries_max = 2 }, &err), -EFBIG);
        assert_non_null(strstr(err.message, "more than 2"));
        err = (struct err){ 0 };
        assert_int_equal(
                unpack_to(&bytes, copy, (struct tar_unpack){ .bytes_max = 10, .entries_max = 3 }, &err), 0);
        text_done(&bytes.text);
        assert_int_equal(file_remove_tree(top, &err), 0);
}

static const struct {
        const char *from, *to, *name, *becomes; /* NULL: refused */
} places[] = {
        {NULL,   NULL,     "a/b",   "a/b"     },
        { "a",   "x",      "a",     "x"       },
        { "a",   "x",      "a/b/c", "x/b/c"   },
        { "a",   "longer", "a/b",   "longer/b"},
        { "a",   "x",      "ab",    NULL      },
        { "a",   "x",      "b",     NULL      },
        { ".",   "x",      "",      "x"       },
        { ".",   "x",      "a/b",   "x/a/b"   },
        { "abc", "x",      "abc/d", "x/d"     },
};

static void names_become_those_of_their_place(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(places); i++) {
                struct tar_place place = { .root_fd = FD_NONE,
                                           .from = (char *) (uintptr_t) places[i].from,
                                           .to = (char *) (uintptr_t) places[i].to };
                char name[TAR_PATH_MAX];
                int r;

                strncpy(name, places[i].name, sizeof(name) - 1);
                r = tar_place_name(&place, name);
                assert_int_equal(r, places[i].becomes ? 0 : -EBADMSG);
                if (r == 0)
                        assert_string_equal(name, places[i].becomes);
        }
}

static const struct {
        const char *text;
        uint64_t size, real_size; /* size: of the pieces */
        int r;
} maps[] = {
        {"1\n0\n5\n",                    5,  5,        0       },
        { "0\n",                         0,  1U << 30, 0       },
        { "2\n0\n5\n100\n5\n",           10, 105,      0       },
        { "2\n100\n5\n0\n5\n",           10, 105,      -EBADMSG}, /* backwards */
        { "2\n0\n5\n4\n5\n",             10, 105,      -EBADMSG}, /* overlapping */
        { "1\n0\n6\n",                   6,  5,        -EBADMSG}, /* beyond the file */
        { "1\n9223372036854775807\n5\n", 5,  5,        -EBADMSG},
        { "1\n0\n5\n",                   6,  6,        -EBADMSG}, /* not all of the content */
        { "99999999999999999999999\n",   0,  5,        -EBADMSG},
        { "x\n",                         0,  5,        -EBADMSG},
        { "\n",                          0,  5,        -EBADMSG},
        { "1000000\n",                   0,  5,        -EBADMSG}, /* more pieces than there is map */
};

static void maps_that_lie_are_refused(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(maps); i++) {
                static const char zeros[TAR_BLOCK];
                struct bytes bytes = { 0 };
                const struct tar_source source = { bytes_read, &bytes };
                scoped(tar_map_done) struct tar_map map = { 0 };
                scoped_free struct tar_entry *entry = xcalloc(1, sizeof(*entry));
                uint64_t n_read = 0;
                int r;

                text_append(&bytes.text, maps[i].text);
                text_append_bytes(&bytes.text, zeros, tar_padding(bytes.text.n));
                entry->size = bytes.text.n + maps[i].size;
                entry->real_size = maps[i].real_size;
                r = tar_map_read(&source, entry, &map, &n_read);
                if (r != maps[i].r)
                        fail_msg("%zu: %d", i, r);
                if (r == 0)
                        assert_int_equal(n_read, TAR_BLOCK);
                text_done(&bytes.text);
        }
}

static void what_was_not_asked_for_is_refused(void **state)
{
        static const struct {
                const char *name, *asked;
                bool arrives;
        } cases[] = {
                {"notes",    "/srv/notes",   true },
                { "notes",   "notes//",      true },
                { "notes",   "/srv/n*",      true },
                { "notes",   "/srv/.",       true },
                { "n[1]",    "/srv/n[1]",    true },
                { ".bashrc", "/srv/.bash*",  true },
                { ".bashrc", "/srv/notes",   false},
                { ".bashrc", "/srv/*",       false},
                { "notes",   "notes/inside", false},
                { "notes2",  "notes",        false},
        };
        char top[] = "/tmp/banger-tar-XXXXXX";
        struct err err = { 0 };

        (void) state;
        assert_non_null(mkdtemp(top));
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const char *const asked[] = { "elsewhere", cases[i].asked, NULL };
                scoped_free char *from = make_folder(top, "from"), *to = make_folder(top, "to"),
                                 *source = xasprintf("%s/%s", from, cases[i].name),
                                 *target = xasprintf("%s/%s", to, cases[i].name);
                struct tar_unpack options = { .guarded = true, .asked = asked };
                struct bytes bytes = { 0 };
                struct err refused = { 0 };

                write_file(from, cases[i].name, "content");
                assert_int_equal(pack_to(&bytes, source), 0);
                assert_int_equal(unpack_to(&bytes, to, options, &refused), cases[i].arrives ? 0 : -EBADMSG);
                assert_int_equal(access(target, F_OK), cases[i].arrives ? 0 : -1);
                if (!cases[i].arrives)
                        assert_non_null(strstr(refused.message, "not asked for"));
                text_done(&bytes.text);
                assert_int_equal(file_remove_tree(from, &err), 0);
                assert_int_equal(file_remove_tree(to, &err), 0);
        }
        assert_int_equal(file_remove_tree(top, &err), 0);
}

static void a_link_in_a_files_place_is_followed_only_when_it_is_trusted(void **state)
{
        (void) state;
        for (int guarded = 0; guarded < 2; guarded++) {
                char top[] = "/tmp/banger-tar-XXXXXX";
                struct bytes bytes = { 0 };
                struct err err = { 0 };

                assert_non_null(mkdtemp(top));
                scoped_free char *source = xasprintf("%s/f", top), *link = xasprintf("%s/link", top);

                write_file(top, "f", "new");
                write_file(top, "victim", "old");
                assert_int_equal(symlink("victim", link), 0);
                assert_int_equal(pack_to(&bytes, source), 0);
                assert_int_equal(
                        unpack_to(&bytes, link, (struct tar_unpack){ .guarded = guarded == 1 }, &err), 0);
                check_file(top, "link", "new");
                check_file(top, "victim", guarded ? "old" : "new");
                text_done(&bytes.text);
                assert_int_equal(file_remove_tree(top, &err), 0);
        }
}

static void a_stream_cannot_make_a_link_of_its_own_root(void **state)
{
        static const char *const asked[] = { "/srv/out/.", NULL };
        char top[] = "/tmp/banger-tar-XXXXXX";
        uint8_t block[TAR_BLOCK] = { 0 };
        struct bytes bytes = { 0 };
        struct err err = { 0 };
        struct stat st;

        (void) state;
        assert_non_null(mkdtemp(top));
        scoped_free char *out = xasprintf("%s/out", top);

        memcpy(block, ".", 1);
        memcpy(block + 100, "0000777", 7);
        memcpy(block + 124, "00000000000", 11);
        memcpy(block + 136, "00000000000", 11);
        block[156] = '2';
        memcpy(block + 157, "/etc", 4);
        memcpy(block + 257, "ustar\00000", 8);
        (void) snprintf((char *) block + 148, 8, "%06o", tar_checksum(block));
        text_append_bytes(&bytes.text, block, sizeof(block));
        assert_int_equal(unpack_to(&bytes, out, (struct tar_unpack){ .guarded = true, .asked = asked }, &err),
                         -EINVAL);
        assert_int_equal(lstat(out, &st), -1);
        text_done(&bytes.text);
        err = (struct err){ 0 };
        assert_int_equal(file_remove_tree(top, &err), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_tree_goes_under_a_new_name_and_into_a_folder),
                cmocka_unit_test(a_file_is_replaced_only_by_a_whole_one),
                cmocka_unit_test(holes_stay_holes),
                cmocka_unit_test(what_was_not_asked_for_is_refused),
                cmocka_unit_test(a_link_in_a_files_place_is_followed_only_when_it_is_trusted),
                cmocka_unit_test(a_stream_cannot_make_a_link_of_its_own_root),
                cmocka_unit_test(limits_are_kept_and_told),
                cmocka_unit_test(names_become_those_of_their_place),
                cmocka_unit_test(maps_that_lie_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
