#include "ext4/ext4_fs.h"

#include <errno.h>
#include <et/com_err.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/text.h"
#include "ext4/ext4_format.h"

#define NS_PER_S UINT64_C(1000000000)

static int errno_of(errcode_t code)
{
        switch (code) {
        case EXT2_ET_BLOCK_ALLOC_FAIL:
        case EXT2_ET_INODE_ALLOC_FAIL:
        case EXT2_ET_TOOSMALL:
                return ENOSPC;
        case EXT2_ET_EA_NO_SPACE:
                return E2BIG;
        case EXT2_ET_NO_MEMORY:
                return ENOMEM;
        default:
                return code > 0 && code < 256 ? (int) code : EIO; /* com_err: small ones are errno values */
        }
}

int ext4_fs_error(struct err *err, errcode_t code, const char *format, ...)
{
        char what[ERR_MESSAGE_MAX / 2];
        va_list arguments;

        initialize_ext2_error_table();
        va_start(arguments, format);
        (void) vsnprintf(what, sizeof(what), format, arguments);
        va_end(arguments);
        return err_set(err, errno_of(code), "ext4.write", "%s: %s", what, error_message(code));
}

int ext4_fs_create(const char *path, const struct ext4_options *options, struct ext4_fs *ret_fs,
                   struct err *err)
{
        int r = ext4_format_check(options, err);

        if (r < 0)
                return r;
        *ret_fs = (struct ext4_fs){ .time = options->time ? options->time : clock_real_ns() / NS_PER_S };
        ret_fs->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (ret_fs->fd < 0)
                return err_errno(err, "ext4.create", "create '%s'", path);
        ret_fs->path = xstrdup(path);
        r = ext4_format(ret_fs, options, err);
        if (r < 0)
                ext4_fs_abort(ret_fs);
        return r;
}

static void release(struct ext4_fs *fs)
{
        if (fs->ext2)
                ext2fs_free(fs->ext2);
        if (fs->fd >= 0)
                (void) close(fs->fd);
        free(fs->path);
        free(fs->dead);
        free(fs->stream);
        *fs = (struct ext4_fs){ .fd = FD_NONE };
}

void ext4_fs_abort(struct ext4_fs *fs)
{
        if (fs->path)
                (void) unlink(fs->path);
        release(fs);
}

struct xattr_names {
        char **names;
        size_t n;
};

static int collect_name(char *name, char *value, size_t value_n, void *data)
{
        struct xattr_names *names = data;

        (void) value;
        (void) value_n;
        names->names = xrealloc(names->names, (names->n + 1) * sizeof(*names->names));
        names->names[names->n++] = xstrdup(name);
        return 0;
}

/* Through libext2fs, which also gives back a value's own inode. */
static errcode_t remove_xattrs(ext2_filsys ext2, ext2_ino_t inode)
{
        struct xattr_names names = { 0 };
        struct ext2_xattr_handle *handle;
        errcode_t code = ext2fs_xattrs_open(ext2, inode, &handle);

        if (code)
                return code;
        code = ext2fs_xattrs_read(handle);
        if (!code)
                code = ext2fs_xattrs_iterate(handle, collect_name, &names);
        for (size_t i = 0; i < names.n; i++) {
                if (!code)
                        code = ext2fs_xattr_remove(handle, names.names[i]);
                free(names.names[i]);
        }
        free(names.names);
        (void) ext2fs_xattrs_close(&handle);
        return code;
}

static errcode_t bury(struct ext4_fs *fs, ext2_ino_t number)
{
        struct ext2_inode_large inode;
        struct ext2_inode *small = (struct ext2_inode *) &inode;
        errcode_t code = remove_xattrs(fs->ext2, number);
        bool is_folder;

        if (!code)
                code = ext2fs_read_inode_full(fs->ext2, number, small, sizeof(inode));
        if (code)
                return code;
        is_folder = LINUX_S_ISDIR(inode.i_mode);
        if (ext2fs_file_acl_block(fs->ext2, small) != 0) /* libext2fs keeps an empty one */
                code = ext2fs_free_ext_attr(fs->ext2, number, &inode);
        if (!code && ext2fs_inode_has_valid_blocks2(fs->ext2, small))
                code = ext2fs_punch(fs->ext2, number, small, NULL, 0, ~0ULL);
        if (code)
                return code;
        memset(&inode, 0, sizeof(inode));
        inode.i_dtime = (uint32_t) fs->time;
        ext2fs_inode_alloc_stats2(fs->ext2, number, -1, is_folder);
        return ext2fs_write_inode_full(fs->ext2, number, small, sizeof(inode));
}

static int finish(struct ext4_fs *fs, struct err *err)
{
        errcode_t code = 0;
        int r = ext4_fs_stream_end(fs, err);

        for (size_t i = 0; i < fs->n_dead && r == 0 && !code; i++)
                code = bury(fs, fs->dead[i]);
        if (r == 0 && !code)
                r = ext4_format_finish(fs, err);
        if (r == 0 && !code)
                code = ext2fs_close2(fs->ext2, EXT2_FLAG_FLUSH_NO_SYNC); /* whoever publishes it syncs it */
        if (code)
                return ext4_fs_error(err, code, "finish '%s'", fs->path);
        if (r == 0)
                fs->ext2 = NULL;
        return r;
}

int ext4_fs_close(struct ext4_fs *fs, uint64_t *ret_size, struct err *err)
{
        int r = finish(fs, err);
        off_t size = r == 0 ? lseek(fs->fd, 0, SEEK_END) : 0;

        if (size < 0)
                r = err_errno(err, "ext4.write", "size of '%s'", fs->path);
        if (r < 0) {
                ext4_fs_abort(fs);
                return r;
        }
        *ret_size = (uint64_t) size;
        release(fs);
        return 0;
}

int ext4_fs_take_inode(struct ext4_fs *fs, bool is_folder, ext2_ino_t *ret_inode, struct err *err)
{
        ext2_ino_t found;
        errcode_t code = ext2fs_find_first_zero_inode_bitmap2(fs->ext2->inode_map, fs->next_inode,
                                                              fs->ext2->super->s_inodes_count, &found);

        if (code)
                return err_set(err, ENOSPC, "ext4.write",
                               "'%s' is out of inodes after %u: give the file system a larger size", fs->path,
                               fs->ext2->super->s_inodes_count);
        ext2fs_inode_alloc_stats2(fs->ext2, found, +1, is_folder);
        fs->next_inode = found < fs->ext2->super->s_inodes_count ? found + 1 : found;
        *ret_inode = found;
        return 0;
}

int ext4_fs_drop_link(struct ext4_fs *fs, ext2_ino_t number, bool is_folder, struct err *err)
{
        struct ext2_inode inode;
        errcode_t code = ext2fs_read_inode(fs->ext2, number, &inode);

        if (!code && !is_folder && inode.i_links_count > 1) {
                inode.i_links_count--;
                code = ext2fs_write_inode(fs->ext2, number, &inode);
        } else if (!code) {
                if (fs->n_dead == fs->dead_capacity) {
                        fs->dead_capacity = fs->dead_capacity > 0 ? fs->dead_capacity * 2 : 64;
                        fs->dead = xrealloc(fs->dead, fs->dead_capacity * sizeof(*fs->dead));
                }
                fs->dead[fs->n_dead++] = number;
        }
        return code ? ext4_fs_error(err, code, "unlink inode %u of '%s'", number, fs->path) : 0;
}

int ext4_fs_take_blocks(struct ext4_fs *fs, uint32_t max, blk64_t *ret_block, uint32_t *ret_n,
                        struct err *err)
{
        blk64_t last = ext2fs_blocks_count(fs->ext2->super) - 1, first, end, taken;
        errcode_t code =
                ext2fs_find_first_zero_block_bitmap2(fs->ext2->block_map, fs->next_block, last, &first);

        if (code)
                return err_set(err, ENOSPC, "ext4.write", "'%s' is full: give the file system a larger size",
                               fs->path);
        end = first + max - 1 < last ? first + max - 1 : last;
        if (ext2fs_find_first_set_block_bitmap2(fs->ext2->block_map, first, end, &taken) == 0)
                end = taken - 1;
        *ret_block = first;
        *ret_n = (uint32_t) (end - first + 1);
        ext2fs_block_alloc_stats_range(fs->ext2, first, *ret_n, +1);
        fs->next_block = end < last ? end + 1 : last;
        fs->n_blocks += *ret_n;
        return 0;
}

static int write_stream(struct ext4_fs *fs, struct err *err)
{
        off_t offset = (off_t) (fs->stream_block * EXT4_BLOCK_SIZE);
        size_t n = (size_t) fs->stream_used * EXT4_BLOCK_SIZE;

        for (size_t done = 0; done < n;) {
                ssize_t put = pwrite(fs->fd, fs->stream + done, n - done, offset + (off_t) done);

                if (put < 0 && errno == EINTR)
                        continue;
                if (put < 0)
                        return err_errno(err, "ext4.write", "write '%s'", fs->path);
                done += (size_t) put;
        }
        return 0;
}

int ext4_fs_stream_block(struct ext4_fs *fs, char **ret_to, blk64_t *ret_block, struct err *err)
{
        if (fs->stream_used == fs->stream_n) {
                int r = write_stream(fs, err);

                fs->stream_n = fs->stream_used = 0;
                if (!fs->stream)
                        fs->stream = xmalloc((size_t) EXT4_STREAM_BLOCKS * EXT4_BLOCK_SIZE);
                if (r == 0)
                        r = ext4_fs_take_blocks(fs, EXT4_STREAM_BLOCKS, &fs->stream_block, &fs->stream_n,
                                                err);
                if (r < 0)
                        return r;
        }
        *ret_to = fs->stream + (size_t) fs->stream_used * EXT4_BLOCK_SIZE;
        *ret_block = fs->stream_block + fs->stream_used++;
        return 0;
}

int ext4_fs_stream_end(struct ext4_fs *fs, struct err *err)
{
        int r = write_stream(fs, err);
        uint32_t left = fs->stream_n - fs->stream_used;

        if (r < 0)
                return r;
        if (left > 0) {
                fs->next_block = fs->stream_block + fs->stream_used;
                fs->n_blocks -= left;
                ext2fs_block_alloc_stats_range(fs->ext2, fs->next_block, left, -1);
        }
        fs->stream_n = fs->stream_used = 0;
        return 0;
}
