/*
 * One split virtqueue, seen from the device (virtio 1.2 §2.7). The guest writes the rings while we read them and means
 * us harm: every value is read once, every index and address checked, every walk bounded by the queue's size. What is
 * wrong makes the call fail with -EBADMSG, after which the queue must not be used again.
 */
#pragma once

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/qemu/vhost_memory.h"

/* QEMU's VIRTQUEUE_MAX_SIZE; also IOV_MAX, so that a chain can be given to readv(2) whole. */
#define VHOST_RING_SIZE_MAX 1024

struct vhost_ring_addresses {
        uint64_t desc, used, avail; /* the front end's */
};

struct vhost_ring {
        uint32_t num; /* 0: not told yet */
        struct vhost_ring_addresses addresses;
        bool has_addresses;
        bool is_enabled;
        bool has_event_idx;
        int kick_fd; /* owned */
        int call_fd; /* owned */
        uint16_t last_avail;

        /* Valid while it runs; the pointers are borrowed from the memory. */
        bool is_running;
        const struct vring_desc *desc;
        struct vring_avail *avail;
        struct vring_used *used;
        uint16_t next_used;      /* the used entries written */
        uint16_t published_used; /* the ones the guest was shown */
        uint16_t signalled_used; /* the ones it was interrupted for */
        bool has_signalled;
};

struct vhost_chain {
        struct iovec *parts; /* borrowed, room for max_parts */
        size_t max_parts;
        size_t n_parts;
        size_t length; /* bytes in all parts */
        uint16_t head;
        bool is_mixed; /* has a descriptor of the wrong direction; its parts are of no use */
};

void vhost_ring_init(struct vhost_ring *ring);
void vhost_ring_done(struct vhost_ring *ring);

/* Translates the addresses and goes on at last_avail. -EINVAL when something is missing or outside the memory. */
int vhost_ring_start(struct vhost_ring *ring, const struct vhost_memory *memory);
/* Afterwards guest memory is not touched any more. */
void vhost_ring_stop(struct vhost_ring *ring);

/*
 * Takes the next chain the guest offers: 1, 0 when there is none, -EBADMSG when the ring is broken, -E2BIG when the
 * chain needs more parts than the caller has (it is not taken then). device_writes: the direction expected.
 */
int vhost_ring_pop(struct vhost_ring *ring, const struct vhost_memory *memory, bool device_writes,
                   struct vhost_chain *chain);
/* Gives the last n chains back untaken; none of them may have been pushed. */
void vhost_ring_unpop(struct vhost_ring *ring, size_t n);
/* Returns a chain of which n bytes were written. The guest sees it with the next publish. */
void vhost_ring_push(struct vhost_ring *ring, uint16_t head, uint32_t n);
/* Shows the guest what was pushed and interrupts it if it asked to be. */
void vhost_ring_publish(struct vhost_ring *ring);
/* Asks to be kicked for the next chain. True when one has arrived meanwhile: pop again instead of sleeping. */
bool vhost_ring_want_kick(struct vhost_ring *ring);
