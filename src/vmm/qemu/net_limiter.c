/*
 * A port is one interface with two flows. A flow moves frames until its source is empty, its target full, or a bucket
 * empty, and waits for exactly that: for the source, the target (the frame is held meanwhile) or the port's timer. A frame
 * may pass when there is any token, and its whole length is taken then; so the rate is right at any frame size.
 *
 * The tap speaks with a virtio_net_hdr in front where it was opened so; without offloads, which are switched off here, it
 * is all zero, and the socket has none.
 */
#include "vmm/qemu/net_limiter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "vmm/qemu/token_bucket.h"
#include "vmm/qemu/vm_config.h"
#include "vmm/qemu/vm_log.h"

#define HEADER_MAX     ((size_t) 12) /* virtio 1.2 §5.1.6, struct virtio_net_hdr_v1 */
#define FRAME_MAX      ((size_t) 65536)
#define FRAMES_PER_RUN 64
#define EVENTS_MAX     16
/* Tokens gather for so long, so that a fast interface wakes this process for a handful of frames and not for each. */
#define WAIT_MIN_NS UINT64_C(1000000)
#define NS_PER_S    UINT64_C(1000000000)

struct flow {
        int from, to;           /* borrowed from the port */
        size_t skips, prepends; /* bytes of header: before a frame that is read, before one that is written */
        struct token_bucket bytes, frames;
        size_t n_held;                       /* bytes of the frame that its target has not taken; 0: none */
        uint64_t wait_ns;                    /* until it has tokens; 0: it has */
        char buffer[HEADER_MAX + FRAME_MAX]; /* the frame begins at HEADER_MAX */
};

struct port {
        char *id;                         /* owned */
        int tap, qemu, timer;             /* owned */
        uint32_t tap_events, qemu_events; /* waited for */
        bool is_dead;                     /* its tap is gone */
        struct flow to_guest, to_host;
};

struct net_limiter {
        int epoll;                             /* owned */
        struct port *ports[VM_INTERFACES_MAX]; /* owned */
        size_t n_ports;
};

static bool limits_anything(const struct vmm_rate_limiter *limiter)
{
        return (limiter->bandwidth.size > 0 && limiter->bandwidth.refill_time > 0) ||
               (limiter->ops.size > 0 && limiter->ops.refill_time > 0);
}

bool net_limiter_is_needed(const struct vmm_interface *interface)
{
        return limits_anything(&interface->rx_rate_limiter) || limits_anything(&interface->tx_rate_limiter);
}

static uint64_t wait_of(struct flow *flow, uint64_t now_ns)
{
        uint64_t bytes = token_bucket_wait_ns(&flow->bytes, now_ns);
        uint64_t frames = token_bucket_wait_ns(&flow->frames, now_ns);

        return bytes > frames ? bytes : frames;
}

/* A frame from the source into the buffer: 1, 0 when there is none, -errno. */
static int take_frame(struct flow *flow)
{
        ssize_t n = read(flow->from, flow->buffer + HEADER_MAX - flow->skips, flow->skips + FRAME_MAX);

        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if ((size_t) n <= flow->skips)
                return -ENODATA;
        flow->n_held = (size_t) n - flow->skips;
        return 1;
}

/* The held frame to the target: 1, 0 when that is full. A frame that it refuses is lost, as on any cable. */
static int give_frame(struct flow *flow)
{
        char *start = flow->buffer + HEADER_MAX - flow->prepends;

        memset(start, 0, flow->prepends);
        if (write(flow->to, start, flow->prepends + flow->n_held) < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        token_bucket_take(&flow->bytes, flow->n_held);
        token_bucket_take(&flow->frames, 1);
        flow->n_held = 0;
        return 1;
}

static int run_flow(struct flow *flow)
{
        uint64_t now = clock_monotonic_ns();
        int r = 1;

        flow->wait_ns = 0;
        for (int i = 0; r > 0 && i < FRAMES_PER_RUN; i++) {
                flow->wait_ns = flow->n_held > 0 ? 0 : wait_of(flow, now);
                if (flow->wait_ns > 0)
                        return 0;
                if (flow->n_held == 0)
                        r = take_frame(flow);
                if (r > 0)
                        r = give_frame(flow);
        }
        return r < 0 ? r : 0;
}

static uint32_t events_of(const struct flow *from_here, const struct flow *to_here)
{
        return (from_here->n_held == 0 && from_here->wait_ns == 0 ? (uint32_t) EPOLLIN : 0) |
               (to_here->n_held > 0 ? (uint32_t) EPOLLOUT : 0);
}

static void watch(const struct net_limiter *limiter, struct port *port, int fd, uint32_t *have,
                  uint32_t wanted)
{
        struct epoll_event event = { .events = wanted, .data.ptr = port };

        if (*have != wanted && epoll_ctl(limiter->epoll, EPOLL_CTL_MOD, fd, &event) == 0)
                *have = wanted;
}

/* One shot at the time the first starving flow has tokens; read or not, the next setting clears it. */
static void set_timer(const struct port *port)
{
        uint64_t a = port->to_guest.wait_ns, b = port->to_host.wait_ns;
        uint64_t wait = a == 0 || (b > 0 && b < a) ? b : a;
        struct itimerspec when = { 0 };

        if (wait > 0 && wait < WAIT_MIN_NS)
                wait = WAIT_MIN_NS;
        when.it_value.tv_sec = (time_t) (wait / NS_PER_S);
        when.it_value.tv_nsec = (long) (wait % NS_PER_S);
        (void) timerfd_settime(port->timer, 0, &when, NULL);
}

/* It stays in the epoll set otherwise, which would tell of its error for ever. */
static void kill_port(const struct net_limiter *limiter, struct port *port, int error)
{
        vm_log_error("The interface '%s' is dead: %s", port->id, strerror(error));
        port->is_dead = true;
        (void) epoll_ctl(limiter->epoll, EPOLL_CTL_DEL, port->tap, NULL);
        (void) epoll_ctl(limiter->epoll, EPOLL_CTL_DEL, port->qemu, NULL);
        (void) epoll_ctl(limiter->epoll, EPOLL_CTL_DEL, port->timer, NULL);
}

static void run_port(const struct net_limiter *limiter, struct port *port, uint32_t events)
{
        int r;

        if (port->is_dead)
                return;
        r = run_flow(&port->to_guest);
        if (r == 0)
                r = run_flow(&port->to_host);
        if (r == 0 && (events & (EPOLLERR | EPOLLHUP)))
                r = -EIO;
        if (r < 0) {
                kill_port(limiter, port, -r);
                return;
        }
        watch(limiter, port, port->tap, &port->tap_events, events_of(&port->to_guest, &port->to_host));
        watch(limiter, port, port->qemu, &port->qemu_events, events_of(&port->to_host, &port->to_guest));
        set_timer(port);
}

int net_limiter_fd(const struct net_limiter *limiter)
{
        return limiter->epoll;
}

void net_limiter_run(struct net_limiter *limiter)
{
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(limiter->epoll, events, EVENTS_MAX, 0);

        for (int i = 0; i < n; i++)
                run_port(limiter, events[i].data.ptr, events[i].events);
}

static void close_slot(int *fd)
{
        if (*fd >= 0)
                (void) close(take_fd(fd));
}

static void port_free(struct port *port)
{
        if (!port)
                return;
        close_slot(&port->tap);
        close_slot(&port->qemu);
        close_slot(&port->timer);
        free(port->id);
        free(port);
}
SCOPED_FUNC(struct port *, port_free);

/* How many bytes of header the tap puts before a frame; anything that is no tap has none. */
static size_t header_of(int tap)
{
        struct ifreq request = { 0 };
        int n = 0;

        if (ioctl(tap, TUNGETIFF, &request) < 0)
                return 0;
        /* frames in one piece and with their checksum, whoever had the tap before */
        (void) ioctl(tap, TUNSETOFFLOAD, 0);
        if (!(request.ifr_flags & IFF_VNET_HDR) || ioctl(tap, TUNGETVNETHDRSZ, &n) < 0)
                return 0;
        return n > 0 && (size_t) n <= HEADER_MAX ? (size_t) n : 0;
}

static int port_new(int tap_fd, struct port **ret_port, int *ret_qemu_fd)
{
        scoped(port_free) struct port *port = xcalloc(1, sizeof(*port));
        scoped_close int far = FD_NONE;
        int pair[2];

        port->qemu = FD_NONE;
        port->tap = fcntl(tap_fd, F_DUPFD_CLOEXEC, 3);
        port->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (port->tap < 0 || port->timer < 0 || fd_set_nonblocking(port->tap, true) < 0 ||
            socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        port->qemu = pair[0];
        far = pair[1];
        port->to_guest.from = port->to_host.to = port->tap;
        port->to_guest.to = port->to_host.from = port->qemu;
        port->to_guest.skips = port->to_host.prepends = header_of(port->tap);
        *ret_qemu_fd = take_fd(&far);
        *ret_port = take_ptr(port);
        return 0;
}

/* Only what is given; at the start nothing else is there. */
static void set_flow(struct flow *flow, const struct vmm_rate_limiter *limiter)
{
        uint64_t now = clock_monotonic_ns();

        if (vmm_given(&vmm_shape_rate_limiter, limiter, bandwidth))
                token_bucket_set(&flow->bytes, &limiter->bandwidth, now);
        if (vmm_given(&vmm_shape_rate_limiter, limiter, ops))
                token_bucket_set(&flow->frames, &limiter->ops, now);
}

static int add_to_set(const struct net_limiter *limiter, struct port *port)
{
        const int fds[] = { port->tap, port->qemu, port->timer };

        for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
                struct epoll_event event = { .events = EPOLLIN, .data.ptr = port };

                if (epoll_ctl(limiter->epoll, EPOLL_CTL_ADD, fds[i], &event) < 0)
                        return -errno;
        }
        port->tap_events = port->qemu_events = EPOLLIN;
        return 0;
}

int net_limiter_add(struct net_limiter *limiter, const struct vmm_interface *interface, int tap_fd,
                    int *ret_qemu_fd, struct err *err)
{
        scoped(port_free) struct port *port = NULL;
        scoped_close int qemu_fd = FD_NONE;
        int r = limiter->n_ports < VM_INTERFACES_MAX ? port_new(tap_fd, &port, &qemu_fd) : -ENOSPC;

        if (r == 0) {
                port->id = xstrdup(interface->iface_id);
                set_flow(&port->to_guest, &interface->rx_rate_limiter);
                set_flow(&port->to_host, &interface->tx_rate_limiter);
                r = add_to_set(limiter, port);
        }
        if (r < 0)
                return err_set(err, -r, "vmm.net", "limit the interface '%.40s': %s", interface->iface_id,
                               strerror(-r));
        limiter->ports[limiter->n_ports++] = take_ptr(port);
        *ret_qemu_fd = take_fd(&qemu_fd);
        return 0;
}

int net_limiter_change(struct net_limiter *limiter, const struct vmm_interface_update *update,
                       struct err *err)
{
        for (size_t i = 0; i < limiter->n_ports; i++) {
                struct port *port = limiter->ports[i];

                if (strcmp(port->id, update->iface_id) != 0)
                        continue;
                set_flow(&port->to_guest, &update->rx_rate_limiter);
                set_flow(&port->to_host, &update->tx_rate_limiter);
                run_port(limiter, port, 0);
                return 0;
        }
        return err_set(
                err, ENOENT, "vmm.net",
                "the interface '%.40s' was started without a rate limiter and cannot get one under QEMU",
                update->iface_id);
}

int net_limiter_new(struct net_limiter **ret_limiter, struct err *err)
{
        scoped(net_limiter_free) struct net_limiter *limiter = xcalloc(1, sizeof(*limiter));

        limiter->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (limiter->epoll < 0)
                return err_errno(err, "vmm.net", "make the rate limiter");
        *ret_limiter = take_ptr(limiter);
        return 0;
}

void net_limiter_free(struct net_limiter *limiter)
{
        if (!limiter)
                return;
        for (size_t i = 0; i < limiter->n_ports; i++)
                port_free(limiter->ports[i]);
        close_slot(&limiter->epoll);
        free(limiter);
}
