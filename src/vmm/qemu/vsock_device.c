/*
 * Packets move between the rings and the mux here. Of each direction a bounded number goes per run; what is left is
 * remembered by an eventfd of our own, so that the owner's other descriptors get their turn.
 *
 * While the rings stand (before the driver is there, or the VM is paused) the host's side is not looked at either, as
 * with Firecracker: connections wait in the backlog, data in the sockets, and deadlines that passed are noticed afterwards.
 */
#include "vmm/qemu/vsock_device.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/text.h"
#include "vmm/qemu/vhost_user.h"
#include "vmm/qemu/vsock_mux.h"
#include "vmm/qemu/vsock_packet.h"

/* virtio 1.2 §5.10.2; the third queue, of events, stays with QEMU. */
#define RING_RX 0 /* to the guest */
#define RING_TX 1 /* from the guest */

#define TX_PER_RUN 256
#define RX_PER_RUN 256
#define SLOTS_MAX  32 /* filled at a time: 128 KiB in Linux' buffers of 4 KiB */

struct vsock_device {
        int epoll; /* owned */
        int again; /* owned; readable when the last run left work */
        uint64_t guest_cid;
        struct vsock_mux *mux;   /* owned; NULL after death */
        struct vhost_user *user; /* owned; NULL before QEMU was taken and after death */
        bool is_active;          /* the rings run and the mux is in the epoll set */
        int dead;                /* the error it died of */
        struct iovec parts[VHOST_RING_SIZE_MAX];
        struct vsock_slot slots[SLOTS_MAX];
        uint16_t heads[SLOTS_MAX];
};

static int watch(struct vsock_device *device, int operation, int fd)
{
        struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

        return epoll_ctl(device->epoll, operation, fd, &event) < 0 ? -errno : 0;
}

int vsock_device_new(const char *uds_path, uint64_t guest_cid, struct vsock_device **ret_device,
                     struct err *err)
{
        scoped(vsock_device_free) struct vsock_device *device = xcalloc(1, sizeof(*device));
        int r;

        device->guest_cid = guest_cid;
        device->epoll = epoll_create1(EPOLL_CLOEXEC);
        device->again = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (device->epoll < 0 || device->again < 0)
                return err_errno(err, "vsock.new", "cannot make the vsock device's descriptors");
        r = watch(device, EPOLL_CTL_ADD, device->again);
        if (r < 0)
                return err_set(err, -r, "vsock.new", "cannot watch the vsock device's descriptors");
        r = vsock_mux_new(uds_path, guest_cid, &device->mux, err);
        if (r < 0)
                return r;
        *ret_device = take_ptr(device);
        return 0;
}

void vsock_device_free(struct vsock_device *device)
{
        if (!device)
                return;
        vhost_user_free(device->user);
        vsock_mux_free(device->mux);
        {
                scoped_close int epoll = device->epoll, again = device->again;

                (void) epoll;
                (void) again;
        }
        free(device);
}

int vsock_device_take_qemu(struct vsock_device *device, int owned_fd)
{
        scoped_close int fd = owned_fd;
        scoped(vhost_user_free) struct vhost_user *user = NULL;
        struct virtio_vsock_config config = { .guest_cid = device->guest_cid };
        int r;

        if (device->dead < 0)
                return device->dead;
        if (device->user)
                return -EALREADY;
        r = vhost_user_new(take_fd(&fd), &config, sizeof(config), &user);
        if (r < 0)
                return r;
        r = watch(device, EPOLL_CTL_ADD, vhost_user_fd(user));
        if (r < 0)
                return r;
        device->user = take_ptr(user);
        return 0;
}

int vsock_device_fd(const struct vsock_device *device)
{
        return device->epoll;
}

static void run_again(const struct vsock_device *device)
{
        static const uint64_t one = 1;

        (void) !write(device->again, &one, sizeof(one));
}

/* Packets of the guest. A chain with a descriptor for us to write is none: it goes back as it came. */
static int pump_tx(struct vsock_device *device)
{
        struct vhost_ring *ring = vhost_user_ring(device->user, RING_TX);
        struct vhost_chain chain = { .parts = device->parts, .max_parts = VHOST_RING_SIZE_MAX };

        for (int n = 0; n < TX_PER_RUN;) {
                int r = vhost_ring_pop(ring, vhost_user_memory(device->user), false, &chain);

                if (r < 0)
                        return -EBADMSG;
                if (r == 0 && !vhost_ring_want_kick(ring))
                        return 0;
                if (r == 0)
                        continue;
                if (!chain.is_mixed)
                        vsock_mux_receive(device->mux, chain.parts, chain.n_parts, chain.length);
                vhost_ring_push(ring, chain.head, 0);
                n++;
        }
        run_again(device);
        return 0;
}

/*
 * Collects buffers of the guest: their number, 0 when there is none, -EBADMSG. One that holds no packet goes back
 * unused, but only as the first of a lot, as the lot may have to be given back from its end.
 */
static int collect_slots(struct vsock_device *device, struct vhost_ring *ring)
{
        size_t n_parts = 0;
        int n = 0;

        while (n < SLOTS_MAX) {
                struct vhost_chain chain = { .parts = device->parts + n_parts,
                                             .max_parts = VHOST_RING_SIZE_MAX - n_parts };
                int r = vhost_ring_pop(ring, vhost_user_memory(device->user), true, &chain);
                bool is_usable = r > 0 && !chain.is_mixed && chain.length > VSOCK_HEADER_SIZE;

                if (r == 0 || (r == -E2BIG && n > 0))
                        break;
                if (r < 0)
                        return -EBADMSG;
                if (!is_usable && n > 0) {
                        vhost_ring_unpop(ring, 1);
                        break;
                }
                if (!is_usable) {
                        vhost_ring_push(ring, chain.head, 0);
                        break;
                }
                device->heads[n] = chain.head;
                device->slots[n++] = (struct vsock_slot){ chain.parts, chain.n_parts, chain.length, 0 };
                n_parts += chain.n_parts;
        }
        return n;
}

static int pump_rx(struct vsock_device *device)
{
        struct vhost_ring *ring = vhost_user_ring(device->user, RING_RX);
        size_t n_filled = 0;

        while (vsock_mux_is_ready(device->mux)) {
                int n = collect_slots(device, ring);
                size_t used;

                if (n < 0)
                        return n;
                if (n == 0 && !vhost_ring_want_kick(ring))
                        return 0;
                if (n_filled++ > RX_PER_RUN) {
                        vhost_ring_unpop(ring, (size_t) n);
                        run_again(device);
                        return 0;
                }
                if (n == 0)
                        continue;
                used = vsock_mux_fill(device->mux, device->slots, (size_t) n);
                for (size_t i = 0; i < used; i++)
                        vhost_ring_push(ring, device->heads[i], device->slots[i].n_used);
                vhost_ring_unpop(ring, (size_t) n - used);
                n_filled += used;
                vhost_ring_publish(ring);
        }
        return 0;
}

static int pump(struct vsock_device *device)
{
        int r = pump_tx(device);

        if (r < 0)
                return r;
        /* Before the other direction, which may take a while: the guest's next packets can come meanwhile. */
        vhost_ring_publish(vhost_user_ring(device->user, RING_TX));
        r = pump_rx(device);
        if (r < 0)
                return r;
        vhost_ring_publish(vhost_user_ring(device->user, RING_RX));
        return 0;
}

/* Follows the rings: the host's side is watched while they run. */
static int settle(struct vsock_device *device)
{
        bool is_running = vhost_user_is_running(device->user);
        int r = 0;

        if (vhost_user_take_reset(device->user))
                vsock_mux_drop_all(device->mux);
        if (is_running != device->is_active)
                r = watch(device, is_running ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, vsock_mux_fd(device->mux));
        device->is_active = is_running;
        return r;
}

static int run(struct vsock_device *device)
{
        uint64_t count;
        int r;

        (void) !read(device->again, &count, sizeof(count));
        r = vhost_user_run(device->user);
        if (r < 0)
                return r;
        r = settle(device);
        if (r < 0 || !device->is_active)
                return r;
        vsock_mux_run(device->mux);
        return pump(device);
}

/* What remains answers nobody: the descriptor stays silent, the host's sockets are closed. */
static void die(struct vsock_device *device, int error)
{
        uint64_t count;

        device->dead = error;
        vhost_user_free(take_ptr(device->user));
        vsock_mux_free(take_ptr(device->mux));
        (void) !read(device->again, &count, sizeof(count));
}

int vsock_device_run(struct vsock_device *device)
{
        int r;

        if (device->dead < 0 || !device->user)
                return device->dead;
        r = run(device);
        if (r < 0)
                die(device, r);
        return device->dead;
}
