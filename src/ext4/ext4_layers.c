/*
 * How layers act on names. They come from the top one down, so the first that says something about a name is right, and
 * lower ones are only asked what is still open:
 *
 *   - a node that is a file, a symbolic link or a device belongs to the layer that made it; lower ones add nothing there or below;
 *   - a folder takes its owner and mode from the first layer that describes it, and its names from all of them;
 *   - a whiteout closes its node (`closed`), an opaque folder its children (`opaque`), for the layers below. Entries of the
 *     same layer are not concerned, whatever the order (OCI image-spec layer.md, "Whiteouts");
 *   - a layer that goes through a folder without describing it (`implied_by`) relies on a lower one having a folder
 *     there. If that turns out to be a symbolic link or a file, the write, whiteout or opaque folder would have gone
 *     through it, and the image is refused (S-246, S-247).
 *
 * Hard links look at the image as of their own layer, which may be another than the final one; see ext4_wants.c. For
 * them each layer leaves at the nodes it meets how it ended what was there (`barrier`).
 */
#include <errno.h>
#include <string.h>

#include "ext4/ext4_build.h"

#define PATH_BYTES_MAX 4095U /* PATH_MAX less the NUL: nobody could use a longer one */
#define STEPS_MAX      (UINT64_C(1) << 26)

int ext4_refuse(const char *path, const char *why, struct err *err)
{
        return err_set(err, EBADMSG, "ext4.entry", "'%.300s' %s", path, why);
}

int ext4_count_step(struct ext4_builder *builder, struct err *err)
{
        if (builder->n_steps++ < STEPS_MAX)
                return 0;
        return err_set(err, E2BIG, "ext4.entry", "the same names are replaced or linked again and again");
}

void ext4_place_bar(struct ext4_builder *builder, uint32_t node, enum ext4_barrier barrier)
{
        struct ext4_name_more *more;

        /* who is waited for, or has children, has more */
        if (node == EXT4_NO_NODE || ext4_names_at(&builder->names, node)->more == 0)
                return;
        more = ext4_names_make_more(&builder->names, node);
        more->barrier_layer = builder->layer;
        more->barrier = (uint8_t) barrier;
        more->opaque_barrier = false;
}

/* A folder that this layer only implies. */
static void imply(struct ext4_builder *builder, uint32_t node)
{
        struct ext4_name_more *more = ext4_names_make_more(&builder->names, node);

        if (node != EXT4_ROOT && more->described_in != builder->layer)
                more->implied_by = builder->layer;
}

static int refuse_way(const struct ext4_name *name, const char *path, struct err *err)
{
        return ext4_refuse(path,
                           name->type == EXT4_NAME_SYMLINK ? "leads through a symbolic link"
                                                           : "leads through something that is no folder",
                           err);
}

/* node is about to be walked through. *ret_is_hidden: what is below it is not this layer's to say. */
static int enter(struct ext4_builder *builder, uint32_t node, enum ext4_purpose purpose, const char *path,
                 bool *ret_is_hidden, struct err *err)
{
        const struct ext4_name_more *more = ext4_names_more(&builder->names, node);
        struct ext4_name *name = ext4_names_at(&builder->names, node);
        bool is_folder = name->type == EXT4_NAME_FOLDER || name->type == EXT4_NAME_NONE;

        if (!is_folder && name->layer == builder->layer)
                return refuse_way(name, path, err);
        *ret_is_hidden = false;
        if (purpose == EXT4_TO_LINK)
                return 0;
        *ret_is_hidden = !is_folder || more->closed > builder->layer || more->opaque > builder->layer;
        if (*ret_is_hidden)
                return 0;
        imply(builder, node);
        if (purpose == EXT4_TO_ADD && name->type == EXT4_NAME_NONE) {
                name->type = EXT4_NAME_FOLDER;
                name->file_type = EXT2_FT_DIR;
                name->layer = builder->layer;
                name->inode = 0; /* when it is described, or at the end */
        }
        return 0;
}

/* The next component of a path: its length, 0 at the end. "." is passed over. */
static size_t next_component(const char **at)
{
        size_t n;

        do {
                *at += strspn(*at, "/");
                n = strcspn(*at, "/");
        } while (n == 1 && (*at)[0] == '.' && (*at)++);
        return n;
}

static int step(struct ext4_builder *builder, const char *bytes, size_t n, struct ext4_place *place,
                struct err *err)
{
        place->hash = ext4_names_hash(&builder->names, place->hash, bytes, n);
        if (!place->is_hidden)
                return ext4_names_get(&builder->names, place->node, bytes, n, &place->node, err);
        if (place->node != EXT4_NO_NODE)
                place->node = ext4_names_find(&builder->names, place->node, bytes, n);
        return 0;
}

/* Whether an upper layer decided the node itself. */
static bool is_decided(const struct ext4_builder *builder, uint32_t node)
{
        const struct ext4_name *name = ext4_names_at(&builder->names, node);

        if (ext4_names_more(&builder->names, node)->closed > builder->layer)
                return true;
        return name->type != EXT4_NAME_NONE && name->type != EXT4_NAME_FOLDER && name->layer > builder->layer;
}

int ext4_place_find(struct ext4_builder *builder, const char *path, enum ext4_purpose purpose,
                    struct ext4_place *ret_place, struct err *err)
{
        struct ext4_place place = { .node = EXT4_ROOT,
                                    .is_hidden = builder->again != 0 && purpose != EXT4_TO_LINK };
        const char *at = path;
        size_t n;

        if (strlen(path) > PATH_BYTES_MAX)
                return ext4_refuse(path, "... is longer than 4095 bytes", err);
        while ((n = next_component(&at)) > 0) {
                bool is_hidden = place.is_hidden;
                int r = 0;

                if (n == 2 && at[0] == '.' && at[1] == '.')
                        return ext4_refuse(path, "contains '..'", err);
                if (n > EXT4_NAME_LENGTH_MAX)
                        return ext4_refuse(path, "contains a name longer than 255 bytes", err);
                if (!is_hidden)
                        r = enter(builder, place.node, purpose, path, &place.is_hidden, err);
                if (r == 0)
                        r = step(builder, at, n, &place, err);
                if (r < 0)
                        return r;
                at += n;
        }
        if (purpose != EXT4_TO_LINK && !place.is_hidden)
                place.is_hidden = is_decided(builder, place.node);
        *ret_place = place;
        return 0;
}

int ext4_builder_hide(struct ext4_builder *builder, const char *path, struct err *err)
{
        struct ext4_place place;
        struct ext4_name_more *more;
        int r = ext4_place_find(builder, path, EXT4_TO_HIDE, &place, err);

        if (r < 0)
                return r;
        if (place.node == EXT4_ROOT)
                return ext4_refuse(path, "would remove the root", err);
        ext4_place_bar(builder, place.node, EXT4_BARRIER_REMOVED);
        if (place.is_hidden)
                return 0;
        more = ext4_names_make_more(&builder->names, place.node);
        more->closed = more->closed > builder->layer ? more->closed : builder->layer;
        ext4_place_bar(builder, place.node, EXT4_BARRIER_REMOVED);
        return 0;
}

int ext4_builder_hide_children(struct ext4_builder *builder, const char *path, struct err *err)
{
        struct ext4_place place;
        struct ext4_name_more *more;
        int r = ext4_place_find(builder, path, EXT4_TO_HIDE, &place, err);

        if (r < 0 || place.node == EXT4_NO_NODE)
                return r;
        if (place.is_hidden && ext4_names_at(&builder->names, place.node)->more == 0)
                return 0;
        more = ext4_names_make_more(&builder->names, place.node);
        /* a barrier for the folder itself is one for what is below it as well */
        if (more->barrier_layer != builder->layer) {
                more->barrier_layer = builder->layer;
                more->barrier = EXT4_BARRIER_REMOVED;
                more->opaque_barrier = true;
        }
        if (place.is_hidden)
                return 0;
        if (ext4_names_at(&builder->names, place.node)->type == EXT4_NAME_FOLDER ||
            ext4_names_at(&builder->names, place.node)->type == EXT4_NAME_NONE) {
                imply(builder, place.node);
                more = ext4_names_make_more(&builder->names, place.node);
                more->opaque = more->opaque > builder->layer ? more->opaque : builder->layer;
                return 0;
        }
        return refuse_way(ext4_names_at(&builder->names, place.node), path, err);
}
