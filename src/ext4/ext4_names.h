/*
 * The names of the image while it is written: a tree in memory, the only place where paths are resolved. Nothing
 * here ever looks at the host's file system. A name that disappears keeps its node, of type EXT4_NAME_NONE, and
 * may come back. All of it together is bounded by EXT4_NAMES_BYTES_MAX. Internal to ext4/.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* More than a million names of 20 bytes: with it a whole import stays below 96 MiB. */
#define EXT4_NAMES_BYTES_MAX (UINT64_C(60) << 20)
#define EXT4_NAME_LENGTH_MAX 255U
#define EXT4_ROOT            UINT32_C(0) /* the root's node */
#define EXT4_NO_NODE         UINT32_MAX

enum ext4_name_type {
        EXT4_NAME_NONE,    /* not there (any more, or yet) */
        EXT4_NAME_FOLDER,  /* inode is set once the folder was described */
        EXT4_NAME_FILE,    /* inode is set; anything that is neither folder nor symbolic link */
        EXT4_NAME_SYMLINK, /* inode is set */
        EXT4_NAME_PENDING, /* a hard link to what has not come yet: inode is the target's node */
};

/* Many names are of plain files that need no more than this: 28 bytes. */
struct ext4_name {
        uint32_t bytes; /* in the arena */
        uint32_t parent;
        uint32_t next_sibling; /* 0: none */
        uint32_t inode;
        uint32_t more;  /* index of its struct ext4_name_more; 0: none */
        uint16_t layer; /* that made it what it is */
        uint8_t n_bytes;
        uint8_t type;      /* enum ext4_name_type */
        uint8_t file_type; /* EXT2_FT_*, for the folder entry */
        bool is_listed;    /* among its parent's children */
};

enum ext4_barrier {
        EXT4_BARRIER_NONE,
        EXT4_BARRIER_REMOVED,
        EXT4_BARRIER_FILE,
        EXT4_BARRIER_SYMLINK,
};

/*
 * What folders have, removed names, and targets of hard links that have not come yet. Layers are ranks: the topmost has
 * the highest, they come top down, 0 is none. ext4_layers.c says how they act.
 */
struct ext4_name_more {
        uint32_t first_child, last_child; /* 0: none */
        uint32_t wanted;        /* first of the hard links to it that wait, a list of ext4_wants; 0: none */
        uint16_t closed;        /* layers below this one add nothing here, nor below */
        uint16_t opaque;        /* layers below this one add nothing below */
        uint16_t implied_by;    /* the last layer that went through here without saying what it is */
        uint16_t described_by;  /* the layer that gave the folder its owner, mode and the like */
        uint16_t described_in;  /* the last layer that said it is a folder */
        uint16_t barrier_layer; /* the last layer that ended what was here before it, and how */
        uint8_t barrier;        /* enum ext4_barrier */
        uint8_t opaque_barrier; /* barrier is for what is below only */
};

struct ext4_names {
        struct ext4_name *nodes; /* owned; node numbers are indexes, so they survive growth */
        uint32_t n_nodes, capacity;
        struct ext4_name_more *more; /* owned; index 0 stays empty */
        uint32_t n_more, more_capacity;
        uint32_t *slots; /* owned; open addressing, 0: free */
        uint32_t n_slots;
        uint64_t secret[2]; /* of the hash: an archive cannot aim at one slot */
        char **chunks;      /* owned; arena of name bytes */
        size_t n_chunks, chunk_used;
        uint64_t others_bytes; /* what their owner keeps beside the names, counted against the same limit */
};

void ext4_names_init(struct ext4_names *names);
void ext4_names_done(struct ext4_names *names);

/* The node of name below parent, made with type NONE when there is none. E2BIG at the limit. */
int ext4_names_get(struct ext4_names *names, uint32_t parent, const char *bytes, size_t n, uint32_t *ret_node,
                   struct err *err);
/* EXT4_NO_NODE when there is none. */
uint32_t ext4_names_find(const struct ext4_names *names, uint32_t parent, const char *bytes, size_t n);

static inline struct ext4_name *ext4_names_at(const struct ext4_names *names, uint32_t node)
{
        return &names->nodes[node];
}

/* NUL-terminated; borrowed. */
const char *ext4_names_bytes(const struct ext4_names *names, uint32_t node);
/* What a node has of it, all zero when nothing; not to be written to. */
static inline const struct ext4_name_more *ext4_names_more(const struct ext4_names *names, uint32_t node)
{
        return &names->more[names->nodes[node].more];
}
/* To be written to; the pointer lasts until the next one is made. */
struct ext4_name_more *ext4_names_make_more(struct ext4_names *names, uint32_t node);

/* Whether what there is, with n more bytes, stays within the limit. E2BIG. */
int ext4_names_check(const struct ext4_names *names, uint64_t n, struct err *err);
/* Of a name at one place in one tree: for sets of paths that have no node. */
uint64_t ext4_names_hash(const struct ext4_names *names, uint64_t parent, const char *bytes, size_t n);

/*
 * A walk that empties the folder `top`: returns the node after `node`, parents first, 0 at the end, and takes node's
 * children off its list (they come back when ext4_names_get() finds them). Start with node = top.
 */
uint32_t ext4_names_detach(struct ext4_names *names, uint32_t top, uint32_t node);
