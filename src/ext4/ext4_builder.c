#include "ext4/ext4_builder.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scoped.h"
#include "base/text.h"
#include "ext4/ext4_folder.h"
#include "ext4/ext4_inode.h"
#include "ext4/ext4_map.h"
#include "ext4/ext4_names.h"

#define FAST_SYMLINK_MAX \
        59U /* bytes: i_block less a NUL, linux fs/ext4/inode.c ext4_inode_is_fast_symlink() */
#define TARGET_MAX        4095U  /* PATH_MAX less the NUL */
#define LINKS_MAX         65000U /* EXT4_LINK_MAX, linux fs/ext4/ext4.h */
#define LOST_FOUND        "lost+found"
#define LOST_FOUND_BLOCKS 4U /* mke2fs makes it 16 KiB: e2fsck must not have to allocate there */

struct ext4_builder {
        struct ext4_fs fs;
        struct ext4_names names;
        struct ext4_map map;
        uint32_t lost_found; /* node */
        /* The regular file that is being written; number 0: none. */
        ext2_ino_t open_number;
        struct ext2_inode_large open_inode;
        struct ext4_entry open_entry; /* borrows the caller's strings until the end of the data */
        bool is_done;                 /* fs is closed */
};

static int refuse(const char *path, const char *why, struct err *err)
{
        return err_set(err, EBADMSG, "ext4.entry", "'%.300s' %s", path, why);
}

/* Writes a new inode and makes it the node's. data: the map holds its blocks. */
static int store(struct ext4_builder *builder, ext2_ino_t number, struct ext2_inode_large *inode,
                 const struct ext4_entry *entry, bool has_map, struct err *err)
{
        errcode_t code = 0;
        int r = 0;

        if (has_map)
                r = ext4_map_store(&builder->map, &builder->fs, number, inode, err);
        else
                code = ext2fs_write_inode_full(builder->fs.ext2, number, (struct ext2_inode *) inode,
                                               sizeof(*inode));
        if (code)
                r = ext4_fs_error(err, code, "write '%.300s'", entry->path);
        return r < 0 ? r
                     : ext4_inode_store_xattrs(&builder->fs, number, entry->xattrs, entry->n_xattrs,
                                               entry->path, err);
}

/* The root's number is fixed: described again it keeps its attribute block, and new attributes join the old ones. */
static int keep_attributes(struct ext4_builder *builder, struct ext2_inode_large *inode, struct err *err)
{
        struct ext2_inode old; /* its blocks are those of attributes: a folder's own come at the end */
        errcode_t code = ext2fs_read_inode(builder->fs.ext2, EXT2_ROOT_INO, &old);

        if (code)
                return ext4_fs_error(err, code, "read the root of '%s'", builder->fs.path);
        ext2fs_file_acl_block_set(builder->fs.ext2, (struct ext2_inode *) inode,
                                  ext2fs_file_acl_block(builder->fs.ext2, &old));
        inode->i_blocks = old.i_blocks;
        return 0;
}

static int make_folder(struct ext4_builder *builder, uint32_t node, const struct ext4_entry *entry,
                       struct err *err)
{
        struct ext2_inode_large inode;
        ext2_ino_t number = EXT2_ROOT_INO;
        struct ext4_name *name;
        int r;

        if (node != EXT4_ROOT) {
                r = ext4_fs_take_inode(&builder->fs, true, &number, err);
                if (r < 0)
                        return r;
        }
        ext4_inode_fill(&inode, entry);
        if (node == EXT4_ROOT) {
                r = keep_attributes(builder, &inode, err);
                if (r < 0)
                        return r;
        }
        ext4_map_reset(&builder->map); /* the blocks follow in ext4_builder_finish() */
        r = store(builder, number, &inode, entry, true, err);
        if (r < 0)
                return r;
        name = ext4_names_at(&builder->names, node);
        name->type = EXT4_NAME_FOLDER;
        name->file_type = EXT2_FT_DIR;
        name->inode = number;
        return 0;
}

/* A folder that the archive only implies. */
static int make_ancestor(struct ext4_builder *builder, uint32_t node, struct err *err)
{
        struct timespec time = { .tv_sec = (time_t) builder->fs.time };
        const struct ext4_entry entry = { .path = ext4_names_at(&builder->names, node)->bytes,
                                          .mode = S_IFDIR | 0755,
                                          .atime = time,
                                          .mtime = time,
                                          .ctime = time };

        return make_folder(builder, node, &entry, err);
}

/* node is about to be walked through. */
static int enter(struct ext4_builder *builder, uint32_t node, bool make, const char *path, struct err *err)
{
        switch ((enum ext4_name_type) ext4_names_at(&builder->names, node)->type) {
        case EXT4_NAME_FOLDER:
                return 0;
        case EXT4_NAME_NONE:
                return make ? make_ancestor(builder, node, err) : 0;
        case EXT4_NAME_SYMLINK:
                return refuse(path, "leads through a symbolic link", err);
        case EXT4_NAME_FILE:
        case EXT4_NAME_PENDING:
        default:
                return refuse(path, "leads through something that is no folder", err);
        }
}

/* The node of a path. make: missing ancestors become folders; else they stay what they are not (yet). */
static int find_node(struct ext4_builder *builder, const char *path, bool make, uint32_t *ret_node,
                     struct err *err)
{
        const char *at = path;
        uint32_t node = EXT4_ROOT;

        for (;;) {
                size_t n;
                int r;

                at += strspn(at, "/");
                n = strcspn(at, "/");
                if (n == 0)
                        break;
                if (n == 2 && at[0] == '.' && at[1] == '.')
                        return refuse(path, "contains '..'", err);
                if (n > EXT4_NAME_LENGTH_MAX)
                        return refuse(path, "contains a name longer than 255 bytes", err);
                if (n == 1 && at[0] == '.') {
                        at += n;
                        continue;
                }
                r = enter(builder, node, make, path, err);
                if (r == 0)
                        r = ext4_names_get(&builder->names, node, at, n, &node, err);
                if (r < 0)
                        return r;
                at += n;
        }
        *ret_node = node;
        return 0;
}

/* Gives back what a node stands for; its name stays in the tree. */
static int drop(struct ext4_builder *builder, uint32_t node, struct err *err)
{
        struct ext4_name *name = ext4_names_at(&builder->names, node);
        enum ext4_name_type type = name->type;

        name->type = EXT4_NAME_NONE;
        if (type == EXT4_NAME_NONE || type == EXT4_NAME_PENDING || node == EXT4_ROOT)
                return 0;
        return ext4_fs_drop_link(&builder->fs, name->inode, type == EXT4_NAME_FOLDER, err);
}

/* Makes room at a node for an entry; what was below it goes unless a folder follows a folder. */
static int replace(struct ext4_builder *builder, uint32_t node, bool by_folder, struct err *err)
{
        bool was_folder = ext4_names_at(&builder->names, node)->type == EXT4_NAME_FOLDER;

        if (was_folder && !by_folder)
                for (uint32_t i = ext4_names_detach(&builder->names, node, node); i != 0;
                     i = ext4_names_detach(&builder->names, node, i)) {
                        int r = drop(builder, i, err);

                        if (r < 0)
                                return r;
                }
        return drop(builder, node, err);
}

static int link_node(struct ext4_builder *builder, uint32_t node, uint32_t target, struct err *err)
{
        struct ext4_name *name = ext4_names_at(&builder->names, node);
        const struct ext4_name *other = ext4_names_at(&builder->names, target);
        ext2_filsys ext2 = builder->fs.ext2;
        struct ext2_inode inode;
        errcode_t code = ext2fs_read_inode(ext2, other->inode, &inode);

        if (!code && inode.i_links_count >= LINKS_MAX)
                return err_set(err, EMLINK, "ext4.entry", "'%s' has more than %u hard links", other->bytes,
                               LINKS_MAX);
        inode.i_links_count++;
        if (!code)
                code = ext2fs_write_inode(ext2, other->inode, &inode);
        if (code)
                return ext4_fs_error(err, code, "link '%s'", name->bytes);
        name->type = other->type;
        name->file_type = other->file_type;
        name->inode = other->inode;
        return 0;
}

static int add_link(struct ext4_builder *builder, uint32_t node, const struct ext4_entry *entry,
                    struct err *err)
{
        uint32_t target;
        struct ext4_name *name;
        int r = find_node(builder, entry->link_to, false, &target, err);

        if (r < 0)
                return err_wrap(err, "hard link '%.200s'", entry->path);
        if (target == node)
                return 0;
        if (node == EXT4_ROOT)
                return refuse(entry->path, "would replace the root", err);
        r = replace(builder, node, false, err);
        if (r < 0)
                return r;
        switch ((enum ext4_name_type) ext4_names_at(&builder->names, target)->type) {
        case EXT4_NAME_FOLDER:
                return refuse(entry->path, "is a hard link to a folder", err);
        case EXT4_NAME_FILE:
        case EXT4_NAME_SYMLINK:
                return link_node(builder, node, target, err);
        case EXT4_NAME_NONE:
        case EXT4_NAME_PENDING:
        default:
                name = ext4_names_at(&builder->names, node);
                name->type = EXT4_NAME_PENDING;
                name->inode = target;
                return 0;
        }
}

static int store_symlink(struct ext4_builder *builder, ext2_ino_t number, struct ext2_inode_large *inode,
                         const struct ext4_entry *entry, struct err *err)
{
        size_t n = entry->target ? strlen(entry->target) : 0;
        int r;

        if (n == 0 || n > TARGET_MAX)
                return refuse(entry->path, "is a symbolic link with an empty or too long target", err);
        inode->i_size = (uint32_t) n;
        if (n <= FAST_SYMLINK_MAX) {
                memcpy(inode->i_block, entry->target, n);
                return store(builder, number, inode, entry, false, err);
        }
        ext4_map_reset(&builder->map);
        r = ext4_map_write(&builder->map, &builder->fs, 0, entry->target, n, err);
        if (r == 0)
                r = ext4_map_flush(&builder->map, &builder->fs, err);
        return r < 0 ? r : store(builder, number, inode, entry, true, err);
}

/* Neither folder nor hard link. */
static int make_file(struct ext4_builder *builder, uint32_t node, const struct ext4_entry *entry,
                     struct err *err)
{
        struct ext4_name *name = ext4_names_at(&builder->names, node);
        struct ext2_inode_large inode;
        ext2_ino_t number;
        int r = ext4_fs_take_inode(&builder->fs, false, &number, err);

        if (r < 0)
                return r;
        ext4_inode_fill(&inode, entry);
        if (S_ISREG(entry->mode)) {
                ext4_map_reset(&builder->map);
                builder->open_number = number;
                builder->open_inode = inode;
                builder->open_entry = *entry;
        } else if (S_ISLNK(entry->mode)) {
                r = store_symlink(builder, number, &inode, entry, err);
        } else {
                r = store(builder, number, &inode, entry, false, err);
        }
        name->type = S_ISLNK(entry->mode) ? EXT4_NAME_SYMLINK : EXT4_NAME_FILE;
        name->file_type = (uint8_t) ext4_inode_file_type(entry->mode);
        name->inode = number;
        return r;
}

int ext4_builder_add(struct ext4_builder *builder, const struct ext4_entry *entry, bool *ret_wants_data,
                     struct err *err)
{
        bool is_folder = S_ISDIR(entry->mode);
        uint32_t node;
        int r = find_node(builder, entry->path, true, &node, err);

        *ret_wants_data = false;
        if (r < 0)
                return r;
        if (entry->link_to)
                return add_link(builder, node, entry, err);
        if (ext4_inode_file_type(entry->mode) < 0)
                return refuse(entry->path, "is of a type that ext4 has not", err);
        if (node == EXT4_ROOT && !is_folder)
                return refuse(entry->path, "would replace the root", err);
        r = replace(builder, node, is_folder, err);
        if (r < 0)
                return r;
        if (is_folder)
                return make_folder(builder, node, entry, err);
        *ret_wants_data = S_ISREG(entry->mode);
        return make_file(builder, node, entry, err);
}

int ext4_builder_data(struct ext4_builder *builder, uint64_t offset, const void *data, size_t n,
                      struct err *err)
{
        const struct ext4_entry *entry = &builder->open_entry;

        if (offset > entry->size || n > entry->size - offset)
                return refuse(entry->path, "has more data than its header says", err);
        return ext4_map_write(&builder->map, &builder->fs, offset, data, n, err);
}

int ext4_builder_end_data(struct ext4_builder *builder, struct err *err)
{
        const struct ext4_entry *entry = &builder->open_entry;
        ext2_ino_t number = builder->open_number;
        errcode_t code;
        int r = ext4_map_flush(&builder->map, &builder->fs, err);

        builder->open_number = 0;
        if (r < 0)
                return r;
        if (entry->size / EXT4_BLOCK_SIZE >= UINT32_MAX)
                return err_set(err, EFBIG, "ext4.write", "'%.300s' is larger than ext4 allows (16 TiB)",
                               entry->path);
        code = ext2fs_inode_size_set(builder->fs.ext2, (struct ext2_inode *) &builder->open_inode,
                                     (ext2_off64_t) entry->size);
        if (code)
                return ext4_fs_error(err, code, "size of '%.300s'", entry->path);
        return store(builder, number, &builder->open_inode, entry, true, err);
}

/* Follows a hard link to a hard link to ... and links all of them, so that every one is followed only once. */
static int resolve(struct ext4_builder *builder, uint32_t node, struct err *err)
{
        struct ext4_names *names = &builder->names;
        uint32_t target = node, n_steps = 0;

        while (ext4_names_at(names, target)->type == EXT4_NAME_PENDING && n_steps++ < names->n_nodes)
                target = ext4_names_at(names, target)->inode;
        if (ext4_names_at(names, target)->type != EXT4_NAME_FILE &&
            ext4_names_at(names, target)->type != EXT4_NAME_SYMLINK)
                return refuse(ext4_names_at(names, node)->bytes, "is a hard link to what the archive lacks",
                              err);
        while (node != target) {
                uint32_t next = ext4_names_at(names, node)->inode;
                int r = link_node(builder, node, target, err);

                if (r < 0)
                        return r;
                node = next;
        }
        return 0;
}

static int finish_names(struct ext4_builder *builder, struct err *err)
{
        struct ext4_names *names = &builder->names;
        int r = 0;

        for (uint32_t i = 1; i < names->n_nodes && r == 0; i++)
                if (ext4_names_at(names, i)->type == EXT4_NAME_PENDING)
                        r = resolve(builder, i, err);
        for (uint32_t i = 0; i < names->n_nodes && r == 0; i++)
                if (ext4_names_at(names, i)->type == EXT4_NAME_FOLDER)
                        r = ext4_folder_write(&builder->fs, names, i,
                                              i == builder->lost_found ? LOST_FOUND_BLOCKS : 1, &builder->map,
                                              err);
        return r;
}

int ext4_builder_finish(struct ext4_builder *builder, struct err *err)
{
        int r = finish_names(builder, err);

        if (r < 0)
                return r;
        builder->is_done = true; /* ext4_fs_close() cleans up after itself */
        return ext4_fs_close(&builder->fs, err);
}

/* The root and lost+found, which the archive may describe again. */
static int make_first_folders(struct ext4_builder *builder, struct err *err)
{
        struct timespec time = { .tv_sec = (time_t) builder->fs.time };
        struct ext4_entry entry = {
                .path = "/", .mode = S_IFDIR | 0755, .atime = time, .mtime = time, .ctime = time
        };
        int r = make_folder(builder, EXT4_ROOT, &entry, err);

        if (r == 0)
                r = ext4_names_get(&builder->names, EXT4_ROOT, LOST_FOUND, strlen(LOST_FOUND),
                                   &builder->lost_found, err);
        entry.path = LOST_FOUND;
        entry.mode = S_IFDIR | 0700;
        return r < 0 ? r : make_folder(builder, builder->lost_found, &entry, err);
}

int ext4_builder_new(const char *image_path, const struct ext4_options *options,
                     struct ext4_builder **ret_builder, struct err *err)
{
        struct ext4_builder *builder = xcalloc(1, sizeof(*builder));
        int r = ext4_fs_create(image_path, options, &builder->fs, err);

        if (r < 0) {
                free(builder);
                return r;
        }
        ext4_names_init(&builder->names);
        r = make_first_folders(builder, err);
        if (r < 0)
                ext4_builder_free(builder);
        else
                *ret_builder = builder;
        return r;
}

void ext4_builder_free(struct ext4_builder *builder)
{
        if (!builder)
                return;
        if (!builder->is_done)
                ext4_fs_abort(&builder->fs);
        ext4_map_done(&builder->map);
        ext4_names_done(&builder->names);
        free(builder);
}

int ext4_make_empty(const char *image_path, const struct ext4_options *options, struct err *err)
{
        struct ext4_builder *builder;
        int r = ext4_builder_new(image_path, options, &builder, err);

        if (r < 0)
                return r;
        r = ext4_builder_finish(builder, err);
        ext4_builder_free(builder);
        return r;
}
