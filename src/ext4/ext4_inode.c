#include "ext4/ext4_inode.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"

#define EXTRA_ISIZE (sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE)
#define TIME_MIN    ((int64_t) INT32_MIN)
#define TIME_MAX \
        ((INT64_C(1) << 34) - 1 + INT32_MIN) /* two more bits, Documentation/filesystems/ext4/inodes.rst */
/* EXT4_XATTR_MIN_LARGE_EA_SIZE(), linux fs/ext4/xattr.h: what no block can hold with its headers */
#define LARGE_XATTR    (EXT4_BLOCK_SIZE - 20U - 32U - 4U)
#define OLD_DEVICE_MAX 256U

int ext4_inode_file_type(mode_t mode)
{
        switch (mode & S_IFMT) {
        case S_IFREG:
                return EXT2_FT_REG_FILE;
        case S_IFDIR:
                return EXT2_FT_DIR;
        case S_IFCHR:
                return EXT2_FT_CHRDEV;
        case S_IFBLK:
                return EXT2_FT_BLKDEV;
        case S_IFIFO:
                return EXT2_FT_FIFO;
        case S_IFSOCK:
                return EXT2_FT_SOCK;
        case S_IFLNK:
                return EXT2_FT_SYMLINK;
        default:
                return -1;
        }
}

/* Seconds in 32 bits and an extra field with 2 more bits of them below 30 bits of nanoseconds. */
static void encode_time(struct timespec time, uint32_t *ret_seconds, uint32_t *ret_extra)
{
        int64_t s = time.tv_sec < TIME_MIN ? TIME_MIN : time.tv_sec > TIME_MAX ? TIME_MAX : time.tv_sec;
        uint32_t low = (uint32_t) (uint64_t) s;
        uint32_t epoch = (uint32_t) ((uint64_t) (s - (int32_t) low) >> 32) & 3;
        long ns = time.tv_nsec >= 0 && time.tv_nsec < 1000000000 ? time.tv_nsec : 0;

        *ret_seconds = low;
        *ret_extra = epoch | (uint32_t) ns << 2;
}

/* Linux's old and new encoding of device numbers, fs/ext4/inode.c ext4_do_update_inode(). */
static void set_device(struct ext2_inode_large *inode, uint32_t major, uint32_t minor)
{
        if (major < OLD_DEVICE_MAX && minor < OLD_DEVICE_MAX)
                inode->i_block[0] = major << 8 | minor;
        else
                inode->i_block[1] = (minor & 0xff) | major << 8 | (minor & ~UINT32_C(0xff)) << 12;
}

void ext4_inode_fill(struct ext2_inode_large *ret_inode, const struct ext4_entry *entry)
{
        struct ext2_inode_large *inode = ret_inode;

        *inode = (struct ext2_inode_large){ .i_mode = (uint16_t) entry->mode, /* Linux's bits are ext4's */
                                            .i_links_count = 1,
                                            .i_extra_isize = EXTRA_ISIZE };
        inode->i_uid = (uint16_t) entry->uid;
        inode->i_uid_high = (uint16_t) (entry->uid >> 16);
        inode->i_gid = (uint16_t) entry->gid;
        inode->i_gid_high = (uint16_t) (entry->gid >> 16);
        encode_time(entry->atime, &inode->i_atime, &inode->i_atime_extra);
        encode_time(entry->mtime, &inode->i_mtime, &inode->i_mtime_extra);
        encode_time(entry->ctime, &inode->i_ctime, &inode->i_ctime_extra);
        encode_time(entry->mtime, &inode->i_crtime, &inode->i_crtime_extra);
        if (S_ISCHR(entry->mode) || S_ISBLK(entry->mode))
                set_device(inode, entry->major, entry->minor);
}

static bool is_known_namespace(const char *name)
{
        return text_starts_with(name, "user.") || text_starts_with(name, "trusted.") ||
               text_starts_with(name, "security.") || strcmp(name, "system.posix_acl_access") == 0 ||
               strcmp(name, "system.posix_acl_default") == 0;
}

static int count_large(char *name, char *value, size_t n, void *userdata)
{
        int64_t *n_blocks = userdata;

        (void) name;
        (void) value;
        if (n > LARGE_XATTR)
                *n_blocks += (int64_t) ((n + EXT4_BLOCK_SIZE - 1) / EXT4_BLOCK_SIZE);
        return 0;
}

/* *ret_n_blocks: how many more blocks the inodes of large values have. */
static errcode_t set_all(struct ext4_fs *fs, struct ext2_xattr_handle *handle,
                         const struct ext4_xattr *xattrs, size_t n, int64_t *ret_n_blocks)
{
        int64_t before = 0, after = 0;
        errcode_t code = ext2fs_xattrs_read(handle);

        if (!code)
                code = ext2fs_xattrs_iterate(handle, count_large, &before);
        for (size_t i = 0; i < n && !code; i++) {
                if (!is_known_namespace(xattrs[i].name))
                        continue;
                /* a value that no block holds gets an inode of its own; only such images need the feature */
                if (xattrs[i].n > LARGE_XATTR)
                        ext2fs_set_feature_ea_inode(fs->ext2->super);
                code = ext2fs_xattr_set(handle, xattrs[i].name, xattrs[i].value, xattrs[i].n);
        }
        if (!code)
                code = ext2fs_xattrs_iterate(handle, count_large, &after);
        *ret_n_blocks = after - before;
        return code;
}

/* e2fsck and the kernel's quota count the blocks of large values as the file's; libext2fs 1.47 leaves them out. */
static errcode_t count_blocks(struct ext4_fs *fs, ext2_ino_t number, int64_t n_blocks)
{
        struct ext2_inode inode;
        errcode_t code = n_blocks != 0 ? ext2fs_read_inode(fs->ext2, number, &inode) : 0;

        if (n_blocks > 0 && !code)
                code = ext2fs_iblk_add_blocks(fs->ext2, &inode, (blk64_t) n_blocks);
        if (n_blocks < 0 && !code)
                code = ext2fs_iblk_sub_blocks(fs->ext2, &inode, (blk64_t) -n_blocks);
        return code || n_blocks == 0 ? code : ext2fs_write_inode(fs->ext2, number, &inode);
}

int ext4_inode_store_xattrs(struct ext4_fs *fs, ext2_ino_t number, const struct ext4_xattr *xattrs, size_t n,
                            const char *path, struct err *err)
{
        struct ext2_xattr_handle *handle;
        errcode_t code, close_code;
        int64_t n_blocks = 0;

        if (n == 0)
                return 0;
        code = ext2fs_xattrs_open(fs->ext2, number, &handle);
        if (code)
                return ext4_fs_error(err, code, "attributes of '%.300s'", path);
        code = set_all(fs, handle, xattrs, n, &n_blocks);
        close_code = ext2fs_xattrs_close(&handle);
        if (!code)
                code = close_code;
        if (!code)
                code = count_blocks(fs, number, n_blocks);
        return code ? ext4_fs_error(err, code, "attributes of '%.300s'", path) : 0;
}
