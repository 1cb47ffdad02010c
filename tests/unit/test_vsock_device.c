#include <errno.h>

#include "vmm/qemu/vsock_device.h"
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

/* What QEMU says on `stop` and at the beginning of a reset. */
static void stop(struct driver *d, uint32_t base[2])
{
        rings_enable(d, 0);
        for (uint32_t i = 0; i < 2; i++) {
                uint32_t state[2] = { i, 0 };

                message_state(d, 11, i, 0);
                assert_int_equal(message_answer(d, 11, state, sizeof(state)), sizeof(state));
                base[i] = state[1];
        }
}

static void cont(struct driver *d, const uint32_t base[2])
{
        message_u64(d, 2, FEATURES, -1);
        assert_int_equal(message_memory(d), 0);
        for (uint32_t i = 0; i < 2; i++)
                ring_set_up(d, i, base[i]);
        rings_enable(d, 1);
}

static void a_pause_keeps_connections_and_loses_nothing(void **state)
{
        struct driver *d = *state;
        uint32_t port, base[2];
        int fd = host_connected(d, &port);

        stop(d, base);
        guest_send(d, VIRTIO_VSOCK_OP_RW, 5, port, "while", 5);
        assert_int_equal(send(fd, "paused", 6, 0), 6);
        assert_string_equal(host_read(d, fd), "");
        guest_expect_nothing(d);
        cont(d, base);
        assert_string_equal(host_read(d, fd), "while");
        assert_memory_equal(guest_expect(d, VIRTIO_VSOCK_OP_RW)->data, "paused", 6);
        (void) close(fd);
}

static void a_reset_drops_all_connections(void **state)
{
        struct driver *d = *state;
        uint32_t port, base[2];
        int fd = host_connected(d, &port);

        stop(d, base);
        driver_reset_rings(d);
        cont(d, (const uint32_t[]){ 0, 0 });
        assert_string_equal(host_read(d, fd), "EOF");
        (void) close(fd);
        guest_expect_nothing(d);
        (void) close(host_connected(d, &port));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_host_connects_and_both_sides_talk, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_guest_connects_and_both_sides_talk, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_refused_connection_closes_without_a_byte, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_pause_keeps_connections_and_loses_nothing, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_reset_drops_all_connections, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
