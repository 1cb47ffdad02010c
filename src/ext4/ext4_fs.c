#include "ext4/ext4_fs.h"

#include <et/com_err.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/text.h"

#define SIZE_MIN            (UINT64_C(8) << 20) /* below, libext2fs finds no room for a journal */
#define SIZE_MAX_EXT4       (UINT64_C(16) << 40)
#define BYTES_PER_INODE     16384U /* mke2fs.conf(5) default inode_ratio */
#define LOG_GROUPS_PER_FLEX 4      /* 16 groups: bitmaps and tables of 2 GiB lie together */
/* Room to grow by 64 descriptor blocks, 512 GiB: libext2fs would write 1024 of them, 4 MiB for every new disk. */
#define RESERVED_GDT_BLOCKS 64U
#define EXTRA_ISIZE         32U
#define NS_PER_S            UINT64_C(1000000000)

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

static void set_features(struct ext2_super_block *super)
{
        super->s_feature_compat = EXT2_FEATURE_COMPAT_EXT_ATTR | EXT2_FEATURE_COMPAT_DIR_INDEX |
                                  EXT2_FEATURE_COMPAT_RESIZE_INODE;
        super->s_feature_incompat = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS |
                                    EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_FLEX_BG;
        super->s_feature_ro_compat = EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
                                     EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
                                     EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE |
                                     EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
}

static struct ext2_super_block geometry(uint64_t size)
{
        struct ext2_super_block super = { .s_rev_level = EXT2_DYNAMIC_REV,
                                          .s_log_block_size = 2,
                                          .s_log_cluster_size = 2,
                                          .s_inode_size = 256,
                                          .s_desc_size = EXT2_MIN_DESC_SIZE_64BIT,
                                          .s_log_groups_per_flex = LOG_GROUPS_PER_FLEX,
                                          .s_reserved_gdt_blocks = RESERVED_GDT_BLOCKS,
                                          .s_min_extra_isize = EXTRA_ISIZE,
                                          .s_want_extra_isize = EXTRA_ISIZE };
        uint64_t n_inodes = size / BYTES_PER_INODE;

        set_features(&super);
        ext2fs_blocks_count_set(&super, size / EXT4_BLOCK_SIZE);
        super.s_inodes_count = n_inodes < UINT32_MAX ? (uint32_t) n_inodes : UINT32_MAX;
        return super;
}

static void set_id(uint8_t to[16], const uint8_t wanted[16], bool is_uuid)
{
        static const uint8_t none[16];

        if (memcmp(wanted, none, sizeof(none)) != 0) {
                memcpy(to, wanted, sizeof(none));
                return;
        }
        if (getrandom(to, sizeof(none), 0) != (ssize_t) sizeof(none))
                abort(); /* getrandom(2): so few bytes cannot fail */
        if (is_uuid) {   /* version 4, RFC 4122 section 4.4 */
                to[6] = (uint8_t) ((to[6] & 0x0f) | 0x40);
                to[8] = (uint8_t) ((to[8] & 0x3f) | 0x80);
        }
}

static void name_it(struct ext4_fs *fs, const struct ext4_options *options)
{
        struct ext2_super_block *super = fs->ext2->super;

        /* not before ext2fs_initialize(), which would refuse or overwrite them */
        super->s_checksum_type = EXT2_CRC32C_CHKSUM;
        super->s_def_hash_version = EXT2_HASH_HALF_MD4;
        super->s_flags |= EXT2_FLAGS_UNSIGNED_HASH;
        super->s_max_mnt_count = -1;
        super->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
        set_id(super->s_uuid, options->uuid, true);
        set_id((uint8_t *) super->s_hash_seed, options->hash_seed, false);
        if (options->label)
                memcpy(super->s_volume_name, options->label, strlen(options->label));
        super->s_mkfs_time = super->s_wtime = super->s_lastcheck = (uint32_t) fs->time;
        fs->ext2->now = (time_t) fs->time;
        ext2fs_init_csum_seed(fs->ext2);
}

/* The inodes below the first free one, of which ext4 uses a few: e2fsck wants all of them taken. */
static errcode_t take_reserved_inodes(ext2_filsys ext2)
{
        for (ext2_ino_t i = EXT2_BAD_INO; i < EXT2_FIRST_INODE(ext2->super); i++)
                ext2fs_inode_alloc_stats2(ext2, i, +1, i == EXT2_ROOT_INO);
        return ext2fs_update_bb_inode(ext2, NULL);
}

static errcode_t lay_out(struct ext4_fs *fs)
{
        ext2_filsys ext2 = fs->ext2;
        int journal_blocks = ext2fs_default_journal_size(ext2fs_blocks_count(ext2->super));
        errcode_t code = ext2fs_allocate_tables(ext2);

        if (code)
                return code;
        for (dgrp_t group = 0; group < ext2->group_desc_count; group++) {
                /* the file is sparse: the tables are zero without being written */
                ext2fs_bg_flags_set(ext2, group, EXT2_BG_INODE_ZEROED);
                ext2fs_group_desc_csum_set(ext2, group);
        }
        code = take_reserved_inodes(ext2);
        if (!code)
                code = ext2fs_create_resize_inode(ext2);
        if (!code && journal_blocks > 0)
                code = ext2fs_add_journal_inode2(ext2, (blk_t) journal_blocks, 0,
                                                 EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK);
        return code;
}

static int check_options(const struct ext4_options *options, struct err *err)
{
        char text[SIZE_TEXT_MAX];

        size_human(options->size, text);
        if (options->size < SIZE_MIN || options->size > SIZE_MAX_EXT4)
                return err_set(err, EINVAL, "ext4.create",
                               "a file system of %s: between 8 MiB and 16 TiB are possible", text);
        if (options->label && strlen(options->label) > EXT2_LABEL_LEN)
                return err_set(err, EINVAL, "ext4.create", "the label '%s' is longer than %d bytes",
                               options->label, EXT2_LABEL_LEN);
        return 0;
}

static int format(struct ext4_fs *fs, const struct ext4_options *options, struct err *err)
{
        struct ext2_super_block super = geometry(options->size);
        /* libext2fs wants a name; through the descriptor it cannot be another file, nor hold a '?' that it parses */
        scoped_free char *name = xasprintf("/proc/self/fd/%d", fs->fd);
        errcode_t code;

        if (ftruncate(fs->fd, (off_t) options->size) < 0)
                return err_errno(err, "ext4.create", "size '%s'", fs->path);
        code = ext2fs_initialize(name, EXT2_FLAG_64BITS, &super, unix_io_manager, &fs->ext2);
        if (code)
                return ext4_fs_error(err, code, "create '%s'", fs->path);
        name_it(fs, options);
        code = lay_out(fs);
        if (code)
                return ext4_fs_error(err, code, "lay out '%s'", fs->path);
        fs->next_inode = EXT2_FIRST_INODE(fs->ext2->super);
        fs->next_block = fs->ext2->super->s_first_data_block;
        return 0;
}

int ext4_fs_create(const char *path, const struct ext4_options *options, struct ext4_fs *ret_fs,
                   struct err *err)
{
        int r = check_options(options, err);

        if (r < 0)
                return r;
        *ret_fs = (struct ext4_fs){ .time = options->time ? options->time : clock_real_ns() / NS_PER_S };
        ret_fs->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (ret_fs->fd < 0)
                return err_errno(err, "ext4.create", "create '%s'", path);
        ret_fs->path = xstrdup(path);
        r = format(ret_fs, options, err);
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

int ext4_fs_close(struct ext4_fs *fs, struct err *err)
{
        errcode_t code = 0;
        int r;

        for (size_t i = 0; i < fs->n_dead && !code; i++)
                code = bury(fs, fs->dead[i]);
        if (!code)
                code = ext2fs_close2(fs->ext2, EXT2_FLAG_FLUSH_NO_SYNC); /* whoever publishes it syncs it */
        if (!code) {
                fs->ext2 = NULL;
                release(fs);
                return 0;
        }
        r = ext4_fs_error(err, code, "finish '%s'", fs->path);
        ext4_fs_abort(fs);
        return r;
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
        return 0;
}
