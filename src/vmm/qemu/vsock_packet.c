#include "vmm/qemu/vsock_packet.h"

#include <string.h>

void vsock_packet_load(const struct iovec *parts, size_t n_parts, struct virtio_vsock_hdr *ret_header)
{
        uint8_t *to = (uint8_t *) ret_header;
        size_t left = VSOCK_HEADER_SIZE;

        for (size_t i = 0; i < n_parts && left > 0; i++) {
                size_t n = parts[i].iov_len < left ? parts[i].iov_len : left;

                memcpy(to, parts[i].iov_base, n);
                to += n;
                left -= n;
        }
        /* "It may have changed here": so no later use of the copy can become a second read of guest memory. */
        __asm__ volatile("" : "+m"(*ret_header));
}

void vsock_packet_store(struct vsock_slot *slot, const struct virtio_vsock_hdr *header)
{
        const uint8_t *from = (const uint8_t *) header;
        size_t left = VSOCK_HEADER_SIZE;

        for (size_t i = 0; i < slot->n_parts && left > 0; i++) {
                size_t n = slot->parts[i].iov_len < left ? slot->parts[i].iov_len : left;

                memcpy(slot->parts[i].iov_base, from, n);
                from += n;
                left -= n;
        }
        slot->n_used = (uint32_t) VSOCK_HEADER_SIZE + header->len;
}

size_t vsock_packet_slice(const struct iovec *parts, size_t n_parts, size_t skip, size_t n,
                          struct iovec *ret_slice, size_t max)
{
        size_t n_slice = 0;

        for (size_t i = 0; i < n_parts && n > 0 && n_slice < max; i++) {
                size_t here = parts[i].iov_len;

                if (skip >= here) {
                        skip -= here;
                        continue;
                }
                here -= skip;
                if (here > n)
                        here = n;
                ret_slice[n_slice++] =
                        (struct iovec){ .iov_base = (uint8_t *) parts[i].iov_base + skip, .iov_len = here };
                skip = 0;
                n -= here;
        }
        return n_slice;
}
