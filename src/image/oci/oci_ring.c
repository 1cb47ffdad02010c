#include "image/oci/oci_ring.h"

#include <errno.h>
#include <stdlib.h>

static void wait_for(sem_t *semaphore)
{
        while (sem_wait(semaphore) < 0)
                if (errno != EINTR)
                        abort(); /* sem_wait(3): nothing else can fail on a semaphore that was made */
}

void oci_ring_init(struct oci_ring *ring)
{
        for (unsigned i = 0; i < OCI_RING_N_READERS; i++)
                if (sem_init(&ring->readers[i].full, 1, 0) < 0 ||
                    sem_init(&ring->readers[i].empty, 1, OCI_RING_SLOTS) < 0)
                        abort(); /* sem_init(3): only a value above SEM_VALUE_MAX fails */
}

char *oci_ring_fill(struct oci_ring *ring, uint64_t at)
{
        for (unsigned i = 0; i < OCI_RING_N_READERS; i++)
                wait_for(&ring->readers[i].empty);
        return ring->data[at % OCI_RING_SLOTS];
}

void oci_ring_filled(struct oci_ring *ring, uint64_t at, uint32_t layer, uint32_t n)
{
        ring->slots[at % OCI_RING_SLOTS] = (struct oci_ring_slot){ .n = n, .layer = layer };
        for (unsigned i = 0; i < OCI_RING_N_READERS; i++)
                (void) sem_post(&ring->readers[i].full);
}

struct oci_ring_slot oci_ring_read(struct oci_ring *ring, enum oci_ring_reader who, uint64_t at,
                                   const char **ret_data)
{
        struct oci_ring_slot slot;

        wait_for(&ring->readers[who].full);
        slot = *(volatile struct oci_ring_slot *) &ring->slots[at % OCI_RING_SLOTS];
        if (slot.n > OCI_RING_SLOT_BYTES)
                slot.n = OCI_RING_SLOT_BYTES;
        *ret_data = ring->data[at % OCI_RING_SLOTS];
        return slot;
}

void oci_ring_done(struct oci_ring *ring, enum oci_ring_reader who)
{
        (void) sem_post(&ring->readers[who].empty);
}
