/*
 * Packets of a guest and acts of the host, in any order: the mux stays within its limits, answers with whole packets of its own
 * and never more data than it was given credit for. Input: steps of one byte that says what, and what that needs.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/text.h"
#include "vmm/qemu/vsock_mux.h"

#define N_HOSTS 4
#define N_SLOTS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char *uds, *uds_9;
static char folder[] = "/tmp/fuzz-vsock-XXXXXX";
static struct vsock_mux *mux;
static int listener, hosts[N_HOSTS];

static void clean_up(void)
{
        (void) unlink(uds);
        (void) unlink(uds_9);
        (void) rmdir(folder);
        free(uds);
        free(uds_9);
        vsock_mux_free(mux);
}

static void set_up(void)
{
        struct err err = { 0 };
        int r;

        if (!mkdtemp(folder))
                abort();
        uds = xasprintf("%s/v", folder);
        uds_9 = xasprintf("%s/v_9", folder);
        r = vsock_mux_new(uds, 3, &mux, &err);
        assert(r == 0);
        listener = fd_unix_listen(uds_9, 0600, 4);
        assert(listener >= 0 && fd_set_nonblocking(listener, true) == 0);
        (void) atexit(clean_up);
}

struct input {
        const uint8_t *data;
        size_t n;
};

static uint8_t take(struct input *input)
{
        if (input->n == 0)
                return 0;
        input->n--;
        return *input->data++;
}

static uint32_t take_port(struct input *input)
{
        static const uint32_t ports[8] = { 9, 5, 0, 0, 1U << 30, (1U << 30) + 1, (1U << 30) + 2, UINT32_MAX };

        return ports[take(input) % 8];
}

static void guest_packet(struct input *input)
{
        static uint8_t bytes[70000];
        struct virtio_vsock_hdr header = { .src_cid = 3, .dst_cid = 2, .type = 1 };
        uint8_t lie = take(input);
        size_t n_data = (size_t) take(input) * take(input);
        size_t cut;

        header.op = take(input) % 10;
        header.src_port = take_port(input);
        header.dst_port = take_port(input);
        header.len = (uint32_t) n_data + (lie & 1);
        header.type = lie & 2 ? 2 : 1;
        header.dst_cid = lie & 4 ? 3 : 2;
        header.flags = take(input);
        header.buf_alloc = (uint32_t) take(input) << (take(input) % 25);
        header.fwd_cnt = (uint32_t) take(input) << (take(input) % 25);
        memcpy(bytes, &header, sizeof(header));
        cut = take(input) % (sizeof(header) + 4);
        {
                struct iovec parts[2] = {
                        {bytes,        cut                          },
                        { bytes + cut, sizeof(header) + n_data - cut}
                };

                if (cut > sizeof(header) + n_data)
                        return;
                vsock_mux_receive(mux, parts, 2, sizeof(header) + n_data);
        }
}

static void guest_room(struct input *input)
{
        static uint8_t room[N_SLOTS][70000];
        size_t n = 1 + take(input) % N_SLOTS, used;
        struct iovec parts[N_SLOTS];
        struct vsock_slot slots[N_SLOTS];

        for (size_t i = 0; i < n; i++) {
                size_t capacity = sizeof(struct virtio_vsock_hdr) + 1 + (size_t) take(input) * take(input);

                parts[i] = (struct iovec){ room[i], capacity };
                slots[i] = (struct vsock_slot){ &parts[i], 1, capacity, 0 };
        }
        used = vsock_mux_fill(mux, slots, n);
        assert(used <= n);
        for (size_t i = 0; i < used; i++) {
                struct virtio_vsock_hdr header;

                memcpy(&header, room[i], sizeof(header));
                assert(slots[i].n_used == sizeof(header) + header.len &&
                       slots[i].n_used <= slots[i].capacity);
                assert(header.src_cid == 2 && header.dst_cid == 3 && header.type == 1);
                assert(header.op >= VIRTIO_VSOCK_OP_REQUEST && header.op <= VIRTIO_VSOCK_OP_CREDIT_REQUEST);
                assert(header.len <= VSOCK_DATA_MAX && (header.len == 0 || header.op == VIRTIO_VSOCK_OP_RW));
        }
}

static void host_act(struct input *input)
{
        static uint8_t bytes[65536];
        uint8_t what = take(input);
        int *host = &hosts[what % N_HOSTS];
        size_t n = (size_t) take(input) * take(input);

        switch (what / N_HOSTS % 6) {
        case 0:
                if (*host >= 0)
                        (void) close(*host);
                *host = fd_unix_connect_now(uds);
                if (*host >= 0)
                        (void) !send(*host, "CONNECT 5\nx", 11, MSG_NOSIGNAL | MSG_DONTWAIT);
                break;
        case 1:
                if (*host >= 0)
                        (void) close(*host);
                *host = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                break;
        case 2:
                (void) !send(*host, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
                break;
        case 3:
                (void) !recv(*host, bytes, n, MSG_DONTWAIT);
                break;
        case 4:
                (void) shutdown(*host, SHUT_WR);
                break;
        default:
                if (*host >= 0)
                        (void) close(take_fd(host));
                break;
        }
        vsock_mux_run(mux);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct input input = { data, n };
        int left;

        if (!mux)
                set_up();
        for (size_t i = 0; i < N_HOSTS; i++)
                hosts[i] = FD_NONE;
        while (input.n > 0) {
                uint8_t what = take(&input);

                if (what % 3 == 0)
                        guest_packet(&input);
                else if (what % 3 == 1)
                        guest_room(&input);
                else
                        host_act(&input);
                assert(vsock_mux_count(mux) <= VSOCK_CONNECTIONS_MAX);
        }
        vsock_mux_drop_all(mux);
        assert(vsock_mux_count(mux) == 0 && !vsock_mux_is_ready(mux));
        for (size_t i = 0; i < N_HOSTS; i++)
                if (hosts[i] >= 0)
                        (void) close(hosts[i]);
        while ((left = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                (void) close(left);
        vsock_mux_run(mux);
        vsock_mux_drop_all(mux);
        return 0;
}
