/* Data: credit, closing by halves, limits, and whether every byte arrives where and as it should. */
#include <errno.h>
#include <sys/resource.h>

#include "vmm/qemu/vsock_mux.h"
#include "vsock_driver.h"

static int set_up(void **state)
{
        struct rlimit limit;
        struct driver *d = driver_new();

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        driver_ok(d);
        *state = d;
        return 0;
}

static int tear_down(void **state)
{
        driver_free(*state);
        return 0;
}

static void guest_credit(struct driver *d, uint32_t port, uint32_t buf_alloc, uint32_t fwd_cnt)
{
        struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);

        header.buf_alloc = buf_alloc;
        header.fwd_cnt = fwd_cnt;
        guest_send_raw(d, &header, NULL, 0);
}

static void the_guest_gets_no_more_than_it_has_room_for(void **state)
{
        static const char data[3000];
        struct driver *d = *state;
        uint32_t port;
        int fd = host_connected(d, &port);

        guest_credit(d, port, 1000, 0);
        guest_expect_nothing(d);
        assert_int_equal(send(fd, data, 3000, 0), 3000);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_RW)->header.len, 1000);
        (void) guest_expect(d, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
        assert_int_equal(send(fd, data, 10, 0), 10);
        guest_expect_nothing(d); /* it asks once */
        guest_credit(d, port, 1000, 0);
        guest_expect_nothing(d);
        guest_credit(d, port, 1000, 400);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_RW)->header.len, 400);
        (void) guest_expect(d, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
        guest_credit(d, port, 1000, 5000); /* a lie: more than it was sent */
        guest_expect_nothing(d);
        guest_credit(d, port, 100000, 1400);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_RW)->header.len, 1610);
        guest_expect_nothing(d);
        (void) close(fd);
}

/* Sends as much as a guest may while the host reads nothing; the bytes sent. */
static uint32_t fill_up(struct driver *d, uint32_t port)
{
        static const char data[4096];
        uint32_t sent = 0, fwd_cnt = 0;

        while (sent - fwd_cnt + sizeof(data) <= 65536) {
                guest_send(d, VIRTIO_VSOCK_OP_RW, 5, port, data, sizeof(data));
                sent += sizeof(data);
                assert_int_equal(driver_run(d), 0);
                while (d->n_taken < d->n_received) {
                        const struct packet *packet = guest_expect(d, VIRTIO_VSOCK_OP_CREDIT_UPDATE);

                        fwd_cnt = packet->header.fwd_cnt;
                }
        }
        return sent;
}

static void the_guest_sends_on_when_the_host_reads_on(void **state)
{
        static char data[1 << 20];
        struct driver *d = *state;
        uint32_t port, sent, got = 0;
        int fd = host_connected(d, &port);

        sent = fill_up(d, port);
        assert_true(sent > 65536);
        while (got < sent) {
                ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

                assert_true(n > 0);
                got += (uint32_t) n;
                assert_int_equal(driver_run(d), 0);
        }
        assert_int_equal(got, sent);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_CREDIT_UPDATE)->header.fwd_cnt, sent);
        guest_send(d, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 5, port, NULL, 0);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_CREDIT_UPDATE)->header.fwd_cnt, sent);
        (void) close(fd);
}

static void a_guest_that_breaks_its_credit_is_cut_off(void **state)
{
        static const char data[65536];
        struct driver *d = *state;
        uint32_t port;
        int fd = host_connected(d, &port);

        (void) fill_up(d, port);
        guest_send(d, VIRTIO_VSOCK_OP_RW, 5, port, data, sizeof(data));
        (void) guest_expect(d, VIRTIO_VSOCK_OP_RST);
        guest_send(d, VIRTIO_VSOCK_OP_RW, 5, port, data, 1);
        (void) guest_expect(d, VIRTIO_VSOCK_OP_RST); /* it is not known any more */
        (void) close(fd);
}

static void guest_shutdown(struct driver *d, uint32_t port, uint32_t flags)
{
        struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_SHUTDOWN, 5, port);

        header.flags = flags;
        guest_send_raw(d, &header, NULL, 0);
}

static void a_half_closed_by_the_guest_leaves_the_other(void **state)
{
        struct driver *d = *state;
        uint32_t port;
        int fd = host_connected(d, &port);

        guest_shutdown(d, port, VIRTIO_VSOCK_SHUTDOWN_SEND);
        guest_expect_nothing(d);
        assert_int_equal(send(fd, "down", 4, 0), 4);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_RW)->header.len, 4);
        guest_send(d, VIRTIO_VSOCK_OP_RW, 5, port, "up", 2); /* it said it would not */
        assert_string_equal(host_read(d, fd), "");
        guest_shutdown(d, port, VIRTIO_VSOCK_SHUTDOWN_RCV);
        (void) guest_expect(d, VIRTIO_VSOCK_OP_RST);
        assert_string_equal(host_read(d, fd), "EOF");
        (void) close(fd);

        fd = host_connected(d, &port);
        guest_shutdown(d, port, VIRTIO_VSOCK_SHUTDOWN_RCV);
        assert_int_equal(driver_run(d), 0);
        assert_int_equal(send(fd, "down", 4, 0), 4);
        guest_expect_nothing(d);
        guest_send(d, VIRTIO_VSOCK_OP_RW, 5, port, "up", 2);
        assert_string_equal(host_read(d, fd), "up");
        (void) close(fd);
        (void) guest_expect(d, VIRTIO_VSOCK_OP_RST);
}

static void what_the_guest_sent_before_closing_arrives(void **state)
{
        static char data[1 << 20];
        struct driver *d = *state;
        uint32_t port, sent, got = 0;
        int fd = host_connected(d, &port);
        ssize_t n;

        sent = fill_up(d, port);
        guest_shutdown(d, port, 3);
        guest_expect_nothing(d);
        while ((n = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
                got += (uint32_t) n;
                assert_int_equal(driver_run(d), 0);
        }
        assert_int_equal(n, 0);
        assert_int_equal(got, sent);
        d->n_taken = d->n_received - 1;
        (void) guest_expect(d, VIRTIO_VSOCK_OP_RST);
        (void) close(fd);
}

static void there_are_1023_connections_and_not_one_more(void **state)
{
        static int fds[VSOCK_CONNECTIONS_MAX];
        struct driver *d = *state;
        char path[96];
        int listener = host_listen(d, 77, path, sizeof(path)), surplus;
        uint32_t port;

        for (size_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++)
                fds[i] = host_connected(d, &port);
        surplus = host_dial(d, "CONNECT 5\n");
        assert_string_equal(host_read(d, surplus), "RESET");
        (void) close(surplus);
        guest_send(d, VIRTIO_VSOCK_OP_REQUEST, 1, 77, NULL, 0);
        (void) guest_expect(d, VIRTIO_VSOCK_OP_RST);

        guest_send(d, VIRTIO_VSOCK_OP_RST, 5, port, NULL, 0);
        guest_send(d, VIRTIO_VSOCK_OP_REQUEST, 1, 77, NULL, 0);
        (void) guest_expect(d, VIRTIO_VSOCK_OP_RESPONSE);
        for (size_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++)
                (void) close(fds[i]);
        (void) close(listener);
        (void) unlink(path);
}

/* Fifty streams at once, a MiB each way each: a guest's sockets in small. */
#define N_STREAMS   50
#define STREAM_SIZE (1U << 20)

static struct stream {
        int fd;
        uint32_t host_port;
        uint32_t up_sent, up_seen, up_forwarded; /* by the guest, by the host, as the device says */
        uint32_t down_sent, down_seen, down_told;
        bool must_tell;
} streams[N_STREAMS];

static uint8_t pattern(size_t stream, bool is_up, uint32_t at)
{
        return (uint8_t) (at * 31 + (at >> 8) * 7 + stream * 13 + (is_up ? 101 : 0));
}

static void check_pattern(const void *data, size_t n, size_t stream, bool is_up, uint32_t at)
{
        const uint8_t *bytes = data;

        for (size_t i = 0; i < n; i++)
                if (bytes[i] != pattern(stream, is_up, at + (uint32_t) i))
                        fail_msg("stream %zu differs at byte %zu", stream, at + i);
}

static void make_pattern(uint8_t *bytes, size_t n, size_t stream, bool is_up, uint32_t at)
{
        for (size_t i = 0; i < n; i++)
                bytes[i] = pattern(stream, is_up, at + (uint32_t) i);
}

static void stream_packet(struct driver *d, const struct packet *packet)
{
        size_t i = packet->header.src_port - VSOCK_FIRST_PORT;
        struct stream *stream = &streams[i];

        (void) d;
        assert_true(i < N_STREAMS);
        stream->up_forwarded = packet->header.fwd_cnt;
        if (packet->header.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
                stream->must_tell = true;
        if (packet->header.op != VIRTIO_VSOCK_OP_RW)
                return;
        check_pattern(packet->data, packet->header.len, i, false, stream->down_seen);
        stream->down_seen += packet->header.len;
        assert_true(stream->down_seen - stream->down_told <= 262144);
        stream->must_tell |= stream->down_seen - stream->down_told > 200000;
}

static void guest_turn(struct driver *d, size_t i)
{
        static uint8_t data[65536];
        struct stream *stream = &streams[i];
        struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_RW, 5, stream->host_port);
        uint32_t credit = 65536 - (stream->up_sent - stream->up_forwarded);

        header.fwd_cnt = stream->down_seen;
        header.len = 1 + (uint32_t) (i * 7919 + stream->up_sent * 31) % 65536;
        if (header.len > credit)
                header.len = credit;
        if (header.len > STREAM_SIZE - stream->up_sent)
                header.len = STREAM_SIZE - stream->up_sent;
        if (header.len == 0 && !stream->must_tell)
                return;
        if (header.len == 0)
                header.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
        make_pattern(data, header.len, i, true, stream->up_sent);
        stream->must_tell = false;
        stream->down_told = stream->down_seen;
        stream->up_sent += header.len;
        guest_send_raw(d, &header, data, header.len);
}

static void host_turn(size_t i)
{
        static uint8_t data[50000];
        struct stream *stream = &streams[i];
        uint32_t left = STREAM_SIZE - stream->down_sent;
        ssize_t n = recv(stream->fd, data, 1 + (stream->up_seen * 17 + i) % sizeof(data), MSG_DONTWAIT);

        assert_true(n > 0 || errno == EAGAIN);
        if (n > 0) {
                check_pattern(data, (size_t) n, i, true, stream->up_seen);
                stream->up_seen += (uint32_t) n;
        }
        if (left > sizeof(data))
                left = sizeof(data);
        make_pattern(data, left, i, false, stream->down_sent);
        n = send(stream->fd, data, left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
                stream->down_sent += (uint32_t) n;
}

static void fifty_streams_of_a_mib_each_way_arrive_whole(void **state)
{
        struct driver *d = *state;
        size_t n_done = 0;

        for (size_t i = 0; i < N_STREAMS; i++)
                streams[i] = (struct stream){ .fd = host_connected(d, &streams[i].host_port) };
        for (size_t i = 0; i < N_STREAMS; i++)
                streams[i].host_port = VSOCK_FIRST_PORT + (uint32_t) i;
        d->on_packet = stream_packet;
        for (size_t round = 0; n_done < N_STREAMS; round++) {
                assert_true(round < 20000);
                n_done = 0;
                for (size_t i = 0; i < N_STREAMS; i++) {
                        guest_turn(d, i);
                        host_turn(i);
                        n_done += streams[i].up_seen == STREAM_SIZE && streams[i].down_seen == STREAM_SIZE;
                }
                assert_int_equal(driver_run(d), 0);
        }
        for (size_t i = 0; i < N_STREAMS; i++)
                (void) close(streams[i].fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define WITH_DEVICE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
                WITH_DEVICE(the_guest_gets_no_more_than_it_has_room_for),
                WITH_DEVICE(the_guest_sends_on_when_the_host_reads_on),
                WITH_DEVICE(a_guest_that_breaks_its_credit_is_cut_off),
                WITH_DEVICE(a_half_closed_by_the_guest_leaves_the_other),
                WITH_DEVICE(what_the_guest_sent_before_closing_arrives),
                WITH_DEVICE(there_are_1023_connections_and_not_one_more),
                WITH_DEVICE(fifty_streams_of_a_mib_each_way_arrive_whole),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
