/*
 * A guest's virtio-vsock driver and QEMU's part of vhost-user, in the test's own process: memory in a memfd, rings driven
 * as Linux drives them, EVENT_IDX included. It looks at a used ring only when it was interrupted and kicks only when it
 * was asked to, so a device that forgets a notification makes a test fail.
 */
#pragma once

#include <errno.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/text.h"
#include "unit.h"
#include "vmm/qemu/vsock_device.h"

/* A library in one header: no test needs all of it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

#define GUEST_CID    42
#define N_RING       128
#define RX_BUFFER    4096
#define TX_BUFFER    (64 * 1024 + 64)
#define MEMORY_SIZE  (16U << 20)
#define AREA_RINGS   0x1000U
#define AREA_RX      0x100000U /* the second region */
#define AREA_TX      0x200000U
#define RECEIVED_MAX 4096
#define FEATURES     ((1ULL << 32) | (1ULL << 29) | (1ULL << 30))

struct vq {
        struct vring_desc *desc;
        struct vring_avail *avail;
        struct vring_used *used;
        uint16_t next_avail, seen_used;
        int kick, call;
};

struct packet {
        struct virtio_vsock_hdr header;
        char data[RX_BUFFER];
};

struct driver {
        char folder[32], uds[64];
        struct vsock_device *device;
        int qemu; /* the other end of the device's link */
        int memory_fd;
        uint8_t *memory;
        struct vq rings[2];
        uint32_t tx_free[N_RING];
        size_t n_tx_free;
        bool hold_rx; /* do not give buffers back */
        void (*on_packet)(struct driver *driver, const struct packet *packet);
        struct packet *received; /* those that on_packet was not there for */
        size_t n_received, n_taken;
        size_t n_interrupts;
};

static void message_send(struct driver *d, uint32_t request, uint32_t flags, const void *payload, uint32_t n,
                         int fd)
{
        struct {
                uint32_t request, flags, size;
                uint8_t payload[300];
        } m = { request, 1 | flags, n, { 0 } };

        if (n > 0)
                memcpy(m.payload, payload, n);
        assert_int_equal(fd_send_with(d->qemu, &m, 12 + n, &fd, fd >= 0 ? 1 : 0), 0);
}

static int device_run(struct driver *d)
{
        struct pollfd p = { .fd = vsock_device_fd(d->device), .events = POLLIN };
        int r = 0;

        for (int i = 0; r == 0 && i < 10000 && poll(&p, 1, 0) > 0; i++)
                r = vsock_device_run(d->device);
        return r;
}

static size_t message_answer(struct driver *d, uint32_t request, void *payload, size_t max)
{
        struct {
                uint32_t request, flags, size;
        } header;

        assert_int_equal(device_run(d), 0);
        assert_int_equal(recv(d->qemu, &header, sizeof(header), MSG_DONTWAIT), sizeof(header));
        assert_int_equal(header.request, request);
        assert_int_equal(header.flags, 5);
        assert_true(header.size <= max);
        if (header.size > 0)
                assert_int_equal(recv(d->qemu, payload, header.size, MSG_DONTWAIT), header.size);
        return header.size;
}

static uint64_t message_ask_u64(struct driver *d, uint32_t request)
{
        uint64_t value = 0;

        message_send(d, request, 0, NULL, 0, -1);
        assert_int_equal(message_answer(d, request, &value, sizeof(value)), sizeof(value));
        return value;
}

static void message_u64(struct driver *d, uint32_t request, uint64_t value, int fd)
{
        message_send(d, request, 0, &value, sizeof(value), fd);
}

static void message_state(struct driver *d, uint32_t request, uint32_t index, uint32_t value)
{
        uint32_t state[2] = { index, value };

        message_send(d, request, 0, state, sizeof(state), -1);
}

/* Two regions of one memfd, as the microvm machine has them; wants an acknowledgement, as QEMU does. */
static uint64_t message_memory(struct driver *d)
{
        struct {
                uint32_t request, flags, size, n, padding;
                uint64_t regions[2][4];
        } __attribute__((packed)) m = { 5, 9, 8 + 64, 2, 0, { { 0 } } };
        int fds[2] = { d->memory_fd, d->memory_fd };
        uint64_t ack = 99;

        memcpy(m.regions[0], (uint64_t[]){ 0, 0xf0000, (uintptr_t) d->memory, 0 }, 32);
        memcpy(m.regions[1],
               (uint64_t[]){ 0x100000, MEMORY_SIZE - 0x100000, (uintptr_t) d->memory + 0x100000, 0x100000 },
               32);
        assert_int_equal(fd_send_with(d->qemu, &m, sizeof(m), fds, 2), 0);
        assert_int_equal(message_answer(d, 5, &ack, sizeof(ack)), sizeof(ack));
        return ack;
}

static void ring_set_up(struct driver *d, uint32_t i, uint32_t base)
{
        struct vq *vq = &d->rings[i];
        struct {
                uint32_t index, flags;
                uint64_t desc, used, avail, log;
        } address = { i, 0, (uintptr_t) vq->desc, (uintptr_t) vq->used, (uintptr_t) vq->avail, 0 };

        message_state(d, 8, i, N_RING);
        message_state(d, 10, i, base);
        message_send(d, 9, 0, &address, sizeof(address), -1);
        message_u64(d, 12, i, vq->kick);
        message_u64(d, 13, i, vq->call);
}

static void rings_enable(struct driver *d, uint32_t on)
{
        message_state(d, 18, 0, on);
        message_state(d, 18, 1, on);
}

static void kick(struct vq *vq, uint16_t old)
{
        const volatile uint16_t *event = (const volatile void *) &vq->used->ring[N_RING];
        uint64_t one = 1;

        __sync_synchronize();
        if (vring_need_event(*event, vq->next_avail, old))
                assert_int_equal(write(vq->kick, &one, sizeof(one)), sizeof(one));
}

static void ring_offer(struct vq *vq, uint16_t head)
{
        uint16_t old = vq->next_avail;

        vq->avail->ring[vq->next_avail % N_RING] = head;
        vq->next_avail++;
        __atomic_store_n(&vq->avail->idx, vq->next_avail, __ATOMIC_SEQ_CST);
        kick(vq, old);
}

static void rx_offer(struct driver *d, uint16_t head)
{
        d->rings[0].desc[head] = (struct vring_desc){ AREA_RX + (uint64_t) head * RX_BUFFER, RX_BUFFER,
                                                      VRING_DESC_F_WRITE, 0 };
        ring_offer(&d->rings[0], head);
}

/* As a freshly booted driver: empty rings, all receive buffers offered. */
static void driver_reset_rings(struct driver *d)
{
        memset(d->memory + AREA_RINGS, 0, 0x20000);
        d->n_tx_free = 0;
        for (uint32_t i = 0; i < 2; i++) {
                struct vq *vq = &d->rings[i];
                uint8_t *at = d->memory + AREA_RINGS + (size_t) i * 0x8000;

                vq->desc = (struct vring_desc *) (void *) at;
                vq->avail = (struct vring_avail *) (void *) (at + 0x4000);
                vq->used = (struct vring_used *) (void *) (at + 0x6000);
                vq->next_avail = 0;
                vq->seen_used = 0;
        }
        for (uint32_t i = 0; i < N_RING / 2; i++)
                d->tx_free[d->n_tx_free++] = 2 * i;
        for (uint16_t i = 0; i < N_RING && !d->hold_rx; i++)
                rx_offer(d, i);
}

static void driver_ok(struct driver *d)
{
        message_u64(d, 2, FEATURES, -1);
        assert_int_equal(message_memory(d), 0);
        ring_set_up(d, 0, 0);
        ring_set_up(d, 1, 0);
        rings_enable(d, 1);
        assert_int_equal(device_run(d), 0);
}

static void driver_connect(struct driver *d)
{
        int pair[2];

        assert_int_equal(fd_unix_pair(pair), 0);
        assert_int_equal(vsock_device_take_qemu(d->device, pair[0]), 0);
        d->qemu = pair[1];
        assert_int_equal(message_ask_u64(d, 1) & FEATURES, FEATURES);
        assert_int_equal(message_ask_u64(d, 15), 0x209);
        message_u64(d, 16, 0x209, -1);
        assert_int_equal(message_ask_u64(d, 17), 2);
        message_send(d, 3, 0, NULL, 0, -1);
}

static struct driver *driver_new(void)
{
        struct driver *d = xcalloc(1, sizeof(*d));
        struct err err = { 0 };

        d->received = xcalloc(RECEIVED_MAX, sizeof(*d->received));
        (void) snprintf(d->folder, sizeof(d->folder), "/tmp/vsock-test-XXXXXX");
        assert_non_null(mkdtemp(d->folder));
        (void) snprintf(d->uds, sizeof(d->uds), "%s/v.sock", d->folder);
        assert_int_equal(vsock_device_new(d->uds, GUEST_CID, &d->device, &err), 0);
        d->memory_fd = memfd_create("guest", MFD_CLOEXEC);
        assert_int_equal(ftruncate(d->memory_fd, MEMORY_SIZE), 0);
        d->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, d->memory_fd, 0);
        assert_true(d->memory != MAP_FAILED);
        for (int i = 0; i < 2; i++) {
                d->rings[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                d->rings[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        }
        driver_connect(d);
        driver_reset_rings(d);
        return d;
}

static void driver_free(struct driver *d)
{
        vsock_device_free(d->device);
        for (int i = 0; i < 2; i++) {
                (void) close(d->rings[i].kick);
                (void) close(d->rings[i].call);
        }
        (void) close(d->qemu);
        (void) munmap(d->memory, MEMORY_SIZE);
        (void) close(d->memory_fd);
        (void) unlink(d->uds);
        (void) rmdir(d->folder);
        free(d->received);
        free(d);
}

static void rx_take(struct driver *d, uint16_t head, uint32_t n)
{
        struct packet *packet = &d->received[d->n_received % RECEIVED_MAX];

        assert_true(n >= sizeof(packet->header) && n <= RX_BUFFER);
        memcpy(&packet->header, d->memory + AREA_RX + (size_t) head * RX_BUFFER, sizeof(packet->header));
        memcpy(packet->data, d->memory + AREA_RX + (size_t) head * RX_BUFFER + sizeof(packet->header),
               n - sizeof(packet->header));
        assert_int_equal(packet->header.len + sizeof(packet->header), n);
        assert_int_equal(packet->header.src_cid, 2);
        assert_int_equal(packet->header.dst_cid, GUEST_CID);
        assert_int_equal(packet->header.type, 1);
        if (!d->hold_rx)
                rx_offer(d, head);
        if (d->on_packet) {
                d->on_packet(d, packet);
        } else {
                d->n_received++;
                assert_true(d->n_received - d->n_taken < RECEIVED_MAX);
        }
}

/* What an interrupt handler does. True when there was an interrupt. */
static bool ring_interrupt(struct driver *d, uint32_t i)
{
        struct vq *vq = &d->rings[i];
        volatile uint16_t *used_event = &vq->avail->ring[N_RING];
        uint64_t count;

        if (read(vq->call, &count, sizeof(count)) < 0)
                return false;
        d->n_interrupts++;
        do {
                while (__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE) != vq->seen_used) {
                        struct vring_used_elem entry = vq->used->ring[vq->seen_used++ % N_RING];

                        assert_true(entry.id < N_RING);
                        if (i == 0)
                                rx_take(d, (uint16_t) entry.id, entry.len);
                        else
                                d->tx_free[d->n_tx_free++] = entry.id;
                        if (i == 1)
                                assert_int_equal(entry.len, 0);
                }
                *used_event = vq->seen_used;
                __sync_synchronize();
        } while (__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE) != vq->seen_used);
        return true;
}

/* Both sides until they are quiet. */
static int driver_run(struct driver *d)
{
        bool has_more = true;
        int r = 0;

        while (has_more && r == 0) {
                r = device_run(d);
                has_more = ring_interrupt(d, 0);
                has_more |= ring_interrupt(d, 1);
        }
        return r;
}

/* One packet as Linux sends it: the header in one descriptor, data in the next. */
static void guest_send_raw(struct driver *d, const struct virtio_vsock_hdr *header, const void *data,
                           uint32_t n)
{
        struct vq *vq = &d->rings[1];
        uint16_t head;
        uint8_t *at;

        while (d->n_tx_free == 0)
                assert_int_equal(driver_run(d), 0);
        head = (uint16_t) d->tx_free[--d->n_tx_free];
        at = d->memory + AREA_TX + (size_t) head * TX_BUFFER;
        memcpy(at, header, sizeof(*header));
        if (n > 0)
                memcpy(at + 64, data, n);
        vq->desc[head] = (struct vring_desc){ (uint64_t) (at - d->memory), sizeof(*header),
                                              n > 0 ? VRING_DESC_F_NEXT : 0, (uint16_t) (head + 1) };
        vq->desc[head + 1] = (struct vring_desc){ (uint64_t) (at - d->memory) + 64, n, 0, 0 };
        ring_offer(vq, head);
}

static struct virtio_vsock_hdr guest_header(uint16_t op, uint32_t guest_port, uint32_t host_port)
{
        return (struct virtio_vsock_hdr){ .src_cid = GUEST_CID,
                                          .dst_cid = 2,
                                          .src_port = guest_port,
                                          .dst_port = host_port,
                                          .type = 1,
                                          .op = op,
                                          .buf_alloc = 262144 };
}

static void guest_send(struct driver *d, uint16_t op, uint32_t guest_port, uint32_t host_port,
                       const void *data, uint32_t n)
{
        struct virtio_vsock_hdr header = guest_header(op, guest_port, host_port);

        header.len = n;
        guest_send_raw(d, &header, data, n);
}

/* The next packet the guest got; fails when there is none. */
static struct packet *guest_next(struct driver *d)
{
        assert_int_equal(driver_run(d), 0);
        assert_true(d->n_taken < d->n_received);
        return &d->received[d->n_taken++ % RECEIVED_MAX];
}

static struct packet *guest_expect(struct driver *d, uint16_t op)
{
        struct packet *packet = guest_next(d);

        assert_int_equal(packet->header.op, op);
        return packet;
}

static void guest_expect_nothing(struct driver *d)
{
        assert_int_equal(driver_run(d), 0);
        assert_int_equal(d->n_taken, d->n_received);
}

static int host_dial(struct driver *d, const char *line)
{
        int fd = fd_unix_connect_now(d->uds);

        assert_true(fd >= 0);
        if (*line)
                assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
        return fd;
}

/* What is there, as text; "EOF" at the end, "RESET" when the other side had not read all (unix(7)), "" for nothing yet. */
static const char *host_read(struct driver *d, int fd)
{
        static char text[512];
        ssize_t n;

        assert_int_equal(driver_run(d), 0);
        n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
        if (n == 0)
                return "EOF";
        if (n < 0 && errno == ECONNRESET)
                return "RESET";
        text[n < 0 ? 0 : n] = '\0';
        return text;
}

static int host_listen(struct driver *d, uint32_t port, char *path, size_t n)
{
        int fd;

        (void) snprintf(path, n, "%s_%u", d->uds, port);
        fd = fd_unix_listen(path, 0600, 4);
        assert_true(fd >= 0);
        return fd;
}

/* A host connection to guest port 5, accepted; *ret_host_port is its other name. */
static int host_connected(struct driver *d, uint32_t *ret_host_port)
{
        int fd = host_dial(d, "CONNECT 5\n");
        char want[32];

        *ret_host_port = guest_expect(d, VIRTIO_VSOCK_OP_REQUEST)->header.src_port;
        guest_send(d, VIRTIO_VSOCK_OP_RESPONSE, 5, *ret_host_port, NULL, 0);
        (void) snprintf(want, sizeof(want), "OK %u\n", *ret_host_port);
        assert_string_equal(host_read(d, fd), want);
        return fd;
}

/* What QEMU says on `stop` and at the beginning of a reset. */
static void driver_stop(struct driver *d, uint32_t ret_base[2])
{
        rings_enable(d, 0);
        for (uint32_t i = 0; i < 2; i++) {
                uint32_t state[2] = { i, 0 };

                message_state(d, 11, i, 0);
                assert_int_equal(message_answer(d, 11, state, sizeof(state)), sizeof(state));
                ret_base[i] = state[1];
        }
}

static void driver_cont(struct driver *d, const uint32_t base[2])
{
        message_u64(d, 2, FEATURES, -1);
        assert_int_equal(message_memory(d), 0);
        for (uint32_t i = 0; i < 2; i++)
                ring_set_up(d, i, base[i]);
        rings_enable(d, 1);
}

#pragma GCC diagnostic pop
