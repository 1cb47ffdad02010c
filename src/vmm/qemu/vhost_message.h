/*
 * One vhost-user message: how it lies on the wire and how it gets off it, piece by piece, as nothing here may block
 * (QEMU docs/interop/vhost-user.rst, "Message Specification"). It knows nothing of what the requests mean.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fd.h"
#include "vmm/qemu/vhost_memory.h"

#define VHOST_FLAG_NEED_REPLY 0x8U
#define VHOST_CONFIG_MAX      256

struct vhost_message_header {
        uint32_t request, flags, size;
};

struct vhost_vring_state {
        uint32_t index, value;
};

struct vhost_vring_address {
        uint32_t index, flags;
        uint64_t desc, used, avail, log;
};

struct vhost_mem_table {
        uint32_t n, padding;
        struct vhost_memory_region regions[VHOST_MEMORY_REGIONS_MAX];
};

struct vhost_config_space {
        uint32_t offset, size, flags;
        uint8_t bytes[VHOST_CONFIG_MAX];
};

struct vhost_message {
        struct vhost_message_header header;
        union {
                uint64_t u64;
                struct vhost_vring_state state;
                struct vhost_vring_address address;
                struct vhost_mem_table table;
                struct vhost_config_space config;
        } payload;
        size_t n_got;         /* header and payload so far */
        int fds[FD_PASS_MAX]; /* owned */
        size_t n_fds;
};
static_assert(offsetof(struct vhost_message, payload) - sizeof(struct vhost_message_header) <= 4,
              "the payload follows, but for padding");

/*
 * Reads on: 1 when the message is whole, 0 when there is no more for now, -ECONNRESET at the end, -EPROTO for what is
 * no request of version 1 or larger than any. sock is non-blocking.
 */
int vhost_message_receive(int sock, struct vhost_message *message);
/* Closes what descriptors are left and makes room for the next one. */
void vhost_message_done(struct vhost_message *message);
/* Replies are small and QEMU waits for them: a socket too full for one belongs to no QEMU, and the call fails. */
int vhost_message_reply(int sock, const struct vhost_message *message, void *payload, uint32_t size);
