/*
 * Hard links. Each looks at the image as of its own layer: first at the names of that layer, then at the layers below, and not
 * at what upper layers made of the target's name. A link whose target has not come yet waits on the target's node; the
 * first layer that has something there serves all that wait. Where an upper layer decided the target's name, the first
 * link that waits takes the file instead.
 *
 * One case cannot be read forwards: the target stood before the link in the same layer, and was passed over because an
 * upper layer replaced it (`ln a b` in one step of a build, `rm a` in a later one). The paths that were passed over are
 * remembered for the length of their layer, as hashes; such a link waits for a second reading of the layer, at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "ext4/ext4_build.h"

#define LINKS_MAX   65000U /* EXT4_LINK_MAX, linux fs/ext4/ext4.h */
#define WAITING_MAX 65536U /* at the end of a layer */
#define AGAINS_MAX  8U     /* above one for each layer: a second reading may ask for another one */

static int link_node(struct ext4_builder *builder, uint32_t node, uint32_t target, struct err *err)
{
        struct ext4_name *name = ext4_names_at(&builder->names, node);
        const struct ext4_name *other = ext4_names_at(&builder->names, target);
        bool is_open = other->inode == builder->open_number; /* its inode is written when its data is */
        ext2_filsys ext2 = builder->fs.ext2;
        struct ext2_inode inode;
        errcode_t code = 0;

        if (is_open)
                inode.i_links_count = builder->open_inode.i_links_count;
        else
                code = ext2fs_read_inode(ext2, other->inode, &inode);
        if (!code && inode.i_links_count >= LINKS_MAX)
                return err_set(err, EMLINK, "ext4.entry", "'%s' has more than %u hard links",
                               ext4_names_bytes(&builder->names, target), LINKS_MAX);
        inode.i_links_count++;
        if (is_open)
                builder->open_inode.i_links_count = inode.i_links_count;
        else if (!code)
                code = ext2fs_write_inode(ext2, other->inode, &inode);
        if (code)
                return ext4_fs_error(err, code, "link '%s'", ext4_names_bytes(&builder->names, node));
        if (name->type != EXT4_NAME_PENDING) /* which is of its own layer */
                name->layer = builder->layer;
        name->type = other->type;
        name->file_type = other->file_type;
        name->inode = other->inode;
        return 0;
}

/* Whether a link still waits: it may have been replaced, or have moved on to another target. */
static bool is_waiting(const struct ext4_builder *builder, const struct ext4_want *want)
{
        const struct ext4_name *link = ext4_names_at(&builder->names, want->link);

        return !want->is_done && link->type == EXT4_NAME_PENDING && link->inode == want->target;
}

uint32_t ext4_wants_first(struct ext4_builder *builder, uint32_t target)
{
        struct ext4_name_more *more;

        if (target == EXT4_NO_NODE || ext4_names_more(&builder->names, target)->wanted == 0)
                return EXT4_NO_NODE;
        more = ext4_names_make_more(&builder->names, target);
        while (more->wanted != 0 && !is_waiting(builder, &builder->wants[more->wanted]))
                more->wanted = builder->wants[more->wanted].next;
        return more->wanted != 0 ? builder->wants[more->wanted].link : EXT4_NO_NODE;
}

/* The list of those that wait for target, which is empty afterwards. */
static uint32_t take_list(struct ext4_builder *builder, uint32_t target)
{
        uint32_t first = ext4_names_more(&builder->names, target)->wanted;

        if (first != 0)
                ext4_names_make_more(&builder->names, target)->wanted = 0;
        return first;
}

int ext4_wants_serve(struct ext4_builder *builder, uint32_t target, uint32_t node, struct err *err)
{
        int r = 0;

        for (uint32_t i = take_list(builder, target); i != 0 && r == 0; i = builder->wants[i].next) {
                struct ext4_want *want = &builder->wants[i];

                if (want->link != node && is_waiting(builder, want))
                        r = link_node(builder, want->link, node, err);
                want->is_done = true;
                builder->n_waiting--;
        }
        return r;
}

static void enlist(struct ext4_builder *builder, uint32_t i)
{
        struct ext4_name_more *more = ext4_names_make_more(&builder->names, builder->wants[i].target);

        builder->wants[i].next = more->wanted;
        more->wanted = i;
}

/* is_again: not before the second reading. */
static void wait_for(struct ext4_builder *builder, uint32_t i, uint32_t target, bool is_again)
{
        struct ext4_want *want = &builder->wants[i];

        want->target = target;
        want->layer = builder->layer;
        want->is_again = is_again;
        ext4_names_at(&builder->names, want->link)->inode = target;
        if (!is_again)
                enlist(builder, i);
}

static int add_want(struct ext4_builder *builder, uint32_t link, uint32_t target, bool is_again,
                    struct err *err)
{
        struct ext4_name *name = ext4_names_at(&builder->names, link);

        if (builder->n_wants == builder->wants_capacity) {
                uint32_t capacity = builder->wants_capacity > 0 ? builder->wants_capacity * 2 : 64;

                if (ext4_names_check(&builder->names, capacity * sizeof(*builder->wants), err) < 0)
                        return -err->code;
                builder->names.others_bytes += (capacity - builder->wants_capacity) * sizeof(*builder->wants);
                builder->wants = xrealloc(builder->wants, capacity * sizeof(*builder->wants));
                builder->wants_capacity = capacity;
        }
        if (builder->n_wants == 0)
                builder->wants[builder->n_wants++] = (struct ext4_want){ .is_done = true };
        builder->wants[builder->n_wants] = (struct ext4_want){ .link = link };
        name->type = EXT4_NAME_PENDING;
        name->layer = builder->layer;
        builder->n_waiting++;
        wait_for(builder, builder->n_wants++, target, is_again);
        return 0;
}

static bool is_folder_here(const struct ext4_builder *builder, uint32_t node)
{
        const struct ext4_name_more *more = ext4_names_more(&builder->names, node);

        return node == EXT4_ROOT || more->described_in == builder->layer ||
               (more->implied_by == builder->layer &&
                ext4_names_at(&builder->names, node)->type == EXT4_NAME_FOLDER);
}

static uint64_t *find_unread(const struct ext4_builder *builder, uint64_t hash)
{
        uint32_t mask = builder->unread_capacity - 1, i = (uint32_t) (hash >> 32) & mask;

        while (builder->unread[i] != 0 && builder->unread[i] != hash)
                i = (i + 1) & mask;
        return &builder->unread[i];
}

static bool was_passed_over(const struct ext4_builder *builder, uint64_t hash)
{
        return builder->n_unread > 0 && *find_unread(builder, hash | 1) != 0;
}

int ext4_wants_add_link(struct ext4_builder *builder, const struct ext4_place *place,
                        const struct ext4_place *target, const struct ext4_entry *entry, struct err *err)
{
        const struct ext4_name *name = ext4_names_at(&builder->names, target->node);
        bool is_again;
        int r;

        if (is_folder_here(builder, target->node))
                return ext4_refuse(entry->path, "is a hard link to a folder", err);
        if (name->layer == builder->layer &&
            (name->type == EXT4_NAME_FILE || name->type == EXT4_NAME_SYMLINK)) {
                r = ext4_wants_serve(builder, place->node, target->node, err);
                return r < 0 || place->is_hidden ? r : link_node(builder, place->node, target->node, err);
        }
        /* what a second reading has passed over is not remembered */
        is_again = builder->again != 0 || was_passed_over(builder, target->hash);
        for (uint32_t i = take_list(builder, place->node), next; i != 0; i = next) {
                next = builder->wants[i].next;
                if (is_waiting(builder, &builder->wants[i]))
                        wait_for(builder, i, target->node, is_again);
        }
        return place->is_hidden ? 0 : add_want(builder, place->node, target->node, is_again, err);
}

static int grow_unread(struct ext4_builder *builder, struct err *err)
{
        uint64_t *old = builder->unread;
        uint32_t n_old = builder->unread_capacity, capacity = n_old > 0 ? n_old * 2 : 1024;

        if (ext4_names_check(&builder->names, capacity * sizeof(*old), err) < 0)
                return -err->code;
        builder->names.others_bytes += (capacity - n_old) * sizeof(*old);
        builder->unread = xcalloc(capacity, sizeof(*old));
        builder->unread_capacity = capacity;
        for (uint32_t i = 0; i < n_old; i++)
                if (old[i] != 0)
                        *find_unread(builder, old[i]) = old[i];
        free(old);
        return 0;
}

int ext4_wants_note_unread(struct ext4_builder *builder, uint64_t hash, struct err *err)
{
        uint64_t *slot;

        if (builder->again != 0)
                return 0;
        if (builder->n_unread >= builder->unread_capacity / 4 * 3 && grow_unread(builder, err) < 0)
                return -err->code;
        slot = find_unread(builder, hash | 1); /* 0 is a free slot */
        builder->n_unread += *slot == 0;
        *slot = hash | 1;
        return 0;
}

/* What this layer did to the name that a link waits for, or to a folder above it. */
static enum ext4_barrier ended_by(const struct ext4_builder *builder, uint32_t target)
{
        const struct ext4_name_more *more = ext4_names_more(&builder->names, target);

        if (more->barrier_layer == builder->layer && more->barrier == EXT4_BARRIER_REMOVED &&
            !more->opaque_barrier)
                return EXT4_BARRIER_REMOVED;
        while (target != EXT4_ROOT) {
                target = ext4_names_at(&builder->names, target)->parent;
                more = ext4_names_more(&builder->names, target);
                if (more->barrier_layer == builder->layer)
                        return (enum ext4_barrier) more->barrier;
        }
        return EXT4_BARRIER_NONE;
}

static int refuse_link(const struct ext4_builder *builder, const struct ext4_want *want, const char *why,
                       struct err *err)
{
        return err_set(err, EBADMSG, "ext4.entry", "'%.255s' of layer %u is a hard link to '%.255s', %s",
                       ext4_names_bytes(&builder->names, want->link), want->layer,
                       ext4_names_bytes(&builder->names, want->target), why);
}

int ext4_wants_end_layer(struct ext4_builder *builder, struct err *err)
{
        static const char *const reasons[] = {
                [EXT4_BARRIER_REMOVED] = "which is removed there or below",
                [EXT4_BARRIER_FILE] = "which leads through something that is no folder",
                [EXT4_BARRIER_SYMLINK] = "which leads through a symbolic link",
        };

        if (builder->n_unread > 0)
                memset(builder->unread, 0, builder->unread_capacity * sizeof(*builder->unread));
        builder->n_unread = 0;
        if (builder->n_waiting > WAITING_MAX)
                return err_set(err, E2BIG, "ext4.entry", "more than %u hard links to files of other layers",
                               WAITING_MAX);
        for (uint32_t i = 1; i < builder->n_wants && builder->n_waiting > 0; i++) {
                const struct ext4_want *want = &builder->wants[i];
                enum ext4_barrier barrier;

                if (want->is_again || !is_waiting(builder, want))
                        continue;
                if (ext4_count_step(builder, err) < 0)
                        return -err->code;
                barrier = ended_by(builder, want->target);
                if (barrier != EXT4_BARRIER_NONE)
                        return refuse_link(builder, want, reasons[barrier], err);
                if (builder->layer == 1 || builder->again != 0)
                        return refuse_link(builder, want, "which is in no layer", err);
        }
        return 0;
}

int ext4_builder_read_again(struct ext4_builder *builder, unsigned *ret_layer, struct err *err)
{
        uint16_t highest = 0;

        for (uint32_t i = 1; i < builder->n_wants && builder->n_waiting > 0; i++)
                if (builder->wants[i].is_again && is_waiting(builder, &builder->wants[i]) &&
                    builder->wants[i].layer > highest)
                        highest = builder->wants[i].layer;
        *ret_layer = highest > 0 ? highest - 1U : EXT4_LAYERS_MAX;
        builder->again = builder->layer = highest;
        if (highest == 0)
                return 0;
        if (builder->n_agains++ >= builder->n_layers + AGAINS_MAX)
                return err_set(err, EBADMSG, "ext4.entry",
                               "layer %u has hard links to each other that lead nowhere", highest);
        for (uint32_t i = 1; i < builder->n_wants; i++) {
                struct ext4_want *want = &builder->wants[i];

                if (want->is_again && want->layer == highest && is_waiting(builder, want)) {
                        want->is_again = false;
                        enlist(builder, i);
                }
        }
        return 0;
}
