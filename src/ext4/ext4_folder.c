#include "ext4/ext4_folder.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/scoped.h"
#include "base/text.h"

#define HEADER_BYTES 8U /* inode, rec_len, name_len, file_type */
#define BLOCK_END    (EXT4_BLOCK_SIZE - (unsigned) sizeof(struct ext2_dir_entry_tail))
#define LINKS_MAX    65000U /* beyond: 1, feature dir_nlink, linux fs/ext4/namei.c ext4_inc_count() */
#define DOT_BYTES    12U    /* of ".", and of ".." */
#define INFO_BYTES   8U     /* struct dx_root_info, linux fs/ext4/namei.c, as all of the hash tree below */
#define TAIL_BYTES   8U     /* struct dx_tail */
#define ROOT_ENTRIES (2 * DOT_BYTES + INFO_BYTES) /* where they begin */
#define ROOT_MAX     ((EXT4_BLOCK_SIZE - ROOT_ENTRIES - TAIL_BYTES) / (unsigned) sizeof(struct ext2_dx_entry))
#define NODE_MAX     ((EXT4_BLOCK_SIZE - HEADER_BYTES - TAIL_BYTES) / (unsigned) sizeof(struct ext2_dx_entry))

static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "folder blocks are written as they lie in memory");

struct folder {
        struct ext4_fs *fs;
        struct ext4_map *map;
        ext2_ino_t number;
        char *block; /* borrowed, of the stream; libext2fs reads it as structures. NULL: none begun */
        uint32_t n_blocks;
        unsigned used, last; /* in block: bytes, and where the newest entry begins */
};

struct hashed {
        uint32_t hash;
        uint32_t node;
};

/* A leaf of the hash tree: from which hash on, and how many names. */
struct leaf {
        uint32_t hash;
        uint32_t n_names;
};

static unsigned bytes_of(unsigned n_name)
{
        return (HEADER_BYTES + n_name + 3U) & ~3U;
}

static int begin(struct folder *folder, struct err *err)
{
        int r = ext4_map_block(folder->map, folder->fs, &folder->block, err);

        folder->used = folder->last = 0;
        folder->n_blocks += r == 0;
        return r;
}

static int set_checksum(struct folder *folder, struct err *err)
{
        errcode_t code = ext2fs_dir_block_csum_set(folder->fs->ext2, folder->number,
                                                   (struct ext2_dir_entry *) folder->block);

        folder->block = NULL;
        return code ? ext4_fs_error(err, code, "write a folder of '%s'", folder->fs->path) : 0;
}

/* The newest entry takes the rest of the block. */
static int end(struct folder *folder, struct err *err)
{
        ext2_filsys ext2 = folder->fs->ext2;

        if (!folder->block)
                return 0;
        (void) ext2fs_set_rec_len(ext2, BLOCK_END - folder->last,
                                  (struct ext2_dir_entry *) (folder->block + folder->last));
        ext2fs_initialize_dirent_tail(ext2, EXT2_DIRENT_TAIL(folder->block, EXT4_BLOCK_SIZE));
        return set_checksum(folder, err);
}

static void put(struct folder *folder, const char *name, uint8_t n, ext2_ino_t inode, int file_type)
{
        struct ext2_dir_entry *entry = (struct ext2_dir_entry *) (folder->block + folder->used);

        entry->inode = inode;
        (void) ext2fs_set_rec_len(folder->fs->ext2, bytes_of(n), entry);
        ext2fs_dirent_set_name_len(entry, n);
        ext2fs_dirent_set_file_type(entry, file_type);
        memcpy(entry->name, name, n);
        folder->last = folder->used;
        folder->used += bytes_of(n);
}

static void put_child(struct folder *folder, const struct ext4_names *names, uint32_t node)
{
        const struct ext4_name *child = ext4_names_at(names, node);

        put(folder, ext4_names_bytes(names, node), child->n_bytes, child->inode, child->file_type);
}

/* Everything in one block, and empty ones after it. */
static int write_linear(struct folder *folder, const struct ext4_names *names, uint32_t node,
                        uint32_t min_blocks, struct err *err)
{
        const struct ext4_name *self = ext4_names_at(names, node);
        int r = begin(folder, err);

        if (r < 0)
                return r;
        put(folder, ".", 1, self->inode, EXT2_FT_DIR);
        put(folder, "..", 2, ext4_names_at(names, self->parent)->inode, EXT2_FT_DIR);
        for (uint32_t i = ext4_names_more(names, node)->first_child; i != 0;
             i = ext4_names_at(names, i)->next_sibling)
                if (ext4_names_at(names, i)->type != EXT4_NAME_NONE)
                        put_child(folder, names, i);
        r = end(folder, err);
        while (r == 0 && folder->n_blocks < min_blocks) {
                r = begin(folder, err);
                if (r == 0)
                        r = end(folder, err);
        }
        return r;
}

static int compare(const void *a, const void *b)
{
        const struct hashed *left = a, *right = b;

        if (left->hash != right->hash)
                return left->hash < right->hash ? -1 : 1;
        return left->node < right->node ? -1 : left->node > right->node;
}

/* The children in the order of the hash tree. */
static int sort_children(struct folder *folder, const struct ext4_names *names, uint32_t node, uint32_t n,
                         struct hashed *ret_children, struct err *err)
{
        const struct ext2_super_block *super = folder->fs->ext2->super;
        size_t used = 0;

        for (uint32_t i = ext4_names_more(names, node)->first_child; i != 0;
             i = ext4_names_at(names, i)->next_sibling) {
                const struct ext4_name *child = ext4_names_at(names, i);
                struct hashed *hashed = &ret_children[used];
                errcode_t code;
                uint32_t minor;

                if (child->type == EXT4_NAME_NONE)
                        continue;
                assert(used < n);
                hashed->node = i;
                /* unsigned, as ext4_format() says in the superblock's flags */
                code = ext2fs_dirhash2(EXT2_HASH_HALF_MD4_UNSIGNED, ext4_names_bytes(names, i),
                                       child->n_bytes, NULL, 0, super->s_hash_seed, &hashed->hash, &minor);
                if (code)
                        return ext4_fs_error(err, code, "hash a name of '%s'", folder->fs->path);
                used++;
        }
        qsort(ret_children, used, sizeof(*ret_children), compare);
        return 0;
}

/* The number of leaves. One whose first hash is also the last of the leaf before has the lowest bit set. */
static uint32_t plan_leaves(const struct ext4_names *names, const struct hashed *children, uint32_t n,
                            struct leaf *ret_leaves)
{
        uint32_t n_leaves = 0;
        unsigned used = BLOCK_END;

        for (uint32_t i = 0; i < n; i++) {
                unsigned need = bytes_of(ext4_names_at(names, children[i].node)->n_bytes);

                if (used + need > BLOCK_END) {
                        bool goes_on = i > 0 && children[i].hash == children[i - 1].hash;

                        ret_leaves[n_leaves++] = (struct leaf){ .hash = children[i].hash | goes_on };
                        used = 0;
                }
                used += need;
                ret_leaves[n_leaves - 1].n_names++;
        }
        return n_leaves;
}

/* Entries of one index block: the first hash stands for everything below the second and is not stored. */
static void put_index(char *at, unsigned max, uint32_t first_block, const struct leaf *leaves, uint32_t n,
                      uint32_t step)
{
        struct ext2_dx_countlimit limit = { .limit = (uint16_t) max, .count = (uint16_t) n };

        for (uint32_t i = 0; i < n; i++) {
                struct ext2_dx_entry entry = { .hash = leaves[(size_t) i * step].hash,
                                               .block = first_block + i };

                memcpy(at + i * sizeof(entry), &entry, sizeof(entry));
        }
        memcpy(at, &limit, sizeof(limit));
}

static int write_root(struct folder *folder, const struct ext4_names *names, uint32_t node,
                      const struct leaf *leaves, uint32_t n_leaves, struct err *err)
{
        const struct ext4_name *self = ext4_names_at(names, node);
        uint32_t n_nodes = n_leaves > ROOT_MAX ? (n_leaves + NODE_MAX - 1) / NODE_MAX : 0;
        struct ext2_dx_root_info info = { .hash_version = EXT2_HASH_HALF_MD4,
                                          .info_length = INFO_BYTES,
                                          .indirect_levels = n_nodes > 0 };
        int r = begin(folder, err);

        if (r < 0)
                return r;
        put(folder, ".", 1, self->inode, EXT2_FT_DIR);
        put(folder, "..", 2, ext4_names_at(names, self->parent)->inode, EXT2_FT_DIR);
        (void) ext2fs_set_rec_len(folder->fs->ext2, EXT4_BLOCK_SIZE - DOT_BYTES,
                                  (struct ext2_dir_entry *) (folder->block + folder->last));
        memcpy(folder->block + folder->used, &info, sizeof(info));
        put_index(folder->block + ROOT_ENTRIES, ROOT_MAX, 1, leaves, n_nodes > 0 ? n_nodes : n_leaves,
                  n_nodes > 0 ? NODE_MAX : 1);
        r = set_checksum(folder, err);
        for (uint32_t i = 0; i < n_nodes && r == 0; i++) {
                uint32_t done = i * NODE_MAX, left = n_leaves - done;

                r = begin(folder, err);
                if (r < 0)
                        return r;
                (void) ext2fs_set_rec_len(folder->fs->ext2, EXT4_BLOCK_SIZE,
                                          (struct ext2_dir_entry *) folder->block);
                put_index(folder->block + HEADER_BYTES, NODE_MAX, 1 + n_nodes + done, leaves + done,
                          left < NODE_MAX ? left : NODE_MAX, 1);
                r = set_checksum(folder, err);
        }
        return r;
}

static int write_tree(struct folder *folder, const struct ext4_names *names, uint32_t node, uint32_t n,
                      struct err *err)
{
        scoped_free struct hashed *children = xcalloc(n, sizeof(*children));
        scoped_free struct leaf *leaves = xcalloc(n, sizeof(*leaves));
        uint32_t n_leaves, at = 0;
        int r = sort_children(folder, names, node, n, children, err);

        if (r < 0)
                return r;
        n_leaves = plan_leaves(names, children, n, leaves);
        if (n_leaves > ROOT_MAX * NODE_MAX)
                return err_set(err, EFBIG, "ext4.write", "a folder of %u names is larger than ext4 allows",
                               n);
        r = write_root(folder, names, node, leaves, n_leaves, err);
        for (uint32_t i = 0; i < n_leaves && r == 0; i++) {
                r = begin(folder, err);
                for (uint32_t k = 0; r == 0 && k < leaves[i].n_names; k++)
                        put_child(folder, names, children[at++].node);
                if (r == 0)
                        r = end(folder, err);
        }
        return r;
}

static int finish_inode(struct folder *folder, uint32_t n_links, bool is_tree, struct err *err)
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
        inode.i_flags |= is_tree ? EXT2_INDEX_FL : 0;
        return ext4_map_store(folder->map, folder->fs, folder->number, &inode, err);
}

int ext4_folder_write(struct ext4_fs *fs, struct ext4_names *names, uint32_t node, uint32_t min_blocks,
                      struct ext4_map *map, struct err *err)
{
        struct folder folder = { .fs = fs, .map = map, .number = ext4_names_at(names, node)->inode };
        uint32_t n_links = 2, n = 0;
        uint64_t bytes = UINT64_C(2) * DOT_BYTES;
        bool is_tree;
        int r;

        for (uint32_t i = ext4_names_more(names, node)->first_child; i != 0;
             i = ext4_names_at(names, i)->next_sibling) {
                const struct ext4_name *child = ext4_names_at(names, i);

                n_links += child->type == EXT4_NAME_FOLDER;
                n += child->type != EXT4_NAME_NONE;
                bytes += child->type != EXT4_NAME_NONE ? bytes_of(child->n_bytes) : 0;
        }
        ext4_map_reset(map);
        is_tree = bytes > BLOCK_END;
        r = is_tree ? write_tree(&folder, names, node, n, err)
                    : write_linear(&folder, names, node, min_blocks, err);
        return r < 0 ? r : finish_inode(&folder, n_links, is_tree, err);
}
