/* The builder from inside: its parts are ext4_builder.c (entries), ext4_layers.c (names), ext4_wants.c (hard links). */
#pragma once

#include "ext4/ext4_builder.h"
#include "ext4/ext4_fs.h"
#include "ext4/ext4_map.h"
#include "ext4/ext4_names.h"

/* A hard link that waits for its target. */
struct ext4_want {
        uint32_t link;   /* node, PENDING; its inode is the target's node */
        uint32_t target; /* node */
        uint32_t next;   /* the next one of the same target; 0: none */
        uint16_t layer;  /* where the link stands */
        bool is_again;   /* the target was in that layer, unread: waits for the second reading to begin */
        bool is_done;
};

struct ext4_builder {
        struct ext4_fs fs;
        struct ext4_names names;
        struct ext4_map map;
        uint32_t lost_found; /* node */
        uint16_t layer;      /* the rank at hand: n_layers for the topmost, 1 for the lowest, 0 after it */
        uint16_t again;      /* the rank that is read for the second time; 0: none is */
        unsigned n_agains, n_layers;
        struct ext4_want *wants; /* owned; index 0 stays empty */
        uint32_t n_wants, wants_capacity, n_waiting;
        uint64_t *unread; /* owned; hashes of the paths of this layer that were passed over, 0: free slot */
        uint32_t n_unread, unread_capacity;
        uint64_t n_steps; /* through lists that an archive can make long */
        uint64_t content_bytes;
        /* The regular file that is being written; number 0: none. */
        ext2_ino_t open_number;
        struct ext2_inode_large open_inode;
        struct ext4_entry open_entry; /* borrows the caller's strings until the end of the data */
        bool is_done;                 /* fs is closed */
};

/* What the path of an entry, a whiteout or a hard link's target leads to. */
struct ext4_place {
        uint32_t node;  /* EXT4_NO_NODE: none, when hidden */
        bool is_hidden; /* an upper layer decided it */
        uint64_t hash;  /* of the path */
};

enum ext4_purpose {
        EXT4_TO_ADD,  /* folders on the way that nobody described are made */
        EXT4_TO_HIDE, /* they are only passed */
        EXT4_TO_LINK, /* what upper layers say does not matter */
};

int ext4_refuse(const char *path, const char *why, struct err *err);
/* EBADMSG: '..', a name of more than 255 bytes, a path of more than 4095, or one that leads through what is no folder. */
int ext4_place_find(struct ext4_builder *builder, const char *path, enum ext4_purpose purpose,
                    struct ext4_place *ret_place, struct err *err);
/* What stands at node is no folder in this layer: remembered for hard links of upper layers. */
void ext4_place_bar(struct ext4_builder *builder, uint32_t node, enum ext4_barrier barrier);
/* Counts work that an archive can ask for again and again. E2BIG. */
int ext4_count_step(struct ext4_builder *builder, struct err *err);
/* Gives back what a node stands for; its name stays in the tree. */
int ext4_drop(struct ext4_builder *builder, uint32_t node, struct err *err);
/* Makes room at a node that this layer made, for an entry; what was below it goes unless a folder follows a folder. */
int ext4_replace(struct ext4_builder *builder, uint32_t node, bool by_folder, struct err *err);

/* The hard link `entry` at place, of the layer at hand, to target. */
int ext4_wants_add_link(struct ext4_builder *builder, const struct ext4_place *place,
                        const struct ext4_place *target, const struct ext4_entry *entry, struct err *err);
/* The first link that waits for the node, if any: where a target without a place of its own goes. EXT4_NO_NODE: none. */
uint32_t ext4_wants_first(struct ext4_builder *builder, uint32_t target);
/* node holds what those that wait for target wanted: they become links to it. */
int ext4_wants_serve(struct ext4_builder *builder, uint32_t target, uint32_t node, struct err *err);
/* An entry of the layer was passed over. */
int ext4_wants_note_unread(struct ext4_builder *builder, uint64_t hash, struct err *err);
/* Refuses links whose target this layer ended. */
int ext4_wants_end_layer(struct ext4_builder *builder, struct err *err);
