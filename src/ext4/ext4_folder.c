#include "ext4/ext4_folder.h"

#include <errno.h>
#include <string.h>

#define HEADER_BYTES 8U /* inode, rec_len, name_len, file_type */
#define BLOCK_END    (EXT4_BLOCK_SIZE - (unsigned) sizeof(struct ext2_dir_entry_tail))
#define LINKS_MAX    65000U /* beyond: 1, feature dir_nlink, linux fs/ext4/namei.c ext4_inc_count() */

struct folder {
        struct ext4_fs *fs;
        struct ext4_map *map;
        ext2_ino_t number;
        uint32_t n_blocks;
        unsigned used, last; /* in block: bytes, and where the newest entry begins */
        /* libext2fs reads it as structures */
        _Alignas(struct ext2_dir_entry) char block[EXT4_BLOCK_SIZE];
};

/* The newest entry takes the rest of the block; the block goes to the image. */
static int flush(struct folder *folder, struct err *err)
{
        ext2_filsys ext2 = folder->fs->ext2;
        struct ext2_dir_entry *newest = (struct ext2_dir_entry *) (folder->block + folder->last);
        errcode_t code;
        int r = ext4_map_reserve(folder->map, folder->fs, folder->n_blocks, 1, err);

        if (r < 0)
                return r;
        (void) ext2fs_set_rec_len(ext2, BLOCK_END - folder->last, newest);
        ext2fs_initialize_dirent_tail(ext2, EXT2_DIRENT_TAIL(folder->block, EXT4_BLOCK_SIZE));
        code = ext2fs_write_dir_block4(ext2, ext4_map_find(folder->map, folder->n_blocks), folder->block, 0,
                                       folder->number);
        if (code)
                return ext4_fs_error(err, code, "write a folder of '%s'", folder->fs->path);
        folder->n_blocks++;
        memset(folder->block, 0, sizeof(folder->block));
        folder->used = folder->last = 0;
        return 0;
}

static int append(struct folder *folder, const char *name, uint8_t n, ext2_ino_t inode, int file_type,
                  struct err *err)
{
        unsigned need = (HEADER_BYTES + n + 3U) & ~3U;
        struct ext2_dir_entry *entry;

        if (folder->used + need > BLOCK_END) {
                int r = flush(folder, err);

                if (r < 0)
                        return r;
        }
        entry = (struct ext2_dir_entry *) (folder->block + folder->used);
        entry->inode = inode;
        (void) ext2fs_set_rec_len(folder->fs->ext2, need, entry);
        ext2fs_dirent_set_name_len(entry, n);
        ext2fs_dirent_set_file_type(entry, file_type);
        memcpy(entry->name, name, n);
        folder->last = folder->used;
        folder->used += need;
        return 0;
}

static int finish_inode(struct folder *folder, uint32_t n_links, struct err *err)
{
        ext2_filsys ext2 = folder->fs->ext2;
        struct ext2_inode_large inode;
        errcode_t code =
                ext2fs_read_inode_full(ext2, folder->number, (struct ext2_inode *) &inode, sizeof(inode));

        if (!code)
                code = ext2fs_inode_size_set(ext2, (struct ext2_inode *) &inode,
                                             (ext2_off64_t) folder->n_blocks * EXT4_BLOCK_SIZE);
        if (code)
                return ext4_fs_error(err, code, "write a folder of '%s'", folder->fs->path);
        inode.i_links_count = (uint16_t) (n_links > LINKS_MAX ? 1 : n_links);
        return ext4_map_store(folder->map, folder->fs, folder->number, &inode, err);
}

int ext4_folder_write(struct ext4_fs *fs, struct ext4_names *names, uint32_t node, uint32_t min_blocks,
                      struct ext4_map *map, struct err *err)
{
        const struct ext4_name *self = ext4_names_at(names, node);
        struct folder folder = { .fs = fs, .map = map, .number = self->inode };
        uint32_t n_links = 2;
        int r;

        ext4_map_reset(map);
        r = append(&folder, ".", 1, self->inode, EXT2_FT_DIR, err);
        if (r == 0)
                r = append(&folder, "..", 2, ext4_names_at(names, self->parent)->inode, EXT2_FT_DIR, err);
        for (uint32_t i = self->first_child; i != 0 && r == 0; i = ext4_names_at(names, i)->next_sibling) {
                const struct ext4_name *child = ext4_names_at(names, i);

                if (child->type == EXT4_NAME_NONE)
                        continue;
                n_links += child->type == EXT4_NAME_FOLDER;
                r = append(&folder, child->bytes, child->n_bytes, child->inode, child->file_type, err);
        }
        while (r == 0 && (folder.used > 0 || folder.n_blocks < min_blocks))
                r = flush(&folder, err);
        return r < 0 ? r : finish_inode(&folder, n_links, err);
}
