#include "ext4/ext4_names.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/scoped.h"
#include "base/text.h"

#define CHUNK_BYTES (UINT32_C(64) << 10)

void ext4_names_init(struct ext4_names *names)
{
        *names = (struct ext4_names){ .capacity = 1024, .more_capacity = 256, .n_slots = 4096 };
        names->nodes = xcalloc(names->capacity, sizeof(*names->nodes));
        names->more = xcalloc(names->more_capacity, sizeof(*names->more));
        names->slots = xcalloc(names->n_slots, sizeof(*names->slots));
        names->n_nodes = names->n_more = 1;
        names->nodes[EXT4_ROOT] = (struct ext4_name){ .type = EXT4_NAME_FOLDER };
        if (getrandom(names->secret, sizeof(names->secret), 0) != (ssize_t) sizeof(names->secret))
                abort(); /* getrandom(2): at most 256 bytes without flags cannot fail on a running system */
}

void ext4_names_done(struct ext4_names *names)
{
        for (size_t i = 0; i < names->n_chunks; i++)
                free(names->chunks[i]);
        free(names->chunks);
        free(names->nodes);
        free(names->more);
        free(names->slots);
        *names = (struct ext4_names){ 0 };
}

const char *ext4_names_bytes(const struct ext4_names *names, uint32_t node)
{
        uint32_t at = names->nodes[node].bytes;

        return node == EXT4_ROOT ? "/" : names->chunks[at / CHUNK_BYTES] + at % CHUNK_BYTES;
}

struct ext4_name_more *ext4_names_make_more(struct ext4_names *names, uint32_t node)
{
        if (names->nodes[node].more == 0) {
                if (names->n_more == names->more_capacity) {
                        names->more_capacity += names->more_capacity / 2;
                        names->more = xrealloc(names->more, names->more_capacity * sizeof(*names->more));
                }
                names->more[names->n_more] = (struct ext4_name_more){ 0 };
                names->nodes[node].more = names->n_more++;
        }
        return &names->more[names->nodes[node].more];
}

/* Both halves of the product of two 64-bit words, folded. */
static uint64_t mix(uint64_t a, uint64_t b)
{
        unsigned __int128 product = (unsigned __int128) a * b;

        return (uint64_t) product ^ (uint64_t) (product >> 64);
}

uint64_t ext4_names_hash(const struct ext4_names *names, uint64_t parent, const char *bytes, size_t n)
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
        uint32_t i = (uint32_t) ext4_names_hash(names, parent, bytes, n) & (names->n_slots - 1);

        for (;; i = (i + 1) & (names->n_slots - 1)) {
                uint32_t node = names->slots[i];
                const struct ext4_name *name = &names->nodes[node];

                if (node == 0 || (name->parent == parent && name->n_bytes == n &&
                                  memcmp(ext4_names_bytes(names, node), bytes, n) == 0))
                        return &names->slots[i];
        }
}

static void grow_slots(struct ext4_names *names)
{
        free(names->slots);
        names->n_slots *= 2;
        names->slots = xcalloc(names->n_slots, sizeof(*names->slots));
        for (uint32_t i = 1; i < names->n_nodes; i++)
                *find_slot(names, names->nodes[i].parent, ext4_names_bytes(names, i),
                           names->nodes[i].n_bytes) = i;
}

static uint32_t keep_bytes(struct ext4_names *names, const char *bytes, size_t n)
{
        char *kept;
        uint32_t at;

        if (names->n_chunks == 0 || names->chunk_used + n + 1 > CHUNK_BYTES) {
                names->chunks = xrealloc(names->chunks, (names->n_chunks + 1) * sizeof(*names->chunks));
                names->chunks[names->n_chunks++] = xmalloc(CHUNK_BYTES);
                names->chunk_used = 0;
        }
        at = (uint32_t) ((names->n_chunks - 1) * CHUNK_BYTES + names->chunk_used);
        kept = names->chunks[names->n_chunks - 1] + names->chunk_used;
        memcpy(kept, bytes, n);
        kept[n] = '\0';
        names->chunk_used += n + 1;
        return at;
}

static void append_child(struct ext4_names *names, uint32_t parent, uint32_t child)
{
        struct ext4_name_more *folder = ext4_names_make_more(names, parent);

        if (folder->last_child == 0)
                folder->first_child = child;
        else
                names->nodes[folder->last_child].next_sibling = child;
        folder->last_child = child;
        names->nodes[child].next_sibling = 0;
        names->nodes[child].is_listed = true;
}

int ext4_names_check(const struct ext4_names *names, uint64_t n, struct err *err)
{
        uint64_t bytes = names->n_nodes * sizeof(*names->nodes) + names->n_more * sizeof(*names->more) +
                         names->n_slots * sizeof(*names->slots) + names->n_chunks * CHUNK_BYTES +
                         names->others_bytes;

        if (bytes + n <= EXT4_NAMES_BYTES_MAX)
                return 0;
        return err_set(err, E2BIG, "ext4.name", "more names than are possible: %u take %u MiB of memory",
                       names->n_nodes, (unsigned) (EXT4_NAMES_BYTES_MAX >> 20));
}

/* Growth by halves: of what a doubling would touch for nothing, the limit on memory would have to allow for. */
static int make_node(struct ext4_names *names, uint32_t parent, const char *bytes, size_t n,
                     uint32_t *ret_node, struct err *err)
{
        uint32_t node = names->n_nodes;

        if (ext4_names_check(names, sizeof(*names->nodes) + sizeof(*names->more), err) < 0)
                return -err->code;
        if (node == names->capacity) {
                names->capacity += names->capacity / 2;
                names->nodes = xrealloc(names->nodes, names->capacity * sizeof(*names->nodes));
        }
        names->nodes[node] = (struct ext4_name){ .bytes = keep_bytes(names, bytes, n),
                                                 .parent = parent,
                                                 .n_bytes = (uint8_t) n };
        names->n_nodes++;
        if (names->n_nodes > names->n_slots / 4 * 3)
                grow_slots(names); /* which finds a slot for this one too */
        else
                *find_slot(names, parent, bytes, n) = node;
        *ret_node = node;
        return 0;
}

int ext4_names_get(struct ext4_names *names, uint32_t parent, const char *bytes, size_t n, uint32_t *ret_node,
                   struct err *err)
{
        uint32_t node = *find_slot(names, parent, bytes, n);

        if (node == 0 && make_node(names, parent, bytes, n, &node, err) < 0)
                return -err->code;
        if (!names->nodes[node].is_listed)
                append_child(names, parent, node);
        *ret_node = node;
        return 0;
}

uint32_t ext4_names_find(const struct ext4_names *names, uint32_t parent, const char *bytes, size_t n)
{
        uint32_t node = *find_slot(names, parent, bytes, n);

        return node == 0 ? EXT4_NO_NODE : node;
}

uint32_t ext4_names_detach(struct ext4_names *names, uint32_t top, uint32_t node)
{
        struct ext4_name *at = &names->nodes[node];
        uint32_t next = 0;

        /* What a node's list was good for is known by now; a file and a folder that replace each other again and
         * again must not walk the same dead names every time. */
        if (at->more != 0) {
                struct ext4_name_more *more = &names->more[at->more];

                next = more->first_child;
                more->first_child = more->last_child = 0;
        }
        if (node != top)
                at->is_listed = false;
        if (next != 0)
                return next;
        while (node != top && names->nodes[node].next_sibling == 0)
                node = names->nodes[node].parent;
        return node == top ? 0 : names->nodes[node].next_sibling;
}
