/*
 * The guest's memory: rings of eight in one page, everything in it of the input. The first 4096 bytes are the page; then
 * come changes (offset, length, bytes), each followed by a kick, as a guest makes them while the device reads. Whatever
 * they are, the queue gives chains inside the memory or says that it is broken, and gives them back once.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/text.h"
#include "vmm/qemu/vhost_ring.h"
#include "vmm/qemu/vsock_mux.h"

#define PAGE   4096
#define N_RING 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct vhost_memory memory;
static struct vsock_mux *mux;

static void set_up(void)
{
        const struct vhost_memory_region regions[2] = {
                {0,     PAGE, 0x10000, 0   },
                { PAGE, PAGE, 0x20000, PAGE}
        };
        char folder[] = "/tmp/fuzz-vsock-XXXXXX";
        scoped_free char *path = NULL;
        int fd = memfd_create("guest", MFD_CLOEXEC);
        struct err err = { 0 };
        int r;

        r = fd < 0 || ftruncate(fd, (off_t) PAGE * 2) < 0 ? -errno : 0;
        assert(r == 0);
        r = vhost_memory_map(regions, (const int[]){ fd, fd }, 2, &memory);
        assert(r == 0);
        (void) close(fd);
        if (!mkdtemp(folder))
                abort();
        path = xasprintf("%s/v", folder);
        r = vsock_mux_new(path, 3, &mux, &err);
        assert(r == 0);
        (void) unlink(path);
        (void) rmdir(folder);
}

static void start(struct vhost_ring *ring, uint64_t at)
{
        int r;

        vhost_ring_init(ring);
        ring->num = N_RING;
        ring->addresses = (struct vhost_ring_addresses){ at, at + 256, at + 512 };
        ring->has_addresses = true;
        ring->has_event_idx = true;
        r = vhost_ring_start(ring, &memory);
        assert(r == 0);
}

/* Every byte of the chain is touched, so that one outside the memory shows. */
static void touch(const struct vhost_chain *chain, bool writes)
{
        volatile uint8_t sum = 0;
        size_t length = 0;

        for (size_t i = 0; i < chain->n_parts; i++) {
                uint8_t *bytes = chain->parts[i].iov_base;

                length += chain->parts[i].iov_len;
                for (size_t k = 0; k < chain->parts[i].iov_len; k += 512)
                        sum = (uint8_t) (sum + bytes[k]);
                if (writes && !chain->is_mixed && chain->parts[i].iov_len > 0)
                        bytes[chain->parts[i].iov_len - 1] = sum;
        }
        assert(length == chain->length);
}

/* False when the ring broke. */
static bool pump(struct vhost_ring *ring, bool writes)
{
        struct iovec parts[64];
        struct vhost_chain chain = { .parts = parts, .max_parts = 64 };

        for (size_t i = 0; i < 64; i++) {
                int r = vhost_ring_pop(ring, &memory, writes, &chain);

                assert(r == 1 || r == 0 || r == -EBADMSG || r == -E2BIG);
                if (r < 0)
                        return false;
                if (r == 0 && !vhost_ring_want_kick(ring))
                        break;
                if (r == 0)
                        continue;
                assert(chain.head < N_RING);
                touch(&chain, writes);
                if (!writes && !chain.is_mixed)
                        vsock_mux_receive(mux, parts, chain.n_parts, chain.length);
                vhost_ring_push(ring, chain.head, 0);
        }
        vhost_ring_publish(ring);
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        size_t n_page = n < PAGE ? n : PAGE;
        struct vhost_ring rx, tx;
        bool is_whole = true;

        if (!mux)
                set_up();
        memset(memory.maps[0].bytes, 0, PAGE);
        memcpy(memory.maps[0].bytes, data, n_page);
        data += n_page;
        n -= n_page;
        start(&rx, 0x10000);
        start(&tx, 0x10400);
        is_whole = pump(&tx, false) && pump(&rx, true);
        while (n > 3 && is_whole) {
                size_t offset = (data[0] | (size_t) data[1] << 8) % PAGE, size = data[2];

                size = size < n - 3 ? size : n - 3;
                size = size < PAGE - offset ? size : PAGE - offset;
                memcpy(memory.maps[0].bytes + offset, data + 3, size);
                data += 3 + size;
                n -= 3 + size;
                is_whole = pump(&tx, false) && pump(&rx, true);
        }
        vhost_ring_done(&rx);
        vhost_ring_done(&tx);
        vsock_mux_drop_all(mux);
        return 0;
}
