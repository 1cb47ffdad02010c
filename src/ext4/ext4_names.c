#include "ext4/ext4_names.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/scoped.h"
#include "base/text.h"

#define CHUNK_BYTES (UINT32_C(64) << 10)

void ext4_names_init(struct ext4_names *names)
{
        *names = (struct ext4_names){ .capacity = 1024, .n_slots = 4096 };
        names->nodes = xcalloc(names->capacity, sizeof(*names->nodes));
        names->slots = xcalloc(names->n_slots, sizeof(*names->slots));
        names->n_nodes = 1;
        names->nodes[EXT4_ROOT] = (struct ext4_name){ .bytes = NULL, .type = EXT4_NAME_FOLDER };
        if (getrandom(names->secret, sizeof(names->secret), 0) != (ssize_t) sizeof(names->secret))
                abort(); /* getrandom(2): at most 256 bytes without flags cannot fail on a running system */
}

void ext4_names_done(struct ext4_names *names)
{
        for (size_t i = 0; i < names->n_chunks; i++)
                free(names->chunks[i]);
        free(names->chunks);
        free(names->nodes);
        free(names->slots);
        *names = (struct ext4_names){ 0 };
}

/* Both halves of the product of two 64-bit words, folded. */
static uint64_t mix(uint64_t a, uint64_t b)
{
        unsigned __int128 product = (unsigned __int128) a * b;

        return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static uint64_t hash(const struct ext4_names *names, uint32_t parent, const char *bytes, size_t n)
{
        uint64_t state = mix(names->secret[0] ^ parent, names->secret[1] ^ n);

        while (n > 0) {
                size_t part = n < sizeof(uint64_t) ? n : sizeof(uint64_t);
                uint64_t word = 0;

                memcpy(&word, bytes, part);
                state = mix(state ^ word ^ names->secret[1], names->secret[0] | 1);
                bytes += part;
                n -= part;
        }
        return state;
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t *find_slot(const struct ext4_names *names, uint32_t parent, const char *bytes, size_t n)
{
        uint32_t i = (uint32_t) hash(names, parent, bytes, n) & (names->n_slots - 1);

        for (;; i = (i + 1) & (names->n_slots - 1)) {
                const struct ext4_name *name = &names->nodes[names->slots[i]];

                if (names->slots[i] == 0 ||
                    (name->parent == parent && name->n_bytes == n && memcmp(name->bytes, bytes, n) == 0))
                        return &names->slots[i];
        }
}

static void grow_slots(struct ext4_names *names)
{
        free(names->slots);
        names->n_slots *= 2;
        names->slots = xcalloc(names->n_slots, sizeof(*names->slots));
        for (uint32_t i = 1; i < names->n_nodes; i++) {
                const struct ext4_name *name = &names->nodes[i];

                *find_slot(names, name->parent, name->bytes, name->n_bytes) = i;
        }
}

static char *keep_bytes(struct ext4_names *names, const char *bytes, size_t n)
{
        char *kept;

        if (names->n_chunks == 0 || names->chunk_used + n + 1 > CHUNK_BYTES) {
                names->chunks = xrealloc(names->chunks, (names->n_chunks + 1) * sizeof(*names->chunks));
                names->chunks[names->n_chunks++] = xmalloc(CHUNK_BYTES);
                names->chunk_used = 0;
        }
        kept = names->chunks[names->n_chunks - 1] + names->chunk_used;
        memcpy(kept, bytes, n);
        kept[n] = '\0';
        names->chunk_used += n + 1;
        names->n_bytes += n + 1;
        return kept;
}

static void append_child(struct ext4_names *names, uint32_t parent, uint32_t child)
{
        struct ext4_name *folder = &names->nodes[parent];

        if (folder->last_child == 0)
                folder->first_child = child;
        else
                names->nodes[folder->last_child].next_sibling = child;
        folder->last_child = child;
        names->nodes[child].next_sibling = 0;
        names->nodes[child].is_listed = true;
}

int ext4_names_get(struct ext4_names *names, uint32_t parent, const char *bytes, size_t n, uint32_t *ret_node,
                   struct err *err)
{
        uint32_t *slot = find_slot(names, parent, bytes, n);
        uint32_t node = *slot;

        if (node == 0) {
                if (names->n_nodes >= EXT4_NAMES_MAX || names->n_bytes >= EXT4_NAME_BYTES_MAX)
                        return err_set(err, E2BIG, "ext4.name", "more than %u names, or %u MiB of them",
                                       EXT4_NAMES_MAX, (unsigned) (EXT4_NAME_BYTES_MAX >> 20));
                if (names->n_nodes == names->capacity) {
                        names->capacity *= 2;
                        names->nodes = xrealloc(names->nodes, names->capacity * sizeof(*names->nodes));
                }
                node = names->n_nodes++;
                *slot = node;
                names->nodes[node] = (struct ext4_name){ .bytes = keep_bytes(names, bytes, n),
                                                         .parent = parent,
                                                         .n_bytes = (uint8_t) n };
                if (names->n_nodes > names->n_slots / 2)
                        grow_slots(names);
        }
        if (!names->nodes[node].is_listed)
                append_child(names, parent, node);
        *ret_node = node;
        return 0;
}

uint32_t ext4_names_detach(struct ext4_names *names, uint32_t top, uint32_t node)
{
        struct ext4_name *at = &names->nodes[node];
        uint32_t next = at->first_child;

        /* What a node's list was good for is known by now; a file and a folder that replace each other again and
         * again must not walk the same dead names every time. */
        at->first_child = at->last_child = 0;
        if (node != top)
                at->is_listed = false;
        if (next != 0)
                return next;
        while (node != top && names->nodes[node].next_sibling == 0)
                node = names->nodes[node].parent;
        return node == top ? 0 : names->nodes[node].next_sibling;
}
