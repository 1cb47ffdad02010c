/* One virtio-vsock packet: a header of 44 bytes, then data, scattered over guest memory (virtio 1.2 §5.10.6). */
#pragma once

#include <linux/virtio_vsock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define VSOCK_HEADER_SIZE (sizeof(struct virtio_vsock_hdr))
/* VIRTIO_VSOCK_MAX_PKT_BUF_SIZE of Linux and of Firecracker. */
#define VSOCK_DATA_MAX 65536
#define VSOCK_CID_HOST 2

/* Room for one packet to the guest. */
struct vsock_slot {
        const struct iovec *parts; /* borrowed */
        size_t n_parts;
        size_t capacity; /* of all parts; more than VSOCK_HEADER_SIZE */
        uint32_t n_used; /* header and data written */
};

/* Copies the header out, once: the guest may be writing it. parts hold VSOCK_HEADER_SIZE bytes or more. */
void vsock_packet_load(const struct iovec *parts, size_t n_parts, struct virtio_vsock_hdr *ret_header);
/* Writes the header and sets n_used to what it says. */
void vsock_packet_store(struct vsock_slot *slot, const struct virtio_vsock_hdr *header);
/* Bytes [skip, skip + n) of parts as an array of at most max; the number of its entries. */
size_t vsock_packet_slice(const struct iovec *parts, size_t n_parts, size_t skip, size_t n,
                          struct iovec *ret_slice, size_t max);
