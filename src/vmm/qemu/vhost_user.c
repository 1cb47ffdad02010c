/*
 * Requests are a table: what size, how many descriptors, which function.
 *
 * A ring runs when it has a kick descriptor and is enabled. `stop` of the monitor and a reset of the machine look alike
 * at first: ENABLE 0, GET_VRING_BASE. Both are followed by setting everything again; only then does it show, by the
 * ring not standing where it was left, that the driver is another one.
 */
#include "vmm/qemu/vhost_user.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/scoped.h"
#include "base/text.h"
#include "vmm/qemu/vhost_message.h"

/* QEMU docs/interop/vhost-user.rst, "A vring descriptor index". */
#define RING_INDEX_MASK 0xffU
#define RING_NO_FD      0x100U

#define F_PROTOCOL_FEATURES  (UINT64_C(1) << 30)
#define PROTOCOL_F_MQ        (UINT64_C(1) << 0)
#define PROTOCOL_F_REPLY_ACK (UINT64_C(1) << 3)
#define PROTOCOL_F_CONFIG    (UINT64_C(1) << 9)

#define OUR_FEATURES \
        ((UINT64_C(1) << VIRTIO_F_VERSION_1) | (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX) | F_PROTOCOL_FEATURES)
#define OUR_PROTOCOL_FEATURES (PROTOCOL_F_MQ | PROTOCOL_F_REPLY_ACK | PROTOCOL_F_CONFIG)

/* Messages taken in one run, so that a flood leaves time to others. */
#define MESSAGES_PER_RUN 64

enum request {
        GET_FEATURES = 1,
        SET_FEATURES = 2,
        SET_OWNER = 3,
        RESET_OWNER = 4,
        SET_MEM_TABLE = 5,
        SET_VRING_NUM = 8,
        SET_VRING_ADDR = 9,
        SET_VRING_BASE = 10,
        GET_VRING_BASE = 11,
        SET_VRING_KICK = 12,
        SET_VRING_CALL = 13,
        SET_VRING_ERR = 14,
        GET_PROTOCOL_FEATURES = 15,
        SET_PROTOCOL_FEATURES = 16,
        GET_QUEUE_NUM = 17,
        SET_VRING_ENABLE = 18,
        GET_CONFIG = 24,
        SET_CONFIG = 25,
        N_REQUESTS
};

/* Where a ring was when it stopped. */
struct ring_mark {
        bool is_set;
        uint16_t last_avail;
        uint32_t num;
        uint64_t features;
        struct vhost_ring_addresses addresses;
};

struct vhost_user {
        int fd;    /* owned */
        int epoll; /* owned */
        struct vhost_message message;
        uint64_t features;
        uint64_t protocol_features;
        struct vhost_memory memory;
        struct vhost_ring rings[VHOST_USER_RINGS];
        struct ring_mark marks[VHOST_USER_RINGS];
        bool was_reset;
        uint8_t config[VHOST_CONFIG_MAX];
        size_t n_config;
};

int vhost_user_new(int owned_fd, const void *config, size_t n_config, struct vhost_user **ret_user)
{
        struct epoll_event event = { .events = EPOLLIN, .data.fd = owned_fd };
        scoped(vhost_user_free) struct vhost_user *user = xcalloc(1, sizeof(*user));
        int r;

        assert(n_config <= sizeof(user->config));
        user->fd = owned_fd;
        memcpy(user->config, config, n_config);
        user->n_config = n_config;
        for (size_t i = 0; i < VHOST_USER_RINGS; i++)
                vhost_ring_init(&user->rings[i]);
        user->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (user->epoll < 0)
                return -errno;
        r = fd_set_nonblocking(owned_fd, true);
        if (r < 0)
                return r;
        if (epoll_ctl(user->epoll, EPOLL_CTL_ADD, owned_fd, &event) < 0)
                return -errno;
        *ret_user = take_ptr(user);
        return 0;
}

void vhost_user_free(struct vhost_user *user)
{
        if (!user)
                return;
        vhost_message_done(&user->message);
        for (size_t i = 0; i < VHOST_USER_RINGS; i++)
                vhost_ring_done(&user->rings[i]);
        vhost_memory_done(&user->memory);
        if (user->epoll >= 0)
                (void) close(user->epoll);
        (void) close(user->fd);
        free(user);
}

int vhost_user_fd(const struct vhost_user *user)
{
        return user->epoll;
}

bool vhost_user_is_running(const struct vhost_user *user)
{
        for (size_t i = 0; i < VHOST_USER_RINGS; i++)
                if (!user->rings[i].is_running)
                        return false;
        return true;
}

bool vhost_user_take_reset(struct vhost_user *user)
{
        bool was_reset = user->was_reset;

        user->was_reset = false;
        return was_reset;
}

struct vhost_ring *vhost_user_ring(struct vhost_user *user, unsigned index)
{
        assert(index < VHOST_USER_RINGS);
        return &user->rings[index];
}

const struct vhost_memory *vhost_user_memory(const struct vhost_user *user)
{
        return &user->memory;
}

static int reply(struct vhost_user *user, void *payload, uint32_t size)
{
        return vhost_message_reply(user->fd, &user->message, payload, size);
}

static int reply_u64(struct vhost_user *user, uint64_t value)
{
        return reply(user, &value, sizeof(value));
}

static struct vhost_ring *ring_at(struct vhost_user *user, uint32_t index)
{
        return index < VHOST_USER_RINGS ? &user->rings[index] : NULL;
}

static void stop_ring(struct vhost_user *user, size_t i)
{
        struct vhost_ring *ring = &user->rings[i];

        if (!ring->is_running)
                return;
        /* Explicitly: QEMU's copy of the descriptor would keep a closed one in the set. */
        (void) epoll_ctl(user->epoll, EPOLL_CTL_DEL, ring->kick_fd, NULL);
        vhost_ring_stop(ring);
        user->marks[i] =
                (struct ring_mark){ true, ring->last_avail, ring->num, user->features, ring->addresses };
}

/* The ring stands where it was left, under the same driver. */
static bool ring_continues(const struct vhost_user *user, size_t i)
{
        const struct vhost_ring *ring = &user->rings[i];
        const struct ring_mark *mark = &user->marks[i];

        return mark->is_set && mark->last_avail == ring->last_avail && mark->num == ring->num &&
               mark->features == user->features && mark->addresses.desc == ring->addresses.desc &&
               mark->addresses.used == ring->addresses.used && mark->addresses.avail == ring->addresses.avail;
}

static int start_ring(struct vhost_user *user, size_t i)
{
        struct vhost_ring *ring = &user->rings[i];
        struct epoll_event event = { .events = EPOLLIN, .data.fd = ring->kick_fd };
        int r;

        ring->has_event_idx = (user->features & (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)) != 0;
        r = vhost_ring_start(ring, &user->memory);
        if (r < 0)
                return r;
        if (epoll_ctl(user->epoll, EPOLL_CTL_ADD, ring->kick_fd, &event) < 0) {
                r = -errno;
                vhost_ring_stop(ring);
                return r;
        }
        if (!ring_continues(user, i))
                user->was_reset = true;
        return 0;
}

/* After whatever may have changed it: starts or stops the ring. */
static int settle_ring(struct vhost_user *user, size_t i)
{
        struct vhost_ring *ring = &user->rings[i];
        bool shall_run = ring->is_enabled && ring->kick_fd >= 0;

        if (!shall_run)
                stop_ring(user, i);
        else if (!ring->is_running)
                return start_ring(user, i);
        return 0;
}

static int get_features(struct vhost_user *user)
{
        return reply_u64(user, OUR_FEATURES);
}

static int set_features(struct vhost_user *user)
{
        if (user->message.payload.u64 & ~OUR_FEATURES)
                return -EINVAL;
        user->features = user->message.payload.u64;
        /* Without the feature there is no ENABLE: rings run from their kick on. */
        for (size_t i = 0; i < VHOST_USER_RINGS; i++)
                if (!(user->features & F_PROTOCOL_FEATURES))
                        user->rings[i].is_enabled = true;
        return 0;
}

static int set_owner(struct vhost_user *user)
{
        (void) user;
        return 0;
}

/* Deprecated; says only that the rings shall stop. */
static int reset_owner(struct vhost_user *user)
{
        for (size_t i = 0; i < VHOST_USER_RINGS; i++) {
                user->rings[i].is_enabled = false;
                stop_ring(user, i);
        }
        return 0;
}

/* Replaces all regions. Running rings go on in the new ones, or the table is refused and they stop. */
static int set_mem_table(struct vhost_user *user)
{
        const struct vhost_mem_table *table = &user->message.payload.table;
        bool was_running[VHOST_USER_RINGS];
        struct vhost_memory memory;
        int r;

        if (table->n == 0 || table->n > VHOST_MEMORY_REGIONS_MAX || table->n != user->message.n_fds ||
            user->message.header.size !=
                    offsetof(struct vhost_mem_table, regions) + table->n * sizeof(table->regions[0]))
                return -EPROTO;
        r = vhost_memory_map(table->regions, user->message.fds, table->n, &memory);
        if (r < 0)
                return r;
        for (size_t i = 0; i < VHOST_USER_RINGS; i++) {
                was_running[i] = user->rings[i].is_running;
                stop_ring(user, i);
        }
        vhost_memory_done(&user->memory);
        user->memory = memory;
        for (size_t i = 0; i < VHOST_USER_RINGS; i++) {
                r = was_running[i] ? settle_ring(user, i) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int set_vring_num(struct vhost_user *user)
{
        const struct vhost_vring_state *state = &user->message.payload.state;
        struct vhost_ring *ring = ring_at(user, state->index);

        if (!ring || ring->is_running || state->value == 0 || state->value > VHOST_RING_SIZE_MAX ||
            (state->value & (state->value - 1)) != 0)
                return -EINVAL;
        ring->num = state->value;
        return 0;
}

static int set_vring_addr(struct vhost_user *user)
{
        const struct vhost_vring_address *address = &user->message.payload.address;
        struct vhost_ring *ring = ring_at(user, address->index);

        /* flags: bit 0 asks for logging of dirty pages, which was not offered. */
        if (!ring || ring->is_running || address->flags != 0)
                return -EINVAL;
        ring->addresses = (struct vhost_ring_addresses){ address->desc, address->used, address->avail };
        ring->has_addresses = true;
        return 0;
}

static int set_vring_base(struct vhost_user *user)
{
        const struct vhost_vring_state *state = &user->message.payload.state;
        struct vhost_ring *ring = ring_at(user, state->index);

        if (!ring || ring->is_running || state->value > UINT16_MAX)
                return -EINVAL;
        ring->last_avail = (uint16_t) state->value;
        return 0;
}

/* Stops the ring until the next kick descriptor. */
static int get_vring_base(struct vhost_user *user)
{
        struct vhost_vring_state state = user->message.payload.state;
        struct vhost_ring *ring = ring_at(user, state.index);

        if (!ring)
                return -EPROTO; /* it waits for an answer and there is none */
        stop_ring(user, state.index);
        if (ring->kick_fd >= 0)
                (void) close(take_fd(&ring->kick_fd));
        state.value = ring->last_avail;
        return reply(user, &state, sizeof(state));
}

/*
 * Takes the message's descriptor, FD_NONE when it says there is none. Only an anonymous inode (an eventfd) will do:
 * writing to a pipe or socket could raise SIGPIPE, reading from one could block.
 */
static int take_eventfd(struct vhost_message *message, int *ret_fd)
{
        bool has_none = (message->payload.u64 & RING_NO_FD) != 0;
        struct stat st;
        int r;

        if (message->payload.u64 & ~(uint64_t) (RING_INDEX_MASK | RING_NO_FD))
                return -EINVAL;
        if (message->n_fds != (has_none ? 0 : 1))
                return -EPROTO;
        *ret_fd = FD_NONE;
        if (has_none)
                return 0;
        if (fstat(message->fds[0], &st) < 0)
                return -errno;
        if ((st.st_mode & S_IFMT) != 0)
                return -EINVAL;
        r = fd_set_nonblocking(message->fds[0], true);
        if (r < 0)
                return r;
        *ret_fd = message->fds[0];
        message->n_fds = 0;
        return 0;
}

static int set_vring_kick(struct vhost_user *user)
{
        uint32_t index = user->message.payload.u64 & RING_INDEX_MASK;
        struct vhost_ring *ring = ring_at(user, index);
        scoped_close int fd = FD_NONE;
        int r;

        if (!ring)
                return -EINVAL;
        r = take_eventfd(&user->message, &fd);
        if (r < 0)
                return r;
        if (fd < 0)
                return -ENOTSUP; /* asks us to poll the ring */
        stop_ring(user, index);
        if (ring->kick_fd >= 0)
                (void) close(ring->kick_fd);
        ring->kick_fd = take_fd(&fd);
        return settle_ring(user, index);
}

static int set_vring_call(struct vhost_user *user)
{
        struct vhost_ring *ring = ring_at(user, user->message.payload.u64 & RING_INDEX_MASK);
        int fd;
        int r;

        if (!ring)
                return -EINVAL;
        r = take_eventfd(&user->message, &fd);
        if (r < 0)
                return r;
        if (ring->call_fd >= 0)
                (void) close(ring->call_fd);
        ring->call_fd = fd;
        ring->has_signalled = false; /* what the old one was told is not known to the new one's reader */
        return 0;
}

/* Errors end the connection, nothing is ever said here. */
static int set_vring_err(struct vhost_user *user)
{
        scoped_close int fd = FD_NONE;

        return take_eventfd(&user->message, &fd);
}

static int get_protocol_features(struct vhost_user *user)
{
        return reply_u64(user, OUR_PROTOCOL_FEATURES);
}

static int set_protocol_features(struct vhost_user *user)
{
        if (user->message.payload.u64 & ~OUR_PROTOCOL_FEATURES)
                return -EINVAL;
        user->protocol_features = user->message.payload.u64;
        return 0;
}

static int get_queue_num(struct vhost_user *user)
{
        return reply_u64(user, VHOST_USER_RINGS);
}

static int set_vring_enable(struct vhost_user *user)
{
        const struct vhost_vring_state *state = &user->message.payload.state;
        struct vhost_ring *ring = ring_at(user, state->index);

        if (!ring || state->value > 1)
                return -EINVAL;
        ring->is_enabled = state->value == 1;
        return settle_ring(user, state->index);
}

/* An answer without payload is the protocol's way to say no. */
static int get_config(struct vhost_user *user)
{
        struct vhost_config_space config = user->message.payload.config;
        uint32_t head = offsetof(struct vhost_config_space, bytes);

        if (user->message.header.size < head || user->message.header.size - head != config.size ||
            config.offset > user->n_config || config.size > user->n_config - config.offset)
                return reply(user, NULL, 0);
        memcpy(config.bytes, user->config + config.offset, config.size);
        return reply(user, &config, head + config.size);
}

/* The configuration space of vsock has nothing to be written: ignored, as by Firecracker. */
static int set_config(struct vhost_user *user)
{
        (void) user;
        return 0;
}

#define SIZE_ANY UINT32_MAX

static const struct {
        int (*handle)(struct vhost_user *user);
        uint32_t size; /* of the payload */
        uint32_t max_fds;
        bool has_answer; /* of its own: never acknowledged besides */
} requests[N_REQUESTS] = {
        [GET_FEATURES] = {get_features,           0,                                  0,                        true },
        [SET_FEATURES] = { set_features,          sizeof(uint64_t),                   0,                        false},
        [SET_OWNER] = { set_owner,             0,                                  0,                        false},
        [RESET_OWNER] = { reset_owner,           0,                                  0,                        false},
        [SET_MEM_TABLE] = { set_mem_table,         SIZE_ANY,                           VHOST_MEMORY_REGIONS_MAX, false},
        [SET_VRING_NUM] = { set_vring_num,         sizeof(struct vhost_vring_state),   0,                        false},
        [SET_VRING_ADDR] = { set_vring_addr,        sizeof(struct vhost_vring_address), 0,                        false},
        [SET_VRING_BASE] = { set_vring_base,        sizeof(struct vhost_vring_state),   0,                        false},
        [GET_VRING_BASE] = { get_vring_base,        sizeof(struct vhost_vring_state),   0,                        true },
        [SET_VRING_KICK] = { set_vring_kick,        sizeof(uint64_t),                   1,                        false},
        [SET_VRING_CALL] = { set_vring_call,        sizeof(uint64_t),                   1,                        false},
        [SET_VRING_ERR] = { set_vring_err,         sizeof(uint64_t),                   1,                        false},
        [GET_PROTOCOL_FEATURES] = { get_protocol_features, 0,                                  0,                        true },
        [SET_PROTOCOL_FEATURES] = { set_protocol_features, sizeof(uint64_t),                   0,                        false},
        [GET_QUEUE_NUM] = { get_queue_num,         0,                                  0,                        true },
        [SET_VRING_ENABLE] = { set_vring_enable,      sizeof(struct vhost_vring_state),   0,                        false},
        [GET_CONFIG] = { get_config,            SIZE_ANY,                           0,                        true },
        [SET_CONFIG] = { set_config,            SIZE_ANY,                           0,                        false},
};

static int handle(struct vhost_user *user)
{
        const struct vhost_message_header *header = &user->message.header;
        bool is_known = header->request < N_REQUESTS && requests[header->request].handle;
        bool wants_ack =
                (header->flags & VHOST_FLAG_NEED_REPLY) && (user->protocol_features & PROTOCOL_F_REPLY_ACK);
        int r;

        if (!is_known) /* what was not negotiated: an old back end's silence, unless asked */
                return wants_ack ? reply_u64(user, 1) : 0;
        if (user->message.n_fds > requests[header->request].max_fds ||
            (requests[header->request].size != SIZE_ANY && header->size != requests[header->request].size))
                return -EPROTO;
        r = requests[header->request].handle(user);
        if (requests[header->request].has_answer || !wants_ack || r == -EPROTO)
                return r;
        return reply_u64(user, r < 0);
}

static void drain_kicks(struct vhost_user *user)
{
        uint64_t count;

        for (size_t i = 0; i < VHOST_USER_RINGS; i++)
                if (user->rings[i].is_running)
                        (void) !read(user->rings[i].kick_fd, &count, sizeof(count)); /* EAGAIN: not kicked */
}

int vhost_user_run(struct vhost_user *user)
{
        drain_kicks(user);
        for (size_t i = 0; i < MESSAGES_PER_RUN; i++) {
                int r = vhost_message_receive(user->fd, &user->message);

                if (r <= 0)
                        return r;
                r = handle(user);
                vhost_message_done(&user->message);
                if (r < 0)
                        return r;
        }
        return 0;
}
