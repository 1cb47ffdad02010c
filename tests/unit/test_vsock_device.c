#include <errno.h>

#include "vmm/qemu/vsock_device.h"
#include "vmm/qemu/vsock_mux.h"
#include "vsock_driver.h"

static int set_up(void **state)
{
        struct driver *d = driver_new();

        driver_ok(d);
        *state = d;
        return 0;
}

static int tear_down(void **state)
{
        driver_free(*state);
        return 0;
}

static void the_host_connects_and_both_sides_talk(void **state)
{
        struct driver *d = *state;
        int fd = host_dial(d, "CONNECT 5\nearly");
        const struct packet *request = guest_expect(d, VIRTIO_VSOCK_OP_REQUEST);
        const struct packet *data;

        assert_int_equal(request->header.src_port, 1 << 30);
        assert_int_equal(request->header.dst_port, 5);
        assert_int_equal(request->header.buf_alloc, 65536);
        assert_string_equal(host_read(d, fd), "");
        guest_send(d, VIRTIO_VSOCK_OP_RESPONSE, 5, 1 << 30, NULL, 0);
        assert_string_equal(host_read(d, fd), "OK 1073741824\n");
        data = guest_expect(d, VIRTIO_VSOCK_OP_RW);
        assert_memory_equal(data->data, "early", 5);
        assert_int_equal(data->header.len, 5);
        guest_send(d, VIRTIO_VSOCK_OP_RW, 5, 1 << 30, "answer", 6);
        assert_string_equal(host_read(d, fd), "answer");
        (void) close(fd);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_SHUTDOWN)->header.flags, 3);
        guest_send(d, VIRTIO_VSOCK_OP_RST, 5, 1 << 30, NULL, 0);
        guest_expect_nothing(d);
}

static void the_guest_connects_and_both_sides_talk(void **state)
{
        struct driver *d = *state;
        char path[96];
        int listener = host_listen(d, 77, path, sizeof(path));
        const struct packet *response;
        int fd;

        guest_send(d, VIRTIO_VSOCK_OP_REQUEST, 1234, 77, NULL, 0);
        response = guest_expect(d, VIRTIO_VSOCK_OP_RESPONSE);
        assert_int_equal(response->header.src_port, 77);
        assert_int_equal(response->header.dst_port, 1234);
        fd = accept(listener, NULL, NULL);
        guest_send(d, VIRTIO_VSOCK_OP_RW, 1234, 77, "up", 2);
        assert_string_equal(host_read(d, fd), "up");
        assert_int_equal(send(fd, "down", 4, 0), 4);
        assert_memory_equal(guest_expect(d, VIRTIO_VSOCK_OP_RW)->data, "down", 4);
        (void) close(fd);
        (void) close(listener);
        (void) unlink(path);
}

static void a_refused_connection_closes_without_a_byte(void **state)
{
        struct driver *d = *state;
        int fd = host_dial(d, "CONNECT 5\n");
        uint32_t port = guest_expect(d, VIRTIO_VSOCK_OP_REQUEST)->header.src_port;

        guest_send(d, VIRTIO_VSOCK_OP_RST, 5, port, NULL, 0);
        assert_string_equal(host_read(d, fd), "EOF");
        (void) close(fd);
        guest_expect_nothing(d);
}

static void a_pause_keeps_connections_and_loses_nothing(void **state)
{
        struct driver *d = *state;
        uint32_t port, base[2];
        int fd = host_connected(d, &port);

        driver_stop(d, base);
        guest_send(d, VIRTIO_VSOCK_OP_RW, 5, port, "while", 5);
        assert_int_equal(send(fd, "paused", 6, 0), 6);
        assert_string_equal(host_read(d, fd), "");
        guest_expect_nothing(d);
        driver_cont(d, base);
        assert_string_equal(host_read(d, fd), "while");
        assert_memory_equal(guest_expect(d, VIRTIO_VSOCK_OP_RW)->data, "paused", 6);
        (void) close(fd);
}

static void a_reset_drops_all_connections(void **state)
{
        struct driver *d = *state;
        uint32_t port, base[2];
        int fd = host_connected(d, &port);

        driver_stop(d, base);
        driver_reset_rings(d);
        driver_cont(d, (const uint32_t[]){ 0, 0 });
        assert_string_equal(host_read(d, fd), "EOF");
        (void) close(fd);
        guest_expect_nothing(d);
        (void) close(host_connected(d, &port));
}

static void every_line_but_a_connect_is_closed_on(void **state)
{
        static const char *const lines[] = {
                "\n",
                "CONNECT\n",
                "CONNECT x\n",
                "CONNECT -1\n",
                "CONNECT 4294967296\n",
                "HELLO 5\n",
                "CONNECT5\n",
                "CONNECT 5                       \n",
                "CONNECT 55555555555555555555555555555555555555",
        };
        struct driver *d = *state;

        for (size_t i = 0; i < N_ELEMENTS(lines); i++) {
                int fd = host_dial(d, lines[i]);

                assert_string_equal(host_read(d, fd), "RESET");
                (void) close(fd);
        }
        guest_expect_nothing(d);
}

static void a_connect_line_may_come_in_pieces_and_any_case(void **state)
{
        struct driver *d = *state;
        int fd = host_dial(d, "conn");

        assert_string_equal(host_read(d, fd), "");
        assert_int_equal(send(fd, "ECT \t4294967295 so", 18, 0), 18);
        assert_string_equal(host_read(d, fd), "");
        assert_int_equal(send(fd, "\n", 1, 0), 1);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_REQUEST)->header.dst_port, UINT32_MAX);
        (void) close(fd);
}

static void a_line_has_at_most_32_bytes(void **state)
{
        uint32_t port = 0;
        char line[34];

        (void) state;
        (void) snprintf(line, sizeof(line), "CONNECT %-23d\n", 6);
        assert_int_equal(strlen(line), VSOCK_LINE_MAX);
        assert_int_equal(vsock_mux_parse_line(line, VSOCK_LINE_MAX, &port), 0);
        assert_int_equal(port, 6);
        assert_int_equal(vsock_mux_parse_line(line, VSOCK_LINE_MAX + 1, &port), -EINVAL);
}

static void a_silent_guest_and_a_silent_host_are_given_two_seconds(void **state)
{
        struct driver *d = *state;
        int unanswered = host_dial(d, "CONNECT 5\n"), unasked = host_dial(d, "CONN");
        struct pollfd p = { .fd = vsock_device_fd(d->device), .events = POLLIN };

        (void) guest_expect(d, VIRTIO_VSOCK_OP_REQUEST);
        assert_int_equal(poll(&p, 1, 1500), 0);
        assert_string_equal(host_read(d, unanswered), "");
        assert_int_equal(poll(&p, 1, 1000), 1);
        (void) usleep(20000);
        assert_string_equal(host_read(d, unanswered), "EOF");
        assert_string_equal(host_read(d, unasked), "RESET");
        (void) guest_expect(d, VIRTIO_VSOCK_OP_RST);
        guest_expect_nothing(d);
        (void) close(unanswered);
        (void) close(unasked);
}

static void nobody_listening_and_a_full_backlog_reset(void **state)
{
        struct driver *d = *state;
        char path[96];
        int listener = host_listen(d, 9, path, sizeof(path));
        uint32_t n_accepted = 0;

        guest_send(d, VIRTIO_VSOCK_OP_REQUEST, 1, 8, NULL, 0);
        assert_int_equal(guest_expect(d, VIRTIO_VSOCK_OP_RST)->header.src_port, 8);
        for (uint32_t i = 0; i < 10; i++) {
                guest_send(d, VIRTIO_VSOCK_OP_REQUEST, 100 + i, 9, NULL, 0);
                n_accepted += guest_next(d)->header.op == VIRTIO_VSOCK_OP_RESPONSE;
        }
        assert_in_range(n_accepted, 4, 6); /* a backlog of 4 */
        (void) close(listener);
        (void) unlink(path);
}

static void an_existing_path_is_refused_and_none_is_removed(void **state)
{
        char folder[] = "/tmp/vsock-test-XXXXXX", *path;
        struct vsock_device *device = NULL;
        struct err err = { 0 };

        (void) state;
        assert_non_null(mkdtemp(folder));
        path = xasprintf("%s/v.sock", folder);
        assert_int_equal(vsock_device_new(path, 3, &device, &err), 0);
        vsock_device_free(device);
        device = NULL;
        assert_int_equal(vsock_device_new(path, 3, &device, &err), -EADDRINUSE); /* it is left there */
        assert_null(device);
        assert_non_null(strstr(err.message, path));
        (void) unlink(path);
        (void) rmdir(folder);
        free(path);
}

/* Packets that are none, each with what the guest hears of it. */
static void strange_packets_are_reset_or_dropped(void **state)
{
        static const struct {
                uint64_t dst_cid;
                uint16_t type, op;
                uint32_t len;
                bool is_reset;
        } cases[] = {
                {2,  1, VIRTIO_VSOCK_OP_RW,       4,          true },
                { 2, 1, VIRTIO_VSOCK_OP_RST,      0,          true },
                { 2, 1, VIRTIO_VSOCK_OP_SHUTDOWN, 0,          true },
                { 2, 2, VIRTIO_VSOCK_OP_REQUEST,  0,          true },
                { 2, 1, 99,                       0,          true },
                { 3, 1, VIRTIO_VSOCK_OP_RW,       4,          false},
                { 2, 1, VIRTIO_VSOCK_OP_RW,       5,          false},
                { 2, 1, VIRTIO_VSOCK_OP_RW,       65537,      false},
                { 2, 1, VIRTIO_VSOCK_OP_RW,       UINT32_MAX, false},
        };
        struct driver *d = *state;

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct virtio_vsock_hdr header = guest_header(cases[i].op, 11, 12);
                const struct packet *packet;

                header.dst_cid = cases[i].dst_cid;
                header.type = cases[i].type;
                header.len = cases[i].len;
                guest_send_raw(d, &header, "data", 4);
                if (!cases[i].is_reset) {
                        guest_expect_nothing(d);
                        continue;
                }
                packet = guest_expect(d, VIRTIO_VSOCK_OP_RST);
                assert_int_equal(packet->header.src_port, 12);
                assert_int_equal(packet->header.dst_port, 11);
                assert_int_equal(packet->header.buf_alloc, 0);
        }
}

static void a_flood_without_receive_buffers_changes_nothing(void **state)
{
        struct driver *d = *state;
        uint32_t port;
        int fd;

        d->hold_rx = true;
        for (uint32_t i = 0; i < 20000; i++) {
                guest_send(d, VIRTIO_VSOCK_OP_RW, i, 7, "flood", 5);
                if (i % 64 == 0)
                        assert_int_equal(driver_run(d), 0);
        }
        d->hold_rx = false;
        for (uint16_t i = 0; i < N_RING; i++)
                rx_offer(d, i);
        assert_int_equal(driver_run(d), 0);
        assert_true(d->n_received <= 2000); /* the rest was forgotten */
        d->n_taken = d->n_received;
        fd = host_connected(d, &port);
        (void) close(fd);
}

static void the_device_dies_with_the_link_and_closes_everything(void **state)
{
        struct driver *d = *state;
        uint32_t port;
        int fd = host_connected(d, &port);
        struct pollfd p = { .fd = vsock_device_fd(d->device), .events = POLLIN };
        char byte;

        (void) close(d->qemu);
        d->qemu = FD_NONE;
        assert_int_equal(device_run(d), -ECONNRESET);
        assert_int_equal(vsock_device_run(d->device), -ECONNRESET);
        assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
        assert_int_equal(poll(&p, 1, 0), 0);
        (void) close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define WITH_DEVICE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
                WITH_DEVICE(the_host_connects_and_both_sides_talk),
                WITH_DEVICE(the_guest_connects_and_both_sides_talk),
                WITH_DEVICE(a_refused_connection_closes_without_a_byte),
                WITH_DEVICE(a_pause_keeps_connections_and_loses_nothing),
                WITH_DEVICE(a_reset_drops_all_connections),
                WITH_DEVICE(every_line_but_a_connect_is_closed_on),
                WITH_DEVICE(a_connect_line_may_come_in_pieces_and_any_case),
                cmocka_unit_test(a_line_has_at_most_32_bytes),
                WITH_DEVICE(a_silent_guest_and_a_silent_host_are_given_two_seconds),
                WITH_DEVICE(nobody_listening_and_a_full_backlog_reset),
                WITH_DEVICE(strange_packets_are_reset_or_dropped),
                WITH_DEVICE(a_flood_without_receive_buffers_changes_nothing),
                WITH_DEVICE(the_device_dies_with_the_link_and_closes_everything),
                cmocka_unit_test(an_existing_path_is_refused_and_none_is_removed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
