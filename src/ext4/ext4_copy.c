#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"
#include "ext4/ext4_builder.h"
#include "ext4/ext4_fs.h"
#include "ext4/ext4_image.h"

#define READ_BYTES (1U << 20)
#define LOST_FOUND "lost+found"
#define TARGET_MAX 4096U

struct folder_to_read {
        ext2_ino_t number;
        char *path; /* owned, in the new image */
};

struct copy {
        ext2_filsys source; /* owned */
        const char *source_path;
        struct ext4_builder *builder;   /* owned */
        char *buffer;                   /* owned, READ_BYTES */
        struct folder_to_read *folders; /* owned; a stack, so that depth costs no recursion */
        size_t n_folders, capacity;
        char **first_names; /* owned; by inode number, for those with more than one name; NULL until one is met */
        struct ext4_xattr xattrs[EXT4_XATTRS_MAX];
        size_t n_xattrs;
        const char *folder_path; /* of the folder that is read; borrowed */
        struct err *err;
        int result; /* of the folder that is read */
};

static void copy_free(struct copy *copy)
{
        if (!copy)
                return;
        for (size_t i = 0; i < copy->n_folders; i++)
                free(copy->folders[i].path);
        for (ext2_ino_t i = 0; copy->first_names && i <= copy->source->super->s_inodes_count; i++)
                free(copy->first_names[i]);
        free(copy->first_names);
        if (copy->source)
                (void) ext2fs_close_free(&copy->source);
        ext4_builder_free(copy->builder);
        free(copy->folders);
        free(copy->buffer);
        free(copy);
}
SCOPED_FUNC(struct copy *, copy_free);

static struct timespec decode_time(uint32_t seconds, uint32_t extra)
{
        return (struct timespec){ .tv_sec = (int32_t) seconds + ((int64_t) (extra & 3) << 32),
                                  .tv_nsec = (long) (extra >> 2) };
}

static void forget_xattrs(struct copy *copy)
{
        for (size_t i = 0; i < copy->n_xattrs; i++) {
                free((void *) (uintptr_t) copy->xattrs[i].name);
                free((void *) (uintptr_t) copy->xattrs[i].value);
        }
        copy->n_xattrs = 0;
}

static int keep_xattr(char *name, char *value, size_t n, void *userdata)
{
        struct copy *copy = userdata;
        void *kept;

        if (copy->n_xattrs == EXT4_XATTRS_MAX)
                return XATTR_ABORT;
        kept = xmalloc(n + 1);
        memcpy(kept, value, n);
        copy->xattrs[copy->n_xattrs++] = (struct ext4_xattr){ .name = xstrdup(name), .value = kept, .n = n };
        return 0;
}

static errcode_t read_xattrs(struct copy *copy, ext2_ino_t number)
{
        struct ext2_xattr_handle *handle;
        errcode_t code = ext2fs_xattrs_open(copy->source, number, &handle);

        if (code)
                return code;
        code = ext2fs_xattrs_read(handle);
        if (!code)
                code = ext2fs_xattrs_iterate(handle, keep_xattr, copy);
        (void) ext2fs_xattrs_close(&handle);
        return code;
}

static void fill_entry(const struct ext2_inode_large *inode, struct ext4_entry *entry)
{
        entry->mode = inode->i_mode;
        entry->uid = inode->i_uid | (uint32_t) inode->i_uid_high << 16;
        entry->gid = inode->i_gid | (uint32_t) inode->i_gid_high << 16;
        entry->atime = decode_time(inode->i_atime, inode->i_atime_extra);
        entry->mtime = decode_time(inode->i_mtime, inode->i_mtime_extra);
        entry->ctime = decode_time(inode->i_ctime, inode->i_ctime_extra);
        entry->size = EXT2_I_SIZE(inode);
        if (!S_ISCHR(inode->i_mode) && !S_ISBLK(inode->i_mode))
                return;
        if (inode->i_block[0] != 0) { /* as ext4_inode_fill() encodes them */
                entry->major = inode->i_block[0] >> 8 & 0xff;
                entry->minor = inode->i_block[0] & 0xff;
        } else {
                entry->major = inode->i_block[1] >> 8 & 0xfff;
                entry->minor = (inode->i_block[1] & 0xff) | (inode->i_block[1] >> 12 & ~UINT32_C(0xff));
        }
}

static errcode_t read_target(struct copy *copy, ext2_ino_t number, struct ext2_inode_large *inode,
                             char target[TARGET_MAX])
{
        uint64_t n = EXT2_I_SIZE(inode);
        unsigned got = 0;
        ext2_file_t file;
        errcode_t code;

        if (n >= TARGET_MAX)
                return EXT2_ET_SYMLINK_LOOP;
        if (ext2fs_is_fast_symlink((struct ext2_inode *) inode)) {
                memcpy(target, inode->i_block, n < sizeof(inode->i_block) ? n : sizeof(inode->i_block));
        } else {
                code = ext2fs_file_open(copy->source, number, 0, &file);
                if (code)
                        return code;
                code = ext2fs_file_read(file, target, (unsigned) n, &got);
                (void) ext2fs_file_close(file);
                if (code)
                        return code;
        }
        target[n] = '\0';
        return 0;
}

static int source_failed(struct copy *copy, errcode_t code, const char *path)
{
        return ext4_fs_error(copy->err, code, "read '%.200s' in '%s'", path, copy->source_path);
}

static int copy_data(struct copy *copy, ext2_ino_t number, const char *path)
{
        uint64_t offset = 0;
        ext2_file_t file;
        errcode_t code = ext2fs_file_open(copy->source, number, 0, &file);
        int r = 0;

        if (code)
                return source_failed(copy, code, path);
        for (;;) {
                unsigned got = 0;

                code = ext2fs_file_read(file, copy->buffer, READ_BYTES, &got);
                if (code || got == 0)
                        break;
                r = ext4_builder_data(copy->builder, offset, copy->buffer, got, copy->err);
                if (r < 0)
                        break;
                offset += got;
        }
        (void) ext2fs_file_close(file);
        if (code && r == 0)
                r = source_failed(copy, code, path);
        return r < 0 ? r : ext4_builder_end_data(copy->builder, copy->err);
}

/* The first name of an inode with several, remembered when it is this one. */
static const char *first_name(struct copy *copy, ext2_ino_t number, const char *path)
{
        if (!copy->first_names)
                copy->first_names =
                        xcalloc((size_t) copy->source->super->s_inodes_count + 1, sizeof(*copy->first_names));
        if (copy->first_names[number])
                return copy->first_names[number];
        copy->first_names[number] = xstrdup(path);
        return NULL;
}

static void push_folder(struct copy *copy, ext2_ino_t number, const char *path)
{
        if (copy->n_folders == copy->capacity) {
                copy->capacity = copy->capacity > 0 ? copy->capacity * 2 : 64;
                copy->folders = xrealloc(copy->folders, copy->capacity * sizeof(*copy->folders));
        }
        copy->folders[copy->n_folders++] = (struct folder_to_read){ .number = number, .path = xstrdup(path) };
}

static int copy_inode(struct copy *copy, ext2_ino_t number, const char *path)
{
        char target[TARGET_MAX];
        struct ext2_inode_large inode = { 0 };
        struct ext4_entry entry = { .path = path, .target = target, .xattrs = copy->xattrs };
        bool wants_data;
        errcode_t code =
                ext2fs_read_inode_full(copy->source, number, (struct ext2_inode *) &inode, sizeof(inode));
        int r;

        if (!code)
                code = read_xattrs(copy, number);
        if (!code && S_ISLNK(inode.i_mode))
                code = read_target(copy, number, &inode, target);
        if (code)
                return source_failed(copy, code, path);
        fill_entry(&inode, &entry);
        entry.n_xattrs = copy->n_xattrs;
        if (!S_ISDIR(inode.i_mode) && inode.i_links_count > 1)
                entry.link_to = first_name(copy, number, path);
        r = ext4_builder_add(copy->builder, &entry, &wants_data, copy->err);
        if (r == 0 && wants_data)
                r = copy_data(copy, number, path);
        if (r == 0 && S_ISDIR(inode.i_mode))
                push_folder(copy, number, path);
        return r;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters are libext2fs's, ext2fs_dir_iterate2() */
static int copy_name(ext2_ino_t folder, int where, struct ext2_dir_entry *entry, int offset, int block_size,
                     char *block, void *userdata)
{
        struct copy *copy = userdata;
        scoped_free char *name = strndup(entry->name, (size_t) ext2fs_dirent_name_len(entry));
        scoped_free char *path = NULL;

        (void) offset;
        (void) block_size;
        (void) block;
        if (where != DIRENT_OTHER_FILE || !name || (folder == EXT2_ROOT_INO && strcmp(name, LOST_FOUND) == 0))
                return 0;
        path = xasprintf("%s/%s", copy->folder_path, name);
        copy->result = copy_inode(copy, entry->inode, path);
        forget_xattrs(copy);
        return copy->result < 0 ? DIRENT_ABORT : 0;
}

static int copy_folders(struct copy *copy)
{
        while (copy->n_folders > 0) {
                struct folder_to_read folder = copy->folders[--copy->n_folders];
                scoped_free char *path = folder.path;
                errcode_t code;

                copy->folder_path = path;
                code = ext2fs_dir_iterate2(copy->source, folder.number, 0, NULL, copy_name, copy);
                if (copy->result < 0)
                        return copy->result;
                if (code)
                        return source_failed(copy, code, path);
        }
        return 0;
}

static int open_source(struct copy *copy, const char *below, ext2_ino_t *ret_top)
{
        scoped_close int fd = open(copy->source_path, O_RDONLY | O_CLOEXEC);
        scoped_free char *name = NULL;
        errcode_t code;

        if (fd < 0)
                return err_errno(copy->err, "ext4.copy", "open '%s'", copy->source_path);
        name = xasprintf("/proc/self/fd/%d", fd); /* libext2fs would take a '?' in a name for options */
        code = ext2fs_open(name, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &copy->source);
        if (code)
                return source_failed(copy, code, "/");
        code = below ? ext2fs_namei(copy->source, EXT2_ROOT_INO, EXT2_ROOT_INO, below, ret_top) : 0;
        if (code)
                return err_set(copy->err, ENOENT, "ext4.copy", "no folder '%s' in '%s'", below,
                               copy->source_path);
        return 0;
}

int ext4_copy_tree(const char *source_path, const char *image_path, const struct ext4_options *options,
                   struct err *err)
{
        scoped(copy_free) struct copy *copy = xcalloc(1, sizeof(*copy));
        struct ext4_builder_report report;
        ext2_ino_t top = EXT2_ROOT_INO;
        int r;

        copy->source_path = source_path;
        copy->err = err;
        copy->buffer = xmalloc(READ_BYTES);
        r = open_source(copy, options->only_below, &top);
        if (r == 0)
                r = ext4_builder_new(image_path, options, 1, &copy->builder, err);
        if (r == 0)
                r = copy_inode(copy, top, "");
        forget_xattrs(copy);
        if (r == 0)
                r = copy_folders(copy);
        return r < 0 ? r : ext4_builder_finish(copy->builder, &report, err);
}
