/*
 * After everything that touches a connection, settle() brings the mux in line with the connection's wishes: the turn it
 * waits for, its deadline, the events asked of epoll, its removal. Host sockets are watched edge-triggered, so that one
 * that the guest has no room for costs nothing while it waits.
 *
 * All time limits are equal, so the list of deadlines is in order by itself and one timer serves its head.
 */
#include "vmm/qemu/vsock_mux.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "vmm/qemu/vsock_connection.h"

#define N_BUCKETS       256
#define N_RESETS        1024 /* RSTs for packets of no connection; what a flood makes beyond is dropped */
#define EVENTS_PER_RUN  64
#define ACCEPTS_PER_RUN 32
#define LISTEN_BACKLOG  128
/* As many parts as readv(2) and sendmsg(2) take. Arrays of them are 16 KiB: not zeroed for every packet. */
#define PARTS_MAX 1024

TAILQ_HEAD(connection_queue, vsock_connection);
LIST_HEAD(connection_list, vsock_connection);

struct reset {
        uint32_t local_port, peer_port;
};

struct vsock_mux {
        char *uds_path; /* owned */
        uint64_t guest_cid;
        int epoll, listener, timer; /* owned */
        bool is_listening;          /* the listener is in the epoll set */
        size_t n_connections;
        uint32_t next_port;
        struct connection_list buckets[N_BUCKETS]; /* those the guest knows, by ports */
        struct connection_queue ready;             /* waiting for their turn to fill a slot */
        struct connection_queue deadlines;         /* every connection with one, earliest first */
        struct connection_list unnamed;            /* the others: before their CONNECT line */
        struct reset resets[N_RESETS];             /* a ring */
        size_t first_reset, n_resets;
};

static int watch(int epoll, int operation, int fd, uint32_t events, void *whom)
{
        struct epoll_event event = { .events = events, .data.ptr = whom };

        return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

static int open_descriptors(struct vsock_mux *mux)
{
        int r = fd_set_nonblocking(mux->listener, true);

        if (r < 0)
                return r;
        mux->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (mux->epoll < 0)
                return -errno;
        mux->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (mux->timer < 0)
                return -errno;
        r = watch(mux->epoll, EPOLL_CTL_ADD, mux->timer, EPOLLIN, &mux->timer);
        if (r < 0)
                return r;
        mux->is_listening = true;
        return watch(mux->epoll, EPOLL_CTL_ADD, mux->listener, EPOLLIN, &mux->listener);
}

int vsock_mux_new(const char *uds_path, uint64_t guest_cid, struct vsock_mux **ret_mux, struct err *err)
{
        scoped(vsock_mux_free) struct vsock_mux *mux = xcalloc(1, sizeof(*mux));
        int r;

        TAILQ_INIT(&mux->ready);
        TAILQ_INIT(&mux->deadlines);
        LIST_INIT(&mux->unnamed);
        for (size_t i = 0; i < N_BUCKETS; i++)
                LIST_INIT(&mux->buckets[i]);
        mux->uds_path = xstrdup(uds_path);
        mux->guest_cid = guest_cid;
        mux->next_port = VSOCK_FIRST_PORT;
        mux->epoll = FD_NONE;
        mux->timer = FD_NONE;
        mux->listener = fd_unix_listen(uds_path, 0600, LISTEN_BACKLOG);
        if (mux->listener < 0)
                return err_set(err, -mux->listener, "vsock.listen",
                               "cannot bind to the host-side Unix socket '%s': %s", uds_path,
                               strerror(-mux->listener));
        r = open_descriptors(mux);
        if (r < 0)
                return err_set(err, -r, "vsock.listen", "cannot watch the vsock socket '%s': %s", uds_path,
                               strerror(-r));
        *ret_mux = take_ptr(mux);
        return 0;
}

void vsock_mux_free(struct vsock_mux *mux)
{
        if (!mux)
                return;
        vsock_mux_drop_all(mux);
        {
                scoped_close int epoll = mux->epoll, listener = mux->listener, timer = mux->timer;

                (void) epoll;
                (void) listener;
                (void) timer;
        }
        free(mux->uds_path);
        free(mux);
}

int vsock_mux_fd(const struct vsock_mux *mux)
{
        return mux->epoll;
}

size_t vsock_mux_count(const struct vsock_mux *mux)
{
        return mux->n_connections;
}

bool vsock_mux_is_ready(const struct vsock_mux *mux)
{
        return mux->n_resets > 0 || !TAILQ_EMPTY(&mux->ready);
}

static struct connection_list *bucket_of(struct vsock_mux *mux, uint32_t local_port, uint32_t peer_port)
{
        return &mux->buckets[(local_port * 31 + peer_port) % N_BUCKETS];
}

static struct vsock_connection *find(struct vsock_mux *mux, uint32_t local_port, uint32_t peer_port)
{
        struct vsock_connection *connection;

        LIST_FOREACH(connection, bucket_of(mux, local_port, peer_port), hash_link)
        if (connection->local_port == local_port && connection->peer_port == peer_port)
                return connection;
        return NULL;
}

static void set_timer(struct vsock_mux *mux)
{
        const struct vsock_connection *first = TAILQ_FIRST(&mux->deadlines);
        struct itimerspec when = { 0 };

        if (first) {
                when.it_value.tv_sec = (time_t) (first->armed_ms / 1000);
                when.it_value.tv_nsec = (long) (first->armed_ms % 1000) * 1000000;
        }
        (void) timerfd_settime(mux->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* The timer is set when the list gets its first entry; a head that goes early only makes it come for nothing, once. */
static void settle_deadline(struct vsock_mux *mux, struct vsock_connection *connection)
{
        bool was_empty = TAILQ_EMPTY(&mux->deadlines);

        if (connection->deadline_ms == connection->armed_ms)
                return;
        if (connection->armed_ms != 0)
                TAILQ_REMOVE(&mux->deadlines, connection, deadline_link);
        connection->armed_ms = connection->deadline_ms;
        if (connection->armed_ms == 0)
                return;
        TAILQ_INSERT_TAIL(&mux->deadlines, connection, deadline_link);
        if (was_empty)
                set_timer(mux);
}

/* Accepting goes on when it had to stop for want of descriptors. */
static void resume_listening(struct vsock_mux *mux)
{
        if (!mux->is_listening)
                mux->is_listening =
                        watch(mux->epoll, EPOLL_CTL_ADD, mux->listener, EPOLLIN, &mux->listener) == 0;
}

static void remove_connection(struct vsock_mux *mux, struct vsock_connection *connection)
{
        connection->deadline_ms = 0;
        settle_deadline(mux, connection);
        if (connection->is_ready)
                TAILQ_REMOVE(&mux->ready, connection, ready_link);
        LIST_REMOVE(connection, hash_link);
        vsock_connection_free(connection);
        mux->n_connections--;
        resume_listening(mux);
}

/* The connection may be gone afterwards. */
static void settle(struct vsock_mux *mux, struct vsock_connection *connection)
{
        bool waits_to_write = connection->n_buffer > 0;

        if (connection->state == VSOCK_DEAD) {
                remove_connection(mux, connection);
                return;
        }
        settle_deadline(mux, connection);
        if (connection->pending != 0 && !connection->is_ready) {
                TAILQ_INSERT_TAIL(&mux->ready, connection, ready_link);
                connection->is_ready = true;
        }
        if (connection->fd >= 0 && waits_to_write != connection->waits_to_write) {
                connection->waits_to_write = waits_to_write;
                (void) watch(mux->epoll, EPOLL_CTL_MOD, connection->fd,
                             EPOLLIN | EPOLLRDHUP | EPOLLET | (waits_to_write ? EPOLLOUT : 0U), connection);
        }
}

/* Takes in a connected socket; NULL (and the socket closed) when epoll will not have it. */
static struct vsock_connection *add_connection(struct vsock_mux *mux, int owned_fd, enum vsock_state state)
{
        struct vsock_connection *connection = vsock_connection_new(owned_fd, mux->guest_cid, state);

        if (watch(mux->epoll, EPOLL_CTL_ADD, owned_fd, EPOLLIN | EPOLLRDHUP | EPOLLET, connection) < 0) {
                vsock_connection_free(connection);
                return NULL;
        }
        mux->n_connections++;
        return connection;
}

static void accept_some(struct vsock_mux *mux)
{
        for (int i = 0; i < ACCEPTS_PER_RUN; i++) {
                struct vsock_connection *connection;
                int fd = accept4(mux->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
                        (void) watch(mux->epoll, EPOLL_CTL_DEL, mux->listener, 0, NULL);
                        mux->is_listening = false;
                        return;
                }
                if (fd < 0)
                        return;
                if (mux->n_connections >= VSOCK_CONNECTIONS_MAX) {
                        (void) close(fd);
                        continue;
                }
                connection = add_connection(mux, fd, VSOCK_HANDSHAKE);
                if (!connection)
                        continue;
                LIST_INSERT_HEAD(&mux->unnamed, connection, hash_link);
                settle(mux, connection);
        }
}

int vsock_mux_parse_line(const char *line, size_t n, uint32_t *ret_port)
{
        static const char blanks[] = " \t\v\f\r\n";
        char copy[VSOCK_LINE_MAX + 1] = { 0 };
        char *rest = NULL;
        const char *word;
        uint64_t port;

        if (n > VSOCK_LINE_MAX)
                return -EINVAL;
        memcpy(copy, line, n);
        word = strtok_r(copy, blanks, &rest);
        if (!word || strcasecmp(word, "connect") != 0)
                return -EINVAL;
        word = strtok_r(NULL, blanks, &rest);
        if (!word || text_parse_u64(word, UINT32_MAX, &port) < 0)
                return -EINVAL;
        *ret_port = (uint32_t) port;
        return 0;
}

/* One is free: there are fewer connections than ports. */
static uint32_t take_port(struct vsock_mux *mux, uint32_t peer_port)
{
        uint32_t port;

        do {
                port = mux->next_port;
                mux->next_port = port + 1 < 2 * VSOCK_FIRST_PORT ? port + 1 : VSOCK_FIRST_PORT;
        } while (find(mux, port, peer_port));
        return port;
}

/*
 * The line is looked at where it is, in the socket, until it is whole: it may come in pieces (Firecracker closes then),
 * and what follows it is the guest's. False when it never will be one.
 */
static bool read_line(struct vsock_connection *connection, uint32_t events, bool *ret_done)
{
        char line[VSOCK_LINE_MAX];
        ssize_t n = recv(connection->fd, line, sizeof(line), MSG_PEEK | MSG_DONTWAIT);
        const char *end = n > 0 ? memchr(line, '\n', (size_t) n) : NULL;
        size_t length;

        *ret_done = false;
        if (!end)
                return (n > 0 && n < VSOCK_LINE_MAX && !(events & (EPOLLRDHUP | EPOLLHUP))) ||
                       (n < 0 && (errno == EAGAIN || errno == EINTR));
        length = (size_t) (end - line) + 1;
        if (vsock_mux_parse_line(line, length, &connection->peer_port) < 0)
                return false;
        *ret_done = true;
        return recv(connection->fd, line, length, MSG_DONTWAIT) == (ssize_t) length;
}

static void shake_hands(struct vsock_mux *mux, struct vsock_connection *connection, uint32_t events)
{
        bool is_done;

        if (!read_line(connection, events, &is_done)) {
                vsock_connection_expire(connection);
                return;
        }
        if (!is_done)
                return;
        connection->local_port = take_port(mux, connection->peer_port);
        LIST_REMOVE(connection, hash_link);
        LIST_INSERT_HEAD(bucket_of(mux, connection->local_port, connection->peer_port), connection,
                         hash_link);
        vsock_connection_request(connection);
}

static void expire_some(struct vsock_mux *mux)
{
        uint64_t now = clock_monotonic_ms();
        struct vsock_connection *connection;
        uint64_t n_expirations;

        (void) !read(mux->timer, &n_expirations, sizeof(n_expirations));
        while ((connection = TAILQ_FIRST(&mux->deadlines)) && connection->armed_ms <= now) {
                vsock_connection_expire(connection);
                settle(mux, connection);
        }
        set_timer(mux);
}

void vsock_mux_run(struct vsock_mux *mux)
{
        struct epoll_event events[EVENTS_PER_RUN];
        int n = epoll_wait(mux->epoll, events, EVENTS_PER_RUN, 0);
        bool has_expired = false;

        for (int i = 0; i < n; i++) {
                void *whom = events[i].data.ptr;

                if (whom == &mux->listener) {
                        accept_some(mux);
                } else if (whom == &mux->timer) {
                        has_expired = true; /* last: it may free connections that later events are for */
                } else {
                        struct vsock_connection *connection = whom;

                        if (connection->state == VSOCK_HANDSHAKE)
                                shake_hands(mux, connection, events[i].events);
                        else
                                vsock_connection_notify(connection, events[i].events);
                        settle(mux, connection);
                }
        }
        if (has_expired)
                expire_some(mux);
}

static void answer_reset(struct vsock_mux *mux, const struct virtio_vsock_hdr *header)
{
        if (mux->n_resets == N_RESETS)
                return;
        mux->resets[(mux->first_reset + mux->n_resets++) % N_RESETS] =
                (struct reset){ .local_port = header->dst_port, .peer_port = header->src_port };
}

/* The guest connects to <uds_path>_<port>. Not waiting: a listener with a full backlog refuses. */
static void connect_to_host(struct vsock_mux *mux, const struct virtio_vsock_hdr *header)
{
        scoped_free char *path = NULL;
        struct vsock_connection *connection;
        int fd;

        if (mux->n_connections >= VSOCK_CONNECTIONS_MAX) {
                answer_reset(mux, header);
                return;
        }
        path = xasprintf("%s_%u", mux->uds_path, header->dst_port);
        fd = fd_unix_connect_now(path);
        connection = fd >= 0 ? add_connection(mux, fd, VSOCK_PEER_INIT) : NULL;
        if (!connection) {
                answer_reset(mux, header);
                return;
        }
        connection->local_port = header->dst_port;
        connection->peer_port = header->src_port;
        connection->peer_buf_alloc = header->buf_alloc;
        connection->peer_fwd_cnt = header->fwd_cnt;
        LIST_INSERT_HEAD(bucket_of(mux, connection->local_port, connection->peer_port), connection,
                         hash_link);
        settle(mux, connection);
}

void vsock_mux_receive(struct vsock_mux *mux, const struct iovec *parts, size_t n_parts, size_t length)
{
        __attribute__((uninitialized)) struct iovec data[PARTS_MAX];
        struct virtio_vsock_hdr header;
        struct vsock_connection *connection;
        size_t n_data;

        if (length < VSOCK_HEADER_SIZE)
                return;
        vsock_packet_load(parts, n_parts, &header);
        if (header.dst_cid != VSOCK_CID_HOST || header.len > VSOCK_DATA_MAX ||
            header.len > length - VSOCK_HEADER_SIZE)
                return;
        if (header.type != VIRTIO_VSOCK_TYPE_STREAM) {
                answer_reset(mux, &header);
                return;
        }
        connection = find(mux, header.dst_port, header.src_port);
        if (!connection) {
                if (header.op == VIRTIO_VSOCK_OP_REQUEST)
                        connect_to_host(mux, &header);
                else
                        answer_reset(mux, &header);
                return;
        }
        n_data = vsock_packet_slice(parts, n_parts, VSOCK_HEADER_SIZE, header.len, data, PARTS_MAX);
        vsock_connection_receive(connection, &header, data, n_data);
        settle(mux, connection);
}

static void fill_reset(struct vsock_mux *mux, struct vsock_slot *slot)
{
        const struct reset *reset = &mux->resets[mux->first_reset];
        struct virtio_vsock_hdr header = {
                .src_cid = VSOCK_CID_HOST,
                .dst_cid = mux->guest_cid,
                .src_port = reset->local_port,
                .dst_port = reset->peer_port,
                .type = VIRTIO_VSOCK_TYPE_STREAM,
                .op = VIRTIO_VSOCK_OP_RST,
        };

        mux->first_reset = (mux->first_reset + 1) % N_RESETS;
        mux->n_resets--;
        vsock_packet_store(slot, &header);
}

size_t vsock_mux_fill(struct vsock_mux *mux, struct vsock_slot *slots, size_t n)
{
        struct vsock_connection *connection;
        size_t used = 0;

        while (used < n && mux->n_resets > 0)
                fill_reset(mux, &slots[used++]);
        while (used < n && (connection = TAILQ_FIRST(&mux->ready))) {
                TAILQ_REMOVE(&mux->ready, connection, ready_link);
                connection->is_ready = false;
                used += vsock_connection_fill(connection, slots + used, n - used);
                settle(mux, connection);
        }
        return used;
}

static void drop_list(struct vsock_mux *mux, struct connection_list *list)
{
        while (!LIST_EMPTY(list))
                remove_connection(mux, LIST_FIRST(list));
}

void vsock_mux_drop_all(struct vsock_mux *mux)
{
        for (size_t i = 0; i < N_BUCKETS; i++)
                drop_list(mux, &mux->buckets[i]);
        drop_list(mux, &mux->unnamed);
        mux->n_resets = 0;
}
