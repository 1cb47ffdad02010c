#include "ext4_fixture.h"

#include <archive_entry.h>
#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/spawn.h"

int make_scratch(void **state)
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

int drop_scratch(void **state)
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

void write_tar(const char *path, const struct item *items, int (*filter)(struct archive *),
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

int convert_with(const struct scratch *scratch, const struct ext4_options *options, struct err *err)
{
        scoped_close int fd = open(scratch->tar, O_RDONLY | O_CLOEXEC);

        (void) unlink(scratch->image);
        return ext4_from_tar(fd, scratch->image, options, NULL, err);
}

int convert(const struct scratch *scratch, struct err *err)
{
        const struct ext4_options options = { .size = IMAGE_SIZE, .time = TIME };

        return convert_with(scratch, &options, err);
}

void assert_is_clean(const char *image)
{
        const char *const argv[] = { "e2fsck", "-fn", image, NULL };
        scoped_free char *output = NULL, *error = NULL;
        struct err err = { 0 };
        int status = spawn_run(argv, 120000, MIB, &output, &error, &err);

        if (status != 0)
                print_error("%s\n%s\n%s\n", output ? output : "", error ? error : "", err.message);
        assert_int_equal(status, 0);
}

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

char *describe(const char *image)
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
