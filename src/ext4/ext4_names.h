/*
 * The names of the image while it is written: a tree in memory, the only place where paths are resolved. Nothing
 * here ever looks at the host's file system. A name that disappears keeps its node, of type EXT4_NAME_NONE, and
 * may come back. Internal to ext4/.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define EXT4_NAMES_MAX       (UINT32_C(4) << 20)
#define EXT4_NAME_BYTES_MAX  (UINT64_C(256) << 20)
#define EXT4_NAME_LENGTH_MAX 255U
#define EXT4_ROOT            UINT32_C(0) /* the root's node */

enum ext4_name_type {
        EXT4_NAME_NONE,    /* not there (any more, or yet) */
        EXT4_NAME_FOLDER,  /* inode is set */
        EXT4_NAME_FILE,    /* inode is set; anything that is neither folder nor symbolic link */
        EXT4_NAME_SYMLINK, /* inode is set */
        EXT4_NAME_PENDING, /* a hard link met before what it names: inode is the target's node */
};

struct ext4_name {
        char *bytes; /* in the arena, NUL-terminated */
        uint32_t parent;
        uint32_t first_child, last_child; /* 0: none */
        uint32_t next_sibling;            /* 0: none */
        uint32_t inode;
        uint8_t n_bytes;
        uint8_t type;      /* enum ext4_name_type */
        uint8_t file_type; /* EXT2_FT_*, for the folder entry */
        bool is_listed;    /* among its parent's children */
};

struct ext4_names {
        struct ext4_name *nodes; /* owned; node numbers are indexes, so they survive growth */
        uint32_t n_nodes, capacity;
        uint32_t *slots; /* owned; open addressing, 0: free */
        uint32_t n_slots;
        uint64_t secret[2]; /* of the hash: an archive cannot aim at one slot */
        char **chunks;      /* owned; arena of name bytes */
        size_t n_chunks, chunk_used;
        uint64_t n_bytes;
};

void ext4_names_init(struct ext4_names *names);
void ext4_names_done(struct ext4_names *names);

/* The node of name below parent, made with type NONE when there is none. E2BIG at the limits above. */
int ext4_names_get(struct ext4_names *names, uint32_t parent, const char *bytes, size_t n, uint32_t *ret_node,
                   struct err *err);
static inline struct ext4_name *ext4_names_at(struct ext4_names *names, uint32_t node)
{
        return &names->nodes[node];
}
/*
 * A walk that empties the folder `top`: returns the node after `node`, parents first, 0 at the end, and takes node's
 * children off its list (they come back when ext4_names_get() finds them). Start with node = top.
 */
uint32_t ext4_names_detach(struct ext4_names *names, uint32_t top, uint32_t node);
