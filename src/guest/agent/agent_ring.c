#include "guest/agent/agent_ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define HEAD       3U /* stream, length */
#define SIZE_FIRST (64U << 10)

static void copy_in(struct ring *ring, uint64_t at, const uint8_t *data, size_t n)
{
        size_t start = (size_t) (at % ring->size), first = ring->size - start < n ? ring->size - start : n;

        memcpy(ring->data + start, data, first);
        memcpy(ring->data, data + first, n - first);
}

static void copy_out(const struct ring *ring, uint64_t at, uint8_t *data, size_t n)
{
        size_t start = (size_t) (at % ring->size), first = ring->size - start < n ? ring->size - start : n;

        memcpy(data, ring->data + start, first);
        memcpy(data + first, ring->data, n - first);
}

static size_t length_at(const struct ring *ring, uint64_t at, uint8_t *ret_stream)
{
        uint8_t head[HEAD];

        copy_out(ring, at, head, sizeof(head));
        *ret_stream = head[0];
        return (size_t) (head[1] | head[2] << 8);
}

/* Doubled until it is as large as it may be: most commands say little. Positions keep their bytes. */
static void grow(struct ring *ring, size_t n)
{
        struct ring larger = { .size = ring->size ? ring->size : SIZE_FIRST,
                               .tail = ring->tail,
                               .head = ring->head };

        while (larger.size < RING_SIZE && ring->head - ring->tail + n > larger.size)
                larger.size *= 2;
        if (larger.size == ring->size)
                return;
        larger.data = xmalloc(larger.size);
        for (uint64_t at = ring->tail; at < ring->head;) {
                uint8_t piece[4096];
                size_t part = ring->head - at < sizeof(piece) ? (size_t) (ring->head - at) : sizeof(piece);

                copy_out(ring, at, piece, part);
                copy_in(&larger, at, piece, part);
                at += part;
        }
        free(ring->data);
        *ring = larger;
}

void ring_put(struct ring *ring, uint8_t stream, const uint8_t *data, size_t n)
{
        const uint8_t head[HEAD] = { stream, (uint8_t) (n & 0xff), (uint8_t) (n >> 8) };
        uint8_t ignored;

        assert(n > 0 && n <= RING_RECORD_MAX);
        grow(ring, HEAD + n);
        while (ring->head - ring->tail + HEAD + n > ring->size)
                ring->tail += HEAD + length_at(ring, ring->tail, &ignored);
        copy_in(ring, ring->head, head, HEAD);
        copy_in(ring, ring->head + HEAD, data, n);
        ring->head += HEAD + n;
}

size_t ring_get(const struct ring *ring, uint64_t *at, uint8_t *ret_stream, uint8_t out[RING_RECORD_MAX])
{
        size_t n;

        if (*at < ring->tail)
                *at = ring->tail;
        if (*at == ring->head)
                return 0;
        n = length_at(ring, *at, ret_stream);
        copy_out(ring, *at + HEAD, out, n);
        *at += HEAD + n;
        return n;
}

void ring_done(struct ring *ring)
{
        free(ring->data);
        *ring = (struct ring){ 0 };
}
