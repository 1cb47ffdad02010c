#include <archive.h>
#include <archive_entry.h>
#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/spawn.h"
#include "base/text.h"
#include "ext4/ext4_image.h"
#include "unit.h"

#define IMAGE_SIZE (64 * MIB)
#define TIME       1700000000

struct scratch {
        char *folder, *tar, *image, *copy; /* owned */
};

static int make_scratch(void **state)
{
        struct scratch *scratch = xcalloc(1, sizeof(*scratch));
        char name[] = "/tmp/banger-test-ext4.XXXXXX";

        assert_non_null(mkdtemp(name));
        scratch->folder = xstrdup(name);
        scratch->tar = xasprintf("%s/tar", name);
        scratch->image = xasprintf("%s/image", name);
        scratch->copy = xasprintf("%s/copy", name);
        *state = scratch;
        return 0;
}

static int drop_scratch(void **state)
{
        struct scratch *scratch = *state;
        struct err err = { 0 };

        assert_int_equal(file_remove_tree(scratch->folder, &err), 0);
        free(scratch->folder);
        free(scratch->tar);
        free(scratch->image);
        free(scratch->copy);
        free(scratch);
        return 0;
}

/* One entry of an archive: type as in ls -l, 'h' a hard link. */
struct item {
        const char *path;
        char type;
        mode_t mode;
        int64_t uid, gid;
        const char *text; /* content, or target */
        const char *xattr, *xattr_value;
        size_t xattr_fill; /* bytes of 'v' instead of xattr_value */
        int64_t hole;      /* bytes before the content, sparse */
};

static mode_t mode_of(char type)
{
        switch (type) {
        case 'd':
                return AE_IFDIR;
        case 'l':
                return AE_IFLNK;
        case 'c':
                return AE_IFCHR;
        case 'b':
                return AE_IFBLK;
        case 'p':
                return AE_IFIFO;
        default:
                return AE_IFREG;
        }
}

static void put_item(struct archive *archive, const struct item *item)
{
        struct archive_entry *entry = archive_entry_new();
        scoped_free char *fill = xmalloc(item->xattr_fill + 1);
        size_t n = item->type == '-' && item->text ? strlen(item->text) : 0;

        archive_entry_copy_pathname(entry, item->path);
        archive_entry_set_mode(entry, mode_of(item->type) | item->mode);
        archive_entry_set_uid(entry, item->uid);
        archive_entry_set_gid(entry, item->gid);
        archive_entry_set_mtime(entry, TIME, 123456789);
        archive_entry_set_size(entry, item->hole + (int64_t) n);
        if (item->type == 'h')
                archive_entry_copy_hardlink(entry, item->text);
        if (item->type == 'l')
                archive_entry_copy_symlink(entry, item->text);
        if (item->type == 'c' || item->type == 'b') {
                archive_entry_set_rdevmajor(entry, 300);
                archive_entry_set_rdevminor(entry, 70000);
        }
        memset(fill, 'v', item->xattr_fill);
        if (item->xattr)
                archive_entry_xattr_add_entry(entry, item->xattr, item->xattr_fill ? fill : item->xattr_value,
                                              item->xattr_fill ? item->xattr_fill
                                                               : strlen(item->xattr_value));
        if (item->hole)
                archive_entry_sparse_add_entry(entry, item->hole, (int64_t) n);
        assert_true(archive_write_header(archive, entry) >= ARCHIVE_WARN);
        if (item->hole) {
                scoped_free char *zeros = xcalloc(1, (size_t) item->hole);

                assert_int_equal(archive_write_data(archive, zeros, (size_t) item->hole), item->hole);
        }
        if (n > 0)
                assert_int_equal(archive_write_data(archive, item->text, n), n);
        archive_entry_free(entry);
}

static void write_tar(const char *path, const struct item *items, int (*filter)(struct archive *),
                      int (*format)(struct archive *))
{
        struct archive *archive = archive_write_new();

        assert_int_equal(filter(archive), ARCHIVE_OK);
        assert_int_equal(format(archive), ARCHIVE_OK);
        assert_int_equal(archive_write_open_filename(archive, path), ARCHIVE_OK);
        for (; items->path; items++)
                put_item(archive, items);
        assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
        archive_write_free(archive);
}

static int convert_with(struct scratch *scratch, const struct ext4_options *options, struct err *err)
{
        scoped_close int fd = open(scratch->tar, O_RDONLY | O_CLOEXEC);

        (void) unlink(scratch->image);
        return ext4_from_tar(fd, scratch->image, options, NULL, err);
}

static int convert(struct scratch *scratch, struct err *err)
{
        const struct ext4_options options = { .size = IMAGE_SIZE, .time = TIME };

        return convert_with(scratch, &options, err);
}

static void assert_is_clean(const char *image)
{
        const char *const argv[] = { "e2fsck", "-fn", image, NULL };
        scoped_free char *output = NULL, *error = NULL;
        struct err err = { 0 };
        int status = spawn_run(argv, 120000, MIB, &output, &error, &err);

        if (status != 0)
                print_error("%s\n%s\n%s\n", output ? output : "", error ? error : "", err.message);
        assert_int_equal(status, 0);
}

/* What the image holds, a line a name: "path type mode uid:gid size links [-> target] [name=value]". */
struct description {
        ext2_filsys ext2;
        struct text text;
        const char *path;
};

static int describe_xattr(char *name, char *value, size_t n, void *userdata)
{
        struct description *description = userdata;

        if (n > 32)
                text_appendf(&description->text, " %s=%zu bytes", name, n);
        else
                text_appendf(&description->text, " %s=%.*s", name, (int) n, value);
        return 0;
}

static void describe_content(struct description *description, ext2_ino_t number, struct ext2_inode *inode)
{
        char bytes[65] = { 0 };
        unsigned got = 0;
        ext2_file_t file;

        if (LINUX_S_ISCHR(inode->i_mode) || LINUX_S_ISBLK(inode->i_mode)) {
                text_appendf(&description->text, " %x,%x", inode->i_block[0], inode->i_block[1]);
                return;
        }
        if (LINUX_S_ISDIR(inode->i_mode) || inode->i_size == 0)
                return;
        if (LINUX_S_ISLNK(inode->i_mode) && ext2fs_is_fast_symlink(inode)) {
                text_appendf(&description->text, " -> %.59s", (char *) inode->i_block);
                return;
        }
        assert_int_equal(ext2fs_file_open(description->ext2, number, 0, &file), 0);
        (void) ext2fs_file_llseek(file, EXT2_I_SIZE(inode) > 64 ? EXT2_I_SIZE(inode) - 64 : 0, EXT2_SEEK_SET,
                                  NULL);
        assert_int_equal(ext2fs_file_read(file, bytes, 64, &got), 0);
        (void) ext2fs_file_close(file);
        for (unsigned i = 0; i < got; i++)
                if (bytes[i] == 0)
                        bytes[i] = '0';
        text_appendf(&description->text, " %s%.*s", LINUX_S_ISLNK(inode->i_mode) ? "-> " : "",
                     (int) (got > 12 ? 12 : got), bytes + (got > 12 ? got - 12 : 0));
}

static void describe_inode(struct description *description, ext2_ino_t number, const char *path)
{
        static const char types[16] = "?pc?d?b?-?l?s???";
        struct ext2_inode_large inode;
        struct ext2_xattr_handle *handle;

        assert_int_equal(ext2fs_read_inode_full(description->ext2, number, (struct ext2_inode *) &inode,
                                                sizeof(inode)),
                         0);
        text_appendf(&description->text, "%s %c %o %u:%u %llu %u", path, types[inode.i_mode >> 12],
                     inode.i_mode & 07777, inode_uid(inode), inode_gid(inode),
                     LINUX_S_ISDIR(inode.i_mode) ? 0ULL : EXT2_I_SIZE(&inode), inode.i_links_count);
        describe_content(description, number, (struct ext2_inode *) &inode);
        assert_int_equal(ext2fs_xattrs_open(description->ext2, number, &handle), 0);
        assert_int_equal(ext2fs_xattrs_read(handle), 0);
        assert_int_equal(ext2fs_xattrs_iterate(handle, describe_xattr, description), 0);
        (void) ext2fs_xattrs_close(&handle);
        text_append(&description->text, "\n");
}

/* NOLINTNEXTLINE(readability-function-size): the parameters are libext2fs's, ext2fs_dir_iterate2() */
static int describe_name(ext2_ino_t folder, int where, struct ext2_dir_entry *entry, int offset, int size,
                         char *block, void *userdata)
{
        struct description *description = userdata;
        const char *outer = description->path;
        scoped_free char *name = strndup(entry->name, (size_t) ext2fs_dirent_name_len(entry));
        scoped_free char *path = xasprintf("%s/%s", outer, name);

        (void) folder;
        (void) offset;
        (void) size;
        (void) block;
        if (where != DIRENT_OTHER_FILE || strcmp(path, "/lost+found") == 0)
                return 0;
        describe_inode(description, entry->inode, path);
        if (ext2fs_dirent_file_type(entry) == EXT2_FT_DIR) {
                description->path = path;
                assert_int_equal(ext2fs_dir_iterate2(description->ext2, entry->inode, 0, NULL, describe_name,
                                                     description),
                                 0);
                description->path = outer;
        }
        return 0;
}

static char *describe(const char *image)
{
        struct description description = { .path = "" };

        assert_is_clean(image);
        assert_int_equal(ext2fs_open(image, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &description.ext2), 0);
        describe_inode(&description, EXT2_ROOT_INO, "/");
        assert_int_equal(
                ext2fs_dir_iterate2(description.ext2, EXT2_ROOT_INO, 0, NULL, describe_name, &description),
                0);
        (void) ext2fs_close_free(&description.ext2);
        return text_take(&description.text);
}

#define ROOT3 "/ d 755 0:0 0 3\n"
#define ROOT4 "/ d 755 0:0 0 4\n"
#define S59   "12345678901234567890123456789012345678901234567890123456789"
#define S60   S59 "0"

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

static void every_format_and_filter_reads_the_same(void **state)
{
        static int (*const filters[])(
                struct archive *) = { archive_write_add_filter_none, archive_write_add_filter_gzip,
                                      archive_write_add_filter_xz, archive_write_add_filter_zstd };
        static int (*const formats[])(struct archive *) = { archive_write_set_format_pax,
                                                            archive_write_set_format_gnutar,
                                                            archive_write_set_format_ustar };
        static const struct item items[] = {
                {"d/f", '-', 0640, 1, 2, "content" },
                { NULL},
        };
        struct scratch *scratch = *state;

        for (size_t i = 0; i < N_ELEMENTS(filters) * N_ELEMENTS(formats); i++) {
                scoped_free char *description = NULL;
                struct err err = { 0 };

                write_tar(scratch->tar, items, filters[i % N_ELEMENTS(filters)],
                          formats[i / N_ELEMENTS(filters)]);
                assert_int_equal(convert(scratch, &err), 0);
                description = describe(scratch->image);
                assert_string_equal(description, ROOT4 "/d d 755 0:0 0 2\n/d/f - 640 1:2 7 1 content\n");
        }
}

static void truncated_archives_are_refused_and_leave_nothing(void **state)
{
        static const struct item items[] = {
                {"f",   '-', 0600, 0, 0, "0123456789" },
                { NULL}
        };
        static const off_t lengths[] = { 0, 1, 511, 513, 515, 1024 };
        struct scratch *scratch = *state;

        for (size_t i = 0; i < N_ELEMENTS(lengths); i++) {
                struct err err = { 0 };

                write_tar(scratch->tar, items, archive_write_add_filter_none, archive_write_set_format_ustar);
                assert_int_equal(truncate(scratch->tar, lengths[i]), 0);
                if (lengths[i] == 1024) /* header and data whole, end mark missing: as some tools write it */
                        assert_int_equal(convert(scratch, &err), 0);
                else
                        assert_int_equal(convert(scratch, &err), -EBADMSG);
                assert_int_equal(access(scratch->image, F_OK), lengths[i] == 1024 ? 0 : -1);
        }
}

static void a_full_file_system_is_enospc(void **state)
{
        const struct ext4_options options = { .size = 8 * MIB };
        struct scratch *scratch = *state;
        scoped_free char *big = xmalloc(9 * MIB + 1);
        const struct item items[] = {
                {"f",   '-', 0600, 0, 0, big },
                { NULL}
        };
        struct err err = { 0 };

        memset(big, 'x', 9 * MIB);
        big[9 * MIB] = '\0';
        write_tar(scratch->tar, items, archive_write_add_filter_none, archive_write_set_format_pax);
        assert_int_equal(convert_with(scratch, &options, &err), -ENOSPC);
        assert_int_equal(access(scratch->image, F_OK), -1);
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

static int refuse_progress(void *userdata, uint64_t bytes, uint64_t n)
{
        (void) bytes;
        (void) n;
        (*(int *) userdata)++;
        return -1;
}

static void cancelling_leaves_nothing(void **state)
{
        static struct item items[1100];
        struct scratch *scratch = *state;
        int n_calls = 0;
        const struct ext4_options options = { .size = IMAGE_SIZE,
                                              .progress = refuse_progress,
                                              .userdata = &n_calls };
        struct err err = { 0 };

        for (size_t i = 0; i + 1 < N_ELEMENTS(items); i++)
                items[i] = (struct item){ .path = "f", .type = '-', .mode = 0600, .text = "x" };
        write_tar(scratch->tar, items, archive_write_add_filter_none, archive_write_set_format_ustar);
        assert_int_equal(convert_with(scratch, &options, &err), -ECANCELED);
        assert_int_equal(n_calls, 1);
        assert_int_equal(access(scratch->image, F_OK), -1);
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

static void sizes_are_checked_and_chosen(void **state)
{
        static const struct {
                uint64_t size;
                int code;
        } cases[] = {
                {0,                EINVAL},
                { 8 * MIB - 1,     EINVAL},
                { 8 * MIB,         0     },
                { 8 * GIB,         0     },
                { 17 * 1024 * GIB, EINVAL}
        };
        static const struct item items[] = {
                {"f",   '-', 0600, 0, 0, "x" },
                { NULL}
        };
        struct scratch *scratch = *state;
        const struct ext4_options automatic = { .size = 0 };
        struct stat status;

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                const struct ext4_options options = { .size = cases[i].size, .label = "banger" };
                struct err err = { 0 };

                assert_int_equal(ext4_make_empty(scratch->image, &options, &err), -cases[i].code);
                if (cases[i].code == 0) {
                        assert_is_clean(scratch->image);
                        assert_int_equal(stat(scratch->image, &status), 0);
                        assert_int_equal(status.st_size, cases[i].size);
                        assert_true(status.st_blocks * 512 < (off_t) (2 * MIB)); /* sparse */
                        assert_int_equal(unlink(scratch->image), 0);
                }
        }
        {
                struct err err = { 0 };

                write_tar(scratch->tar, items, archive_write_add_filter_gzip, archive_write_set_format_ustar);
                assert_int_equal(convert_with(scratch, &automatic, &err), 0);
                assert_int_equal(stat(scratch->image, &status), 0);
                assert_int_equal(status.st_size, GIB);
        }
}

static void equal_ids_and_times_make_equal_images(void **state)
{
        static const struct item items[] = {
                {"d/f", '-', 0600, 0, 0, "x" },
                { NULL}
        };
        const struct ext4_options options = {
                .size = IMAGE_SIZE, .time = TIME, .uuid = "0123456789abcde", .hash_seed = "edcba9876543210"
        };
        struct scratch *scratch = *state;
        struct err err = { 0 };
        const char *const argv[] = { "cmp", scratch->image, scratch->copy, NULL };

        write_tar(scratch->tar, items, archive_write_add_filter_none, archive_write_set_format_ustar);
        assert_int_equal(convert_with(scratch, &options, &err), 0);
        assert_int_equal(rename(scratch->image, scratch->copy), 0);
        assert_int_equal(convert_with(scratch, &options, &err), 0);
        assert_int_equal(spawn_run(argv, 60000, MIB, NULL, NULL, &err), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(trees_are_kept_or_refused, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(every_format_and_filter_reads_the_same, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(truncated_archives_are_refused_and_leave_nothing,
                                                make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_full_file_system_is_enospc, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(a_folder_of_many_names_is_found_whole, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(a_file_of_many_pieces_is_whole, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(cancelling_leaves_nothing, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(only_below_and_copies_take_a_subtree, make_scratch,
                                                drop_scratch),
                cmocka_unit_test_setup_teardown(sizes_are_checked_and_chosen, make_scratch, drop_scratch),
                cmocka_unit_test_setup_teardown(equal_ids_and_times_make_equal_images, make_scratch,
                                                drop_scratch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
