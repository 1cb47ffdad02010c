#include "vmm/qemu/vhost_ring.h"

#include <assert.h>
#include <errno.h>

#include "base/scoped.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "rings are little-endian, as every host of banger is");

/* One load each, whatever the optimiser thinks: the guest may change the word between two. */
#define LOAD(place)         __atomic_load_n(&(place), __ATOMIC_RELAXED)
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELAXED)

void vhost_ring_init(struct vhost_ring *ring)
{
        *ring = (struct vhost_ring){ .kick_fd = FD_NONE, .call_fd = FD_NONE };
}

void vhost_ring_done(struct vhost_ring *ring)
{
        scoped_close int kick = take_fd(&ring->kick_fd), call = take_fd(&ring->call_fd);

        (void) kick;
        (void) call;
        vhost_ring_stop(ring);
}

/* virtio 1.2 §2.7: sizes and alignments of the three parts; the two event words are always counted in. */
static int map_parts(struct vhost_ring *ring, const struct vhost_memory *memory)
{
        const struct vhost_ring_addresses *at = &ring->addresses;
        uint64_t num = ring->num;

        ring->desc = vhost_memory_at_user(memory, at->desc, num * sizeof(struct vring_desc));
        ring->avail = vhost_memory_at_user(memory, at->avail, sizeof(struct vring_avail) + (num + 1) * 2);
        ring->used = vhost_memory_at_user(
                memory, at->used, sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) + 2);
        if (!ring->desc || !ring->avail || !ring->used)
                return -EINVAL;
        if ((uintptr_t) ring->desc % VRING_DESC_ALIGN_SIZE ||
            (uintptr_t) ring->avail % VRING_AVAIL_ALIGN_SIZE ||
            (uintptr_t) ring->used % VRING_USED_ALIGN_SIZE)
                return -EINVAL;
        return 0;
}

int vhost_ring_start(struct vhost_ring *ring, const struct vhost_memory *memory)
{
        int r;

        if (ring->num == 0 || !ring->has_addresses)
                return -EINVAL;
        r = map_parts(ring, memory);
        if (r < 0)
                return r;
        ring->next_used = LOAD(ring->used->idx);
        ring->published_used = ring->next_used;
        ring->has_signalled = false;
        ring->is_running = true;
        return 0;
}

void vhost_ring_stop(struct vhost_ring *ring)
{
        ring->is_running = false;
        ring->desc = NULL;
        ring->avail = NULL;
        ring->used = NULL;
}

/* Appends the memory of one descriptor, which may reach over the border of two adjoining regions. */
static int add_parts(const struct vhost_memory *memory, uint64_t address, uint64_t length,
                     struct vhost_chain *chain)
{
        while (length > 0) {
                uint64_t n = length;
                void *bytes = vhost_memory_at_guest(memory, address, &n);

                if (!bytes)
                        return -EBADMSG;
                if (chain->n_parts == chain->max_parts)
                        return -E2BIG;
                chain->parts[chain->n_parts++] = (struct iovec){ .iov_base = bytes, .iov_len = n };
                chain->length += n;
                length -= n;
                if (__builtin_add_overflow(address, n, &address) && length > 0)
                        return -EBADMSG;
        }
        return 0;
}

/* INDIRECT was not offered (virtio 1.2 §2.7.5.3.1): its flag is an error like any other unknown one. */
static int walk(const struct vhost_ring *ring, const struct vhost_memory *memory, bool device_writes,
                struct vhost_chain *chain)
{
        uint16_t index = chain->head;

        for (uint32_t n = 0; n < ring->num; n++) {
                const struct vring_desc *desc;
                uint16_t flags;
                int r;

                if (index >= ring->num)
                        return -EBADMSG;
                desc = &ring->desc[index];
                flags = LOAD(desc->flags);
                if (flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
                        return -EBADMSG;
                if (((flags & VRING_DESC_F_WRITE) != 0) != device_writes)
                        chain->is_mixed = true;
                r = add_parts(memory, LOAD(desc->addr), LOAD(desc->len), chain);
                if (r < 0)
                        return r;
                if (!(flags & VRING_DESC_F_NEXT))
                        return 0;
                index = LOAD(desc->next);
        }
        return -EBADMSG; /* longer than the queue: a loop */
}

int vhost_ring_pop(struct vhost_ring *ring, const struct vhost_memory *memory, bool device_writes,
                   struct vhost_chain *chain)
{
        uint16_t n_available =
                (uint16_t) (__atomic_load_n(&ring->avail->idx, __ATOMIC_ACQUIRE) - ring->last_avail);
        int r;

        if (n_available == 0)
                return 0;
        if (n_available > ring->num)
                return -EBADMSG;
        chain->n_parts = 0;
        chain->length = 0;
        chain->is_mixed = false;
        chain->head = LOAD(ring->avail->ring[ring->last_avail & (ring->num - 1)]);
        r = walk(ring, memory, device_writes, chain);
        if (r < 0)
                return r;
        ring->last_avail++;
        return 1;
}

void vhost_ring_unpop(struct vhost_ring *ring, size_t n)
{
        ring->last_avail = (uint16_t) (ring->last_avail - n);
}

void vhost_ring_push(struct vhost_ring *ring, uint16_t head, uint32_t n)
{
        struct vring_used_elem *entry = &ring->used->ring[ring->next_used & (ring->num - 1)];

        STORE(entry->id, (uint32_t) head);
        STORE(entry->len, n);
        ring->next_used++;
}

/* virtio 1.2 §2.7.7.2 and §2.7.10: flags without EVENT_IDX, else the index the driver wants to hear of. */
static bool wants_interrupt(struct vhost_ring *ring)
{
        bool had_signalled = ring->has_signalled;
        uint16_t old = ring->signalled_used;

        if (!ring->has_event_idx)
                return !(LOAD(ring->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
        ring->has_signalled = true;
        ring->signalled_used = ring->next_used;
        return !had_signalled || vring_need_event(LOAD(ring->avail->ring[ring->num]), ring->next_used, old);
}

void vhost_ring_publish(struct vhost_ring *ring)
{
        static const uint64_t one = 1;

        if (ring->next_used == ring->published_used)
                return;
        ring->published_used = ring->next_used;
        __atomic_store_n(&ring->used->idx, ring->next_used, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the index before the question, or an interrupt is lost */
        if (wants_interrupt(ring) &&
            ring->call_fd >= 0) /* fails on a full counter only: an interrupt is under way */
                (void) !write(ring->call_fd, &one, sizeof(one));
}

bool vhost_ring_want_kick(struct vhost_ring *ring)
{
        if (ring->has_event_idx) {
                uint16_t *avail_event = (uint16_t *) (void *) &ring->used->ring[ring->num];

                STORE(*avail_event, ring->last_avail);
        } else {
                STORE(ring->used->flags, (uint16_t) 0);
        }
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the wish before the look, or a kick is lost */
        return LOAD(ring->avail->idx) != ring->last_avail;
}
