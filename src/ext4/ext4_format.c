#include "ext4/ext4_format.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

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
/* What follows its content begins so large, sparse, and ends with whole groups of 128 MiB. */
#define FOLLOWING_MAX   (192 * GIB)
#define FOLLOWING_FLOOR GIB

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

static errcode_t add_resize_inode_and_journal(ext2_filsys ext2)
{
        int journal_blocks = ext2fs_default_journal_size(ext2fs_blocks_count(ext2->super));
        errcode_t code = ext2fs_create_resize_inode(ext2);

        if (!code && journal_blocks > 0)
                code = ext2fs_add_journal_inode2(ext2, (blk_t) journal_blocks, 0,
                                                 EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK);
        return code;
}

static errcode_t lay_out(struct ext4_fs *fs)
{
        ext2_filsys ext2 = fs->ext2;
        errcode_t code = ext2fs_allocate_tables(ext2);

        if (code)
                return code;
        for (dgrp_t group = 0; group < ext2->group_desc_count; group++) {
                /* the file is sparse: the tables are zero without being written */
                ext2fs_bg_flags_set(ext2, group, EXT2_BG_INODE_ZEROED);
                ext2fs_group_desc_csum_set(ext2, group);
        }
        code = take_reserved_inodes(ext2);
        return code || fs->follows_content ? code : add_resize_inode_and_journal(ext2);
}

int ext4_format_check(const struct ext4_options *options, struct err *err)
{
        char text[SIZE_TEXT_MAX];

        size_human(options->size, text);
        if (options->size != 0 && (options->size < SIZE_MIN || options->size > SIZE_MAX_EXT4))
                return err_set(err, EINVAL, "ext4.create",
                               "a file system of %s: between 8 MiB and 16 TiB are possible", text);
        if (options->label && strlen(options->label) > EXT2_LABEL_LEN)
                return err_set(err, EINVAL, "ext4.create", "the label '%s' is longer than %d bytes",
                               options->label, EXT2_LABEL_LEN);
        return 0;
}

int ext4_format(struct ext4_fs *fs, const struct ext4_options *options, struct err *err)
{
        uint64_t size = options->size ? options->size : FOLLOWING_MAX;
        struct ext2_super_block super = geometry(size);
        /* libext2fs wants a name; through the descriptor it cannot be another file, nor hold a '?' that it parses */
        scoped_free char *name = xasprintf("/proc/self/fd/%d", fs->fd);
        errcode_t code;

        fs->follows_content = options->size == 0;
        if (ftruncate(fs->fd, (off_t) size) < 0)
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

/* The bitmaps and inode table of a group that goes may lie in one that stays, with the rest of its flex group. */
static void free_tables(ext2_filsys ext2, dgrp_t group, blk64_t end)
{
        blk64_t table = ext2fs_inode_table_loc(ext2, group);

        if (ext2fs_block_bitmap_loc(ext2, group) < end)
                ext2fs_block_alloc_stats_range(ext2, ext2fs_block_bitmap_loc(ext2, group), 1, -1);
        if (ext2fs_inode_bitmap_loc(ext2, group) < end)
                ext2fs_block_alloc_stats_range(ext2, ext2fs_inode_bitmap_loc(ext2, group), 1, -1);
        if (table < end)
                ext2fs_block_alloc_stats_range(ext2, table, ext2->inode_blocks_per_group, -1);
}

/* Leaves n_groups, in the order in which resize2fs(8) does it. */
static errcode_t cut(ext2_filsys ext2, dgrp_t n_groups)
{
        struct ext2_super_block *super = ext2->super;
        blk64_t end = (blk64_t) n_groups * super->s_blocks_per_group, n_free_blocks = 0;
        unsigned long n_descriptor_blocks = ext2->desc_blocks;
        uint32_t n_free_inodes = 0;
        errcode_t code;

        for (dgrp_t group = n_groups; group < ext2->group_desc_count; group++)
                free_tables(ext2, group, end);
        for (dgrp_t group = 0; group < n_groups; group++) {
                n_free_blocks += ext2fs_bg_free_blocks_count(ext2, group);
                n_free_inodes += ext2fs_bg_free_inodes_count(ext2, group);
        }
        ext2->group_desc_count = n_groups;
        ext2->desc_blocks = ext2fs_div_ceil(n_groups, (unsigned) EXT2_DESC_PER_BLOCK(super));
        /* what held descriptors is room for them to grow */
        super->s_reserved_gdt_blocks =
                (uint16_t) (super->s_reserved_gdt_blocks + n_descriptor_blocks - ext2->desc_blocks);
        ext2fs_blocks_count_set(super, end);
        super->s_inodes_count = n_groups * super->s_inodes_per_group;
        ext2fs_free_blocks_count_set(super, n_free_blocks);
        super->s_free_inodes_count = n_free_inodes;
        code = ext2fs_resize_inode_bitmap2(super->s_inodes_count, super->s_inodes_count, ext2->inode_map);
        return code ? code : ext2fs_resize_block_bitmap2(end - 1, end - 1, ext2->block_map);
}

/* One and a half times what is used, the floor at least, and never less than what is taken lies in. */
static dgrp_t count_groups(const struct ext4_fs *fs)
{
        const struct ext2_super_block *super = fs->ext2->super;
        uint64_t wanted = fs->n_blocks + fs->n_blocks / 2, n;

        if (wanted < FOLLOWING_FLOOR / EXT4_BLOCK_SIZE)
                wanted = FOLLOWING_FLOOR / EXT4_BLOCK_SIZE;
        if (wanted < fs->next_block + fs->next_block / 16) /* the journal comes on top */
                wanted = fs->next_block + fs->next_block / 16;
        n = ext2fs_div64_ceil(wanted, super->s_blocks_per_group);
        if (n < ext2fs_div_ceil(fs->next_inode, super->s_inodes_per_group))
                n = ext2fs_div_ceil(fs->next_inode, super->s_inodes_per_group);
        return n < fs->ext2->group_desc_count ? (dgrp_t) n : fs->ext2->group_desc_count;
}

int ext4_format_finish(struct ext4_fs *fs, struct err *err)
{
        ext2_filsys ext2 = fs->ext2;
        errcode_t code;

        if (!fs->follows_content)
                return 0;
        code = cut(ext2, count_groups(fs));
        if (!code)
                code = add_resize_inode_and_journal(ext2);
        if (code)
                return ext4_fs_error(err, code, "cut '%s' to its content", fs->path);
        if (ftruncate(fs->fd, (off_t) (ext2fs_blocks_count(ext2->super) * EXT4_BLOCK_SIZE)) < 0)
                return err_errno(err, "ext4.create", "size '%s'", fs->path);
        return 0;
}
