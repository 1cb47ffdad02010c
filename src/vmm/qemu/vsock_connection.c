#include "vmm/qemu/vsock_connection.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/text.h"

/* In the order in which they are sent. */
enum pending {
        PENDING_RST = 1 << 0,
        PENDING_RESPONSE = 1 << 1,
        PENDING_REQUEST = 1 << 2,
        PENDING_RW = 1 << 3, /* the host's socket may have data, or its end */
        PENDING_CREDIT_UPDATE = 1 << 4,
};

#define SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)
/* The guest is told of room when what it believes to be free is less than this. */
#define CREDIT_THRESHOLD 4096
/* As many parts as readv(2) and sendmsg(2) take. Arrays of them are 16 KiB: not zeroed for every packet. */
#define PARTS_MAX 1024

struct vsock_connection *vsock_connection_new(int owned_fd, uint64_t guest_cid, enum vsock_state state)
{
        struct vsock_connection *connection = xcalloc(1, sizeof(*connection));

        assert(state == VSOCK_HANDSHAKE || state == VSOCK_PEER_INIT);
        connection->state = state;
        connection->fd = owned_fd;
        connection->guest_cid = guest_cid;
        if (state == VSOCK_HANDSHAKE)
                connection->deadline_ms = clock_monotonic_ms() + VSOCK_TIMEOUT_MS;
        else
                connection->pending = PENDING_RESPONSE;
        return connection;
}

static void drop_buffer(struct vsock_connection *connection)
{
        free(take_ptr(connection->buffer));
        connection->buffer_start = 0;
        connection->n_buffer = 0;
}

static void drop_fd(struct vsock_connection *connection)
{
        scoped_close int fd = take_fd(&connection->fd);

        (void) fd;
}

void vsock_connection_free(struct vsock_connection *connection)
{
        if (!connection)
                return;
        drop_buffer(connection);
        drop_fd(connection);
        free(connection);
}

/* The host sees its end now, the guest with the RST that is due. */
static void kill_connection(struct vsock_connection *connection)
{
        connection->state = VSOCK_KILLED;
        connection->pending = PENDING_RST;
        connection->deadline_ms = 0;
        drop_buffer(connection);
        drop_fd(connection);
}

static void finish(struct vsock_connection *connection)
{
        connection->state = VSOCK_DEAD;
        connection->pending = 0;
        connection->deadline_ms = 0;
        drop_fd(connection);
}

void vsock_connection_request(struct vsock_connection *connection)
{
        assert(connection->state == VSOCK_HANDSHAKE);
        connection->state = VSOCK_LOCAL_INIT;
        connection->pending = PENDING_REQUEST;
        connection->deadline_ms = clock_monotonic_ms() + VSOCK_TIMEOUT_MS;
}

void vsock_connection_expire(struct vsock_connection *connection)
{
        if (connection->state == VSOCK_HANDSHAKE)
                finish(connection); /* the guest never heard of it */
        else
                kill_connection(connection);
}

static uint32_t peer_credit(const struct vsock_connection *connection)
{
        uint32_t in_flight = connection->rx_cnt - connection->peer_fwd_cnt;

        return in_flight < connection->peer_buf_alloc ? connection->peer_buf_alloc - in_flight : 0;
}

static bool may_send(const struct vsock_connection *connection)
{
        return connection->state == VSOCK_ESTABLISHED ||
               (connection->state == VSOCK_PEER_CLOSED &&
                !(connection->peer_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV));
}

static bool may_receive(const struct vsock_connection *connection)
{
        return connection->state == VSOCK_ESTABLISHED ||
               (connection->state == VSOCK_PEER_CLOSED &&
                !(connection->peer_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND));
}

static void count_forwarded(struct vsock_connection *connection, size_t n)
{
        connection->fwd_cnt += (uint32_t) n;
        if (VSOCK_BUFFER_SIZE - (connection->fwd_cnt - connection->told_fwd_cnt) < CREDIT_THRESHOLD)
                connection->pending |= PENDING_CREDIT_UPDATE;
}

/* Bytes the host took; 0 when it takes none now; -1 when it never will. */
static ssize_t send_to_host(const struct vsock_connection *connection, struct iovec *parts, size_t n)
{
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = n };
        ssize_t sent;

        do
                sent = sendmsg(connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent >= 0)
                return sent;
        return errno == EAGAIN || errno == ENOBUFS ? 0 : -1;
}

/* The guest broke its credit when it does not fit. */
static bool buffer_append(struct vsock_connection *connection, const struct iovec *parts, size_t n_parts)
{
        if (!connection->buffer)
                connection->buffer = xmalloc(VSOCK_BUFFER_SIZE);
        for (size_t i = 0; i < n_parts; i++) {
                const uint8_t *from = parts[i].iov_base;
                size_t left = parts[i].iov_len;

                if (left > VSOCK_BUFFER_SIZE - connection->n_buffer)
                        return false;
                while (left > 0) {
                        size_t at = (connection->buffer_start + connection->n_buffer) % VSOCK_BUFFER_SIZE;
                        size_t n = VSOCK_BUFFER_SIZE - at < left ? VSOCK_BUFFER_SIZE - at : left;

                        memcpy(connection->buffer + at, from, n);
                        connection->n_buffer += n;
                        from += n;
                        left -= n;
                }
        }
        return true;
}

static void deliver(struct vsock_connection *connection, const struct virtio_vsock_hdr *header,
                    struct iovec *data, size_t n_data)
{
        __attribute__((uninitialized)) struct iovec rest[PARTS_MAX];
        size_t n_rest;
        ssize_t sent = 0;

        if (header->len == 0)
                return;
        if (connection->n_buffer == 0)
                sent = send_to_host(connection, data, n_data);
        if (sent < 0) {
                kill_connection(connection);
                return;
        }
        count_forwarded(connection, (size_t) sent);
        if ((size_t) sent == header->len)
                return;
        n_rest =
                vsock_packet_slice(data, n_data, (size_t) sent, header->len - (size_t) sent, rest, PARTS_MAX);
        if (!buffer_append(connection, rest, n_rest))
                kill_connection(connection);
}

/* Both halves closed: the connection ends with an RST as soon as the host has all data, or in 2 s. */
static void peer_shutdown(struct vsock_connection *connection, uint32_t flags)
{
        connection->state = VSOCK_PEER_CLOSED;
        connection->peer_shutdown |= flags & SHUTDOWN_BOTH;
        if (connection->peer_shutdown != SHUTDOWN_BOTH)
                return;
        if (connection->n_buffer == 0)
                kill_connection(connection);
        else if (connection->deadline_ms == 0)
                connection->deadline_ms = clock_monotonic_ms() + VSOCK_TIMEOUT_MS;
}

/* "OK <host port>", raw and uncounted; then whatever the host sent behind its CONNECT line. */
static void establish(struct vsock_connection *connection)
{
        char line[24];
        int n = snprintf(line, sizeof(line), "OK %u\n", connection->local_port);
        struct iovec part = { line, (size_t) n };

        connection->state = VSOCK_ESTABLISHED;
        connection->deadline_ms = 0;
        connection->pending |= PENDING_RW;
        if (send_to_host(connection, &part, 1) != n)
                kill_connection(connection);
}

void vsock_connection_receive(struct vsock_connection *connection, const struct virtio_vsock_hdr *header,
                              struct iovec *data, size_t n_data)
{
        connection->peer_buf_alloc = header->buf_alloc;
        connection->peer_fwd_cnt = header->fwd_cnt;
        if (connection->has_asked_credit && peer_credit(connection) > 0) {
                connection->has_asked_credit = false;
                if (may_send(connection))
                        connection->pending |= PENDING_RW;
        }
        switch (header->op) {
        case VIRTIO_VSOCK_OP_RST:
                finish(connection);
                break;
        case VIRTIO_VSOCK_OP_RESPONSE:
                if (connection->state == VSOCK_LOCAL_INIT)
                        establish(connection);
                break;
        case VIRTIO_VSOCK_OP_RW:
                if (may_receive(connection))
                        deliver(connection, header, data, n_data);
                break;
        case VIRTIO_VSOCK_OP_SHUTDOWN:
                if (connection->state == VSOCK_ESTABLISHED || connection->state == VSOCK_PEER_CLOSED)
                        peer_shutdown(connection, header->flags);
                break;
        case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
                if (connection->state != VSOCK_KILLED)
                        connection->pending |= PENDING_CREDIT_UPDATE;
                break;
        default: /* wrong for this state, or nothing but the credit above: dropped */
                break;
        }
}

static void flush(struct vsock_connection *connection)
{
        while (connection->n_buffer > 0) {
                size_t to_end = VSOCK_BUFFER_SIZE - connection->buffer_start;
                struct iovec part = { connection->buffer + connection->buffer_start,
                                      connection->n_buffer < to_end ? connection->n_buffer : to_end };
                ssize_t sent = send_to_host(connection, &part, 1);

                if (sent < 0)
                        kill_connection(connection);
                if (sent <= 0)
                        return;
                connection->buffer_start = (connection->buffer_start + (size_t) sent) % VSOCK_BUFFER_SIZE;
                connection->n_buffer -= (size_t) sent;
                count_forwarded(connection, (size_t) sent);
        }
        drop_buffer(connection);
        if (connection->state == VSOCK_PEER_CLOSED && connection->peer_shutdown == SHUTDOWN_BOTH)
                kill_connection(connection);
}

void vsock_connection_notify(struct vsock_connection *connection, uint32_t events)
{
        if ((events & EPOLLOUT) && connection->n_buffer > 0)
                flush(connection);
        if (connection->state == VSOCK_KILLED)
                return;
        if (may_send(connection) && !connection->has_asked_credit)
                connection->pending |= PENDING_RW;
        else if (connection->state == VSOCK_PEER_CLOSED && (events & EPOLLHUP))
                kill_connection(
                        connection); /* nobody reads this socket any more, so nobody would learn it from there */
}

static void store(struct vsock_connection *connection, struct vsock_slot *slot, uint16_t op, uint32_t flags,
                  uint32_t n_data)
{
        struct virtio_vsock_hdr header = {
                .src_cid = VSOCK_CID_HOST,
                .dst_cid = connection->guest_cid,
                .src_port = connection->local_port,
                .dst_port = connection->peer_port,
                .len = n_data,
                .type = VIRTIO_VSOCK_TYPE_STREAM,
                .op = op,
                .flags = flags,
                .buf_alloc = VSOCK_BUFFER_SIZE,
                .fwd_cnt = connection->fwd_cnt,
        };

        connection->told_fwd_cnt = connection->fwd_cnt;
        connection->pending &= ~(uint32_t) PENDING_CREDIT_UPDATE; /* every packet is one */
        vsock_packet_store(slot, &header);
}

/* Data goes straight from the host's socket into as many of the guest's buffers as it fills. */
static ssize_t read_from_host(const struct vsock_connection *connection, const struct vsock_slot *slots,
                              size_t n_slots, size_t credit)
{
        __attribute__((uninitialized)) struct iovec parts[PARTS_MAX];
        size_t n_parts = 0;
        ssize_t n;

        for (size_t i = 0; i < n_slots && credit > 0; i++) {
                size_t room = slots[i].capacity - VSOCK_HEADER_SIZE;

                if (room > VSOCK_DATA_MAX)
                        room = VSOCK_DATA_MAX;
                if (room > credit)
                        room = credit;
                n_parts += vsock_packet_slice(slots[i].parts, slots[i].n_parts, VSOCK_HEADER_SIZE, room,
                                              parts + n_parts, PARTS_MAX - n_parts);
                credit -= room;
        }
        do
                n = readv(connection->fd, parts, (int) n_parts);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

static size_t fill_data(struct vsock_connection *connection, struct vsock_slot *slots, size_t n_slots)
{
        size_t used = 0;
        ssize_t n = read_from_host(connection, slots, n_slots, peer_credit(connection));

        if (n <= 0)
                connection->pending &= ~(uint32_t) PENDING_RW;
        if (n == -EAGAIN)
                return 0;
        if (n < 0) {
                kill_connection(connection);
                return 0;
        }
        if (n == 0) { /* close(2) and shutdown(2) look alike: both halves go, as with Firecracker */
                connection->state = VSOCK_LOCAL_CLOSED;
                connection->deadline_ms = clock_monotonic_ms() + VSOCK_TIMEOUT_MS;
                store(connection, &slots[0], VIRTIO_VSOCK_OP_SHUTDOWN, SHUTDOWN_BOTH, 0);
                return 1;
        }
        connection->rx_cnt += (uint32_t) n;
        for (size_t left = (size_t) n; left > 0; used++) {
                size_t room = slots[used].capacity - VSOCK_HEADER_SIZE;
                size_t here = room < VSOCK_DATA_MAX ? room : VSOCK_DATA_MAX;

                if (here > left)
                        here = left;
                store(connection, &slots[used], VIRTIO_VSOCK_OP_RW, 0, (uint32_t) here);
                left -= here;
        }
        return used;
}

/* Takes the most urgent packet off the list; PENDING_RW stays until the socket is empty. */
static uint32_t take_pending(struct vsock_connection *connection)
{
        uint32_t first = connection->pending & -connection->pending;

        if (first == PENDING_RW && !may_send(connection)) {
                connection->pending &= ~first;
                return take_pending(connection);
        }
        if (first != PENDING_RW)
                connection->pending &= ~first;
        return first;
}

static size_t fill_stream(struct vsock_connection *connection, struct vsock_slot *slots, size_t n)
{
        size_t used;

        if (peer_credit(connection) > 0) {
                used = fill_data(connection, slots, n);
                return used > 0 || connection->pending == 0 ? used
                                                            : vsock_connection_fill(connection, slots, n);
        }
        connection->pending &= ~(uint32_t) PENDING_RW;
        connection->has_asked_credit = true;
        store(connection, &slots[0], VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, 0);
        return 1;
}

size_t vsock_connection_fill(struct vsock_connection *connection, struct vsock_slot *slots, size_t n)
{
        switch (take_pending(connection)) {
        case PENDING_RST:
                store(connection, &slots[0], VIRTIO_VSOCK_OP_RST, 0, 0);
                finish(connection);
                return 1;
        case PENDING_RESPONSE:
                connection->state = VSOCK_ESTABLISHED;
                connection->pending |= PENDING_RW;
                store(connection, &slots[0], VIRTIO_VSOCK_OP_RESPONSE, 0, 0);
                return 1;
        case PENDING_REQUEST:
                connection->deadline_ms = clock_monotonic_ms() + VSOCK_TIMEOUT_MS;
                store(connection, &slots[0], VIRTIO_VSOCK_OP_REQUEST, 0, 0);
                return 1;
        case PENDING_RW:
                return fill_stream(connection, slots, n);
        case PENDING_CREDIT_UPDATE:
                store(connection, &slots[0], VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
                return 1;
        default:
                return 0;
        }
}
