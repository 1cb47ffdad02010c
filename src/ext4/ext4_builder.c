#include "ext4/ext4_builder.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scoped.h"
#include "base/text.h"
#include "ext4/ext4_build.h"
#include "ext4/ext4_folder.h"
#include "ext4/ext4_inode.h"

#define FAST_SYMLINK_MAX \
        59U /* bytes: i_block less a NUL, linux fs/ext4/inode.c ext4_inode_is_fast_symlink() */
#define TARGET_MAX        4095U /* PATH_MAX less the NUL */
#define LOST_FOUND        "lost+found"
#define LOST_FOUND_BLOCKS 4U         /* mke2fs makes it 16 KiB: e2fsck must not have to allocate there */
#define NOBODYS_LAYER     UINT16_MAX /* what is there before any layer, and cannot be replaced */

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

static int take_folder_inode(struct ext4_builder *builder, uint32_t node, struct ext2_inode_large *inode,
                             ext2_ino_t *ret_number, struct err *err)
{
        const struct ext4_name *name = ext4_names_at(&builder->names, node);
        int r;

        *ret_number = EXT2_ROOT_INO;
        if (node == EXT4_ROOT)
                return name->inode != 0 ? keep_attributes(builder, inode, err) : 0;
        r = name->inode != 0 ? ext4_fs_drop_link(&builder->fs, name->inode, true, err) : 0;
        return r < 0 ? r : ext4_fs_take_inode(&builder->fs, true, ret_number, err);
}

/* Owner, mode and the like of the folder at node, which becomes one. */
static int describe(struct ext4_builder *builder, uint32_t node, const struct ext4_entry *entry,
                    struct err *err)
{
        struct ext4_name_more *more = ext4_names_make_more(&builder->names, node);
        struct ext4_name *name = ext4_names_at(&builder->names, node);
        struct ext2_inode_large inode;
        ext2_ino_t number;
        int r;

        more->described_in = builder->layer;
        more->implied_by = 0;
        if (more->described_by > builder->layer)
                return 0;
        more->described_by = builder->layer;
        ext4_inode_fill(&inode, entry);
        r = take_folder_inode(builder, node, &inode, &number, err);
        if (r < 0)
                return r;
        ext4_map_reset(&builder->map); /* the blocks follow in ext4_builder_finish() */
        r = store(builder, number, &inode, entry, true, err);
        if (r < 0)
                return r;
        if (name->type != EXT4_NAME_FOLDER)
                name->layer = builder->layer;
        name->type = EXT4_NAME_FOLDER;
        name->file_type = EXT2_FT_DIR;
        name->inode = number;
        return 0;
}

/* A folder that nobody described. */
static int describe_implied(struct ext4_builder *builder, uint32_t node, mode_t mode, struct err *err)
{
        struct timespec time = { .tv_sec = (time_t) builder->fs.time };
        const struct ext4_entry entry = { .path = ext4_names_bytes(&builder->names, node),
                                          .mode = S_IFDIR | mode,
                                          .atime = time,
                                          .mtime = time,
                                          .ctime = time };

        return describe(builder, node, &entry, err);
}

int ext4_drop(struct ext4_builder *builder, uint32_t node, struct err *err)
{
        struct ext4_name *name = ext4_names_at(&builder->names, node);
        enum ext4_name_type type = name->type;
        uint32_t inode = name->inode;

        name->type = EXT4_NAME_NONE;
        name->inode = 0;
        if (type == EXT4_NAME_FOLDER) {
                struct ext4_name_more *more = ext4_names_make_more(&builder->names, node);

                more->described_by = more->described_in = more->implied_by = 0;
        }
        if (type == EXT4_NAME_NONE || type == EXT4_NAME_PENDING || inode == 0)
                return 0;
        return ext4_fs_drop_link(&builder->fs, inode, type == EXT4_NAME_FOLDER, err);
}

int ext4_replace(struct ext4_builder *builder, uint32_t node, bool by_folder, struct err *err)
{
        bool was_folder = ext4_names_at(&builder->names, node)->type == EXT4_NAME_FOLDER;

        if (was_folder && by_folder)
                return 0;
        if (was_folder)
                for (uint32_t i = ext4_names_detach(&builder->names, node, node); i != 0;
                     i = ext4_names_detach(&builder->names, node, i)) {
                        int r = ext4_drop(builder, i, err);

                        if (r == 0)
                                r = ext4_count_step(builder, err);
                        if (r < 0)
                                return r;
                }
        return ext4_drop(builder, node, err);
}

static int store_symlink(struct ext4_builder *builder, ext2_ino_t number, struct ext2_inode_large *inode,
                         const struct ext4_entry *entry, struct err *err)
{
        size_t n = entry->target ? strlen(entry->target) : 0;
        int r;

        if (n == 0 || n > TARGET_MAX)
                return ext4_refuse(entry->path, "is a symbolic link with an empty or too long target", err);
        inode->i_size = (uint32_t) n;
        if (n <= FAST_SYMLINK_MAX) {
                memcpy(inode->i_block, entry->target, n);
                return store(builder, number, inode, entry, false, err);
        }
        ext4_map_reset(&builder->map);
        r = ext4_map_write(&builder->map, &builder->fs, 0, entry->target, n, err);
        ext4_map_end(&builder->map);
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
        if (name->type != EXT4_NAME_PENDING) /* which is of its own layer */
                name->layer = builder->layer;
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

/* Makes room for what is no folder, unless an upper layer has a folder there: it replaces this, and all below. */
static int make_room(struct ext4_builder *builder, struct ext4_place *place, const struct ext4_entry *entry,
                     struct err *err)
{
        const struct ext4_name *name = ext4_names_at(&builder->names, place->node);
        const struct ext4_name_more *more = ext4_names_more(&builder->names, place->node);

        if (place->node == EXT4_ROOT)
                return ext4_refuse(entry->path, "would replace the root", err);
        if (more->implied_by > builder->layer)
                return err_set(err, EBADMSG, "ext4.entry",
                               "'%.255s' is %s, and layer %u writes or removes something through it",
                               entry->path,
                               S_ISLNK(entry->mode) && !entry->link_to ? "a symbolic link" : "no folder",
                               more->implied_by);
        if (name->type != EXT4_NAME_FOLDER || name->layer <= builder->layer)
                return ext4_replace(builder, place->node, false, err);
        ext4_names_make_more(&builder->names, place->node)->closed = (uint16_t) (builder->layer + 1);
        place->is_hidden = true;
        return 0;
}

static int add_file(struct ext4_builder *builder, const struct ext4_place *place,
                    const struct ext4_entry *entry, bool *ret_wants_data, struct err *err)
{
        uint32_t node = place->is_hidden ? ext4_wants_first(builder, place->node) : place->node;
        int r;

        if (node == EXT4_NO_NODE)
                return ext4_wants_note_unread(builder, place->hash, err);
        r = make_file(builder, node, entry, err);
        if (r == 0 && place->node != EXT4_NO_NODE)
                r = ext4_wants_serve(builder, place->node, node, err);
        *ret_wants_data = r == 0 && S_ISREG(entry->mode);
        return r;
}

static int add_folder(struct ext4_builder *builder, const struct ext4_place *place,
                      const struct ext4_entry *entry, struct err *err)
{
        int r;

        if (ext4_wants_first(builder, place->node) != EXT4_NO_NODE)
                return ext4_refuse(entry->path, "is a folder, and a hard link leads to it", err);
        if (place->is_hidden)
                return 0;
        r = ext4_replace(builder, place->node, true, err);
        return r < 0 ? r : describe(builder, place->node, entry, err);
}

static int add_link(struct ext4_builder *builder, struct ext4_place *place, const struct ext4_entry *entry,
                    struct err *err)
{
        struct ext4_place target;
        int r;

        if (place->is_hidden && ext4_wants_first(builder, place->node) == EXT4_NO_NODE)
                return ext4_wants_note_unread(builder, place->hash, err);
        r = ext4_place_find(builder, entry->link_to, EXT4_TO_LINK, &target, err);
        if (r < 0)
                return err_wrap(err, "hard link '%.200s'", entry->path);
        if (target.node == place->node) /* GNU tar writes this for a file that was named twice */
                return 0;
        if (!place->is_hidden)
                r = make_room(builder, place, entry, err);
        if (r < 0)
                return r;
        ext4_place_bar(builder, place->node, EXT4_BARRIER_FILE);
        return ext4_wants_add_link(builder, place, &target, entry, err);
}

int ext4_builder_add(struct ext4_builder *builder, const struct ext4_entry *entry, bool *ret_wants_data,
                     struct err *err)
{
        struct ext4_place place;
        int r = ext4_place_find(builder, entry->path, EXT4_TO_ADD, &place, err);

        *ret_wants_data = false;
        if (r < 0)
                return r;
        if (entry->link_to)
                return add_link(builder, &place, entry, err);
        if (ext4_inode_file_type(entry->mode) < 0)
                return ext4_refuse(entry->path, "is of a type that ext4 has not", err);
        if (S_ISDIR(entry->mode))
                return add_folder(builder, &place, entry, err);
        if (!place.is_hidden)
                r = make_room(builder, &place, entry, err);
        if (r < 0)
                return r;
        ext4_place_bar(builder, place.node, S_ISLNK(entry->mode) ? EXT4_BARRIER_SYMLINK : EXT4_BARRIER_FILE);
        return add_file(builder, &place, entry, ret_wants_data, err);
}

int ext4_builder_end_layer(struct ext4_builder *builder, struct err *err)
{
        int r = ext4_wants_end_layer(builder, err);

        if (r == 0 && builder->again == 0)
                builder->layer--;
        return r;
}

int ext4_builder_data(struct ext4_builder *builder, uint64_t offset, const void *data, size_t n,
                      struct err *err)
{
        const struct ext4_entry *entry = &builder->open_entry;

        if (offset > entry->size || n > entry->size - offset)
                return ext4_refuse(entry->path, "has more data than its header says", err);
        return ext4_map_write(&builder->map, &builder->fs, offset, data, n, err);
}

int ext4_builder_end_data(struct ext4_builder *builder, struct err *err)
{
        const struct ext4_entry *entry = &builder->open_entry;
        ext2_ino_t number = builder->open_number;
        errcode_t code;

        ext4_map_end(&builder->map);
        builder->open_number = 0;
        builder->content_bytes += entry->size;
        if (entry->size / EXT4_BLOCK_SIZE >= UINT32_MAX)
                return err_set(err, EFBIG, "ext4.write", "'%.300s' is larger than ext4 allows (16 TiB)",
                               entry->path);
        code = ext2fs_inode_size_set(builder->fs.ext2, (struct ext2_inode *) &builder->open_inode,
                                     (ext2_off64_t) entry->size);
        if (code)
                return ext4_fs_error(err, code, "size of '%.300s'", entry->path);
        return store(builder, number, &builder->open_inode, entry, true, err);
}

/* All links are resolved: writes the folders, and counts names. */
static int write_folders(struct ext4_builder *builder, uint64_t *ret_n_names, struct err *err)
{
        struct ext4_names *names = &builder->names;
        int r = 0;

        *ret_n_names = 0;
        for (uint32_t i = 0; i < names->n_nodes && r == 0; i++) {
                const struct ext4_name *name = ext4_names_at(names, i);

                assert(name->type != EXT4_NAME_PENDING);
                *ret_n_names += name->type != EXT4_NAME_NONE;
                if (name->type == EXT4_NAME_FOLDER && name->inode == 0)
                        r = describe_implied(builder, i, 0755, err);
        }
        for (uint32_t i = 0; i < names->n_nodes && r == 0; i++)
                if (ext4_names_at(names, i)->type == EXT4_NAME_FOLDER)
                        r = ext4_folder_write(&builder->fs, names, i,
                                              i == builder->lost_found ? LOST_FOUND_BLOCKS : 1, &builder->map,
                                              err);
        return r;
}

int ext4_builder_finish(struct ext4_builder *builder, struct ext4_builder_report *ret_report, struct err *err)
{
        int r = builder->n_layers == 1 && builder->layer == 1 ? ext4_builder_end_layer(builder, err) : 0;

        assert(r < 0 || builder->layer == 0);
        ret_report->content_bytes = builder->content_bytes;
        if (r == 0)
                r = write_folders(builder, &ret_report->n_names, err);
        if (r < 0)
                return r;
        builder->is_done = true; /* ext4_fs_close() cleans up after itself */
        return ext4_fs_close(&builder->fs, &ret_report->size, err);
}

/* The root and lost+found, which any layer may describe. */
static int make_first_folders(struct ext4_builder *builder, struct err *err)
{
        uint16_t layer = builder->layer;
        int r = ext4_names_get(&builder->names, EXT4_ROOT, LOST_FOUND, strlen(LOST_FOUND),
                               &builder->lost_found, err);

        builder->layer = NOBODYS_LAYER;
        if (r == 0)
                r = describe_implied(builder, EXT4_ROOT, 0755, err);
        if (r == 0)
                r = describe_implied(builder, builder->lost_found, 0700, err);
        if (r < 0)
                return r;
        ext4_names_make_more(&builder->names, EXT4_ROOT)->described_by = 0;
        ext4_names_make_more(&builder->names, builder->lost_found)->described_by = 0;
        builder->layer = layer;
        return 0;
}

int ext4_builder_new(const char *image_path, const struct ext4_options *options, unsigned n_layers,
                     struct ext4_builder **ret_builder, struct err *err)
{
        struct ext4_builder *builder = xcalloc(1, sizeof(*builder));
        int r = ext4_fs_create(image_path, options, &builder->fs, err);

        assert(n_layers > 0 && n_layers <= EXT4_LAYERS_MAX);
        if (r < 0) {
                free(builder);
                return r;
        }
        builder->n_layers = n_layers;
        builder->layer = (uint16_t) n_layers;
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
        free(builder->wants);
        free(builder->unread);
        free(builder);
}

int ext4_make_empty(const char *image_path, const struct ext4_options *options, struct err *err)
{
        struct ext4_builder_report report;
        struct ext4_builder *builder;
        int r;

        if (options->size == 0)
                return err_set(err, EINVAL, "ext4.create", "an empty file system needs a size");
        r = ext4_builder_new(image_path, options, 1, &builder, err);
        if (r < 0)
                return r;
        r = ext4_builder_finish(builder, &report, err);
        ext4_builder_free(builder);
        return r;
}
