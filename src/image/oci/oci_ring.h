/*
 * A ring of buffers in memory that the processes of one import share: one fills it, two others read the same bytes, the one to
 * write the image and the one to check their digest. Nobody is ever further ahead than the ring is long, which bounds the
 * memory of an import whatever its size. What stands in it is not trusted: lengths are checked where they are read.
 */
#pragma once

#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define OCI_RING_SLOTS      8U
#define OCI_RING_SLOT_BYTES (256U << 10)

enum oci_ring_reader {
        OCI_RING_WRITER,
        OCI_RING_CHECKER,
        OCI_RING_N_READERS
};

struct oci_ring_slot {
        uint32_t n; /* bytes; 0: the layer ends */
        uint32_t layer;
};

struct oci_ring {
        struct {
                _Alignas(64) sem_t full, empty;
        } readers[OCI_RING_N_READERS];
        struct oci_ring_slot slots[OCI_RING_SLOTS];
        _Alignas(4096) char data[OCI_RING_SLOTS][OCI_RING_SLOT_BYTES];
};

void oci_ring_init(struct oci_ring *ring);

/* For the one that fills: waits for slot number `at` (counted from 0 for ever), hands it on. */
char *oci_ring_fill(struct oci_ring *ring, uint64_t at);
void oci_ring_filled(struct oci_ring *ring, uint64_t at, uint32_t layer, uint32_t n);

/* For a reader: waits for slot number `at`; the bytes are there until it is given back. */
struct oci_ring_slot oci_ring_read(struct oci_ring *ring, enum oci_ring_reader who, uint64_t at,
                                   const char **ret_data);
void oci_ring_done(struct oci_ring *ring, enum oci_ring_reader who);
