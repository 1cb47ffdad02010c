/* The last output of a command: records of one stream's bytes each, the oldest of which make room for new ones. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RING_SIZE       (1U << 20)
#define RING_RECORD_MAX 16384U

struct ring {
        uint8_t *data; /* owned; as large as it had to be so far, at most RING_SIZE */
        size_t size;
        uint64_t tail, head; /* positions in all that was ever written */
};

/* n of 1 .. RING_RECORD_MAX. */
void ring_put(struct ring *ring, uint8_t stream, const uint8_t *data, size_t n);
/* The record at *at, which moves to the next: its length, 0 at the head. A position that is gone becomes the tail. */
size_t ring_get(const struct ring *ring, uint64_t *at, uint8_t *ret_stream, uint8_t out[RING_RECORD_MAX]);
void ring_done(struct ring *ring);
