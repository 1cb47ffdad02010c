/* Rings and messages as a hostile guest and a hostile QEMU would have them. */
#include <errno.h>

#include "vsock_driver.h"

static int set_up(void **state)
{
        *state = driver_new();
        driver_ok(*state);
        return 0;
}

static int tear_down(void **state)
{
        driver_free(*state);
        return 0;
}

#define RX    0
#define TX    1
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE

struct broken_ring {
        const char *name;
        int ring;
        uint16_t n_offered; /* by this much the index runs ahead */
        uint16_t head;
        struct vring_desc desc[4]; /* numbers 0 to 3 */
        bool is_fatal;
};

static const struct broken_ring broken_rings[] = {
        {"a head beyond the ring",                   TX, 1,          N_RING, { { 0 } },                                                                      true },
        { "a head far beyond the ring",              TX, 1,          0xffff, { { 0 } },                                                                      true },
        { "more chains than the ring holds",         TX, N_RING + 1, 0,      { { AREA_TX, 44, 0, 0 } },                                                      true },
        { "an index that went back",                 TX, 0xffff,     0,      { { AREA_TX, 44, 0, 0 } },                                                      true },
        { "a next beyond the ring",                  TX, 1,          0,      { { AREA_TX, 44, NEXT, N_RING } },                                              true },
        { "a descriptor that follows itself",        TX, 1,          0,      { { AREA_TX, 44, NEXT, 0 } },                                                   true },
        { "a circle",
         TX,                                             1,
         0,                                                                  { { AREA_TX, 44, NEXT, 1 }, { AREA_TX, 1, NEXT, 2 }, { AREA_TX, 0, NEXT, 1 } },
         true                                                                                                                                                     },
        { "an indirect table, not offered",          TX, 1,          0,      { { AREA_TX, 16, VRING_DESC_F_INDIRECT, 0 } },                                  true },
        { "an unknown flag",                         TX, 1,          0,      { { AREA_TX, 44, 0x80, 0 } },                                                   true },
        { "an address in no region",                 TX, 1,          0,      { { 1ULL << 40, 44, 0, 0 } },                                                   true },
        { "an address between the regions",          TX, 1,          0,      { { 0xf8000, 44, 0, 0 } },                                                      true },
        { "a length over the end of memory",         TX, 1,          0,      { { MEMORY_SIZE - 43, 44, 0, 0 } },                                             true },
        { "the longest length",                      TX, 1,          0,      { { AREA_TX, UINT32_MAX, 0, 0 } },                                              true },
        { "a length that wraps around",              TX, 1,          0,      { { UINT64_MAX - 10, 44, 0, 0 } },                                              true },
        { "an address beyond the second descriptor",
         TX,                                             1,
         0,                                                                  { { AREA_TX, 44, NEXT, 1 }, { ~0ULL, 1, 0, 0 } },
         true                                                                                                                                                     },
        { "a chain shorter than a header",           TX, 1,          0,      { { AREA_TX, 43, 0, 0 } },                                                      false},
        { "an empty chain",                          TX, 1,          0,      { { 0, 0, 0, 0 } },                                                             false},
        { "a buffer to write in the wrong queue",    TX, 1,          0,      { { AREA_TX, 44, WRITE, 0 } },                                                  false},
        { "a buffer to write behind a packet",
         TX,                                             1,
         0,                                                                  { { AREA_TX, 44, NEXT, 1 }, { AREA_TX, 4, WRITE, 0 } },
         false                                                                                                                                                    },
        { "the last bytes of memory",                TX, 1,          0,      { { MEMORY_SIZE - 44, 44, 0, 0 } },                                             false},
        { "a buffer to read in the wrong queue",     RX, 1,          0,      { { AREA_RX, 4096, 0, 0 } },                                                    false},
        { "room for no data",                        RX, 1,          0,      { { AREA_RX, 44, WRITE, 0 } },                                                  false},
        { "a buffer outside memory",                 RX, 1,          0,      { { 1ULL << 40, 4096, WRITE, 0 } },                                             true },
};

static void a_broken_ring_ends_the_device_and_nothing_else(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(broken_rings); i++) {
                const struct broken_ring *c = &broken_rings[i];
                struct driver *d = driver_new();
                struct vq *vq;
                int fd, r;

                d->hold_rx = true;
                driver_reset_rings(d);
                driver_ok(d);
                vq = &d->rings[c->ring];
                fd = host_dial(d, "CONNECT 5\n"); /* so that there is something to receive */
                assert_int_equal(device_run(d), 0);
                memcpy(vq->desc, c->desc, sizeof(c->desc));
                for (size_t k = 0; k < N_RING; k++)
                        vq->avail->ring[k] = c->head;
                __atomic_store_n(&vq->avail->idx, c->n_offered, __ATOMIC_SEQ_CST);
                assert_int_equal(write(vq->kick, &(uint64_t){ 1 }, 8), 8);
                r = device_run(d);
                if (r != (c->is_fatal ? -EBADMSG : 0))
                        fail_msg("%s: %d", c->name, r);
                if (!c->is_fatal &&
                    (vq->used->idx != 1 || vq->used->ring[0].len != 0 || vq->used->ring[0].id != 0))
                        fail_msg("%s: not given back", c->name);
                (void) close(fd);
                driver_free(d);
        }
}

static void headers_and_data_may_lie_in_any_pieces(void **state)
{
        struct driver *d = *state;
        struct virtio_vsock_hdr header;
        struct vq *tx = &d->rings[TX];
        uint32_t port;
        int fd = host_connected(d, &port);

        header = guest_header(VIRTIO_VSOCK_OP_RW, 5, port);
        header.len = 6;
        memcpy(d->memory + AREA_TX, &header, 44);
        memcpy(d->memory + AREA_TX + 44, "pieces", 6);
        tx->desc[100] = (struct vring_desc){ AREA_TX, 1, NEXT, 101 };
        tx->desc[101] = (struct vring_desc){ AREA_TX + 1, 0, NEXT, 102 };
        tx->desc[102] = (struct vring_desc){ AREA_TX + 1, 45, NEXT, 103 };
        tx->desc[103] = (struct vring_desc){ AREA_TX + 46, 500, 0, 0 };
        ring_offer(tx, 100);
        assert_string_equal(host_read(d, fd), "pieces");
        (void) close(fd);
}

static void a_receive_buffer_may_lie_in_any_pieces(void **state)
{
        struct driver *d = driver_new();
        struct vq *rx = &d->rings[RX];
        struct virtio_vsock_hdr header;
        int fd;

        (void) state;
        d->hold_rx = true;
        driver_reset_rings(d);
        driver_ok(d);
        rx->desc[0] = (struct vring_desc){ AREA_RX, 3, WRITE | NEXT, 1 };
        rx->desc[1] = (struct vring_desc){ AREA_RX + 3, 40, WRITE | NEXT, 2 };
        rx->desc[2] = (struct vring_desc){ AREA_RX + 43, 2, WRITE, 0 };
        ring_offer(rx, 0);
        fd = host_dial(d, "CONNECT 8\n");
        assert_int_equal(device_run(d), 0);
        memcpy(&header, d->memory + AREA_RX, sizeof(header));
        assert_int_equal(header.op, VIRTIO_VSOCK_OP_REQUEST);
        assert_int_equal(header.dst_port, 8);
        assert_int_equal(rx->used->ring[0].len, 44);
        (void) close(fd);
        driver_free(d);
}

/* Messages no QEMU sends; error: what run says, 0 where it goes on. */
struct bad_message {
        const char *name;
        uint32_t request, flags, size;
        uint32_t words[10];
        int n_fds;
        int error;
};

static const struct bad_message bad_messages[] = {
        {"another version",                         1,          2, 0,          { 0 },                                  0, -EPROTO },
        { "a reply",                                1,          5, 0,          { 0 },                                  0, -EPROTO },
        { "the longest size",                       5,          1, UINT32_MAX, { 0 },                                  0, -EPROTO },
        { "a size for another request",             2,          1, 4,          { 0 },                                  0, -EPROTO },
        { "an unknown request",                     77,         1, 8,          { 0 },                                  0, 0       },
        { "an unknown request that wants to know",  77,         9, 8,          { 0 },                                  0, 1       },
        { "an unknown request with descriptors",    77,         1, 8,          { 0 },                                  2, 0       },
        { "the largest request",                    UINT32_MAX, 1, 0,          { 0 },                                  0, 0       },
        { "features not offered",                   2,          1, 8,          { 0xffffffff, 0xffffffff },             0, -EINVAL },
        { "features not offered that want to know", 2,          9, 8,          { 0xffffffff, 0xffffffff },             0, 1       },
        { "memory without descriptors",             5,          1, 40,         { 1, 0, 0, 0, 4096 },                   0, -EPROTO },
        { "memory of no regions",                   5,          1, 8,          { 0 },                                  0, -EPROTO },
        { "memory of too many regions",             5,          1, 8,          { 9 },                                  8, -EPROTO },
        { "memory of fewer regions than said",      5,          1, 40,         { 2 },                                  2, -EPROTO },
        { "memory of size 0",                       5,          1, 40,         { 1 },                                  1, -EINVAL },
        { "memory larger than its file",            5,          9, 40,         { 1, 0, 0, 0, MEMORY_SIZE + 1 },        1, 1       },
        { "memory that wraps around",               5,          1, 40,         { 1, 0, 0xffffffff, 0xffffffff, 4096 }, 1, -EINVAL },
        { "a descriptor too many",                  3,          1, 0,          { 0 },                                  1, -EPROTO },
        { "a ring of no size",                      8,          1, 8,          { 0, 0 },                               0, -EINVAL },
        { "a ring of 3",                            8,          1, 8,          { 0, 3 },                               0, -EINVAL },
        { "a ring of 2048",                         8,          1, 8,          { 0, 2048 },                            0, -EINVAL },
        { "a third ring",                           8,          1, 8,          { 2, 128 },                             0, -EINVAL },
        { "the base of a third ring",               11,         1, 8,          { 2, 0 },                               0, -EPROTO },
        { "a base beyond 16 bits",                  10,         1, 8,          { 0, 0x10000 },                         0, -EINVAL },
        { "logging",                                9,          1, 40,         { 0, 1 },                               0, -EINVAL },
        { "a kick that is no eventfd",              12,         1, 8,          { 0 },                                  1, -EINVAL },
        { "a kick without a descriptor",            12,         1, 8,          { 0 },                                  0, -EPROTO },
        { "a kick by polling",                      12,         1, 8,          { 0x100 },                              0, -ENOTSUP},
        { "enabling by half",                       18,         1, 8,          { 0, 2 },                               0, -EINVAL },
};

static void a_bad_message_is_refused_or_ends_the_link(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(bad_messages); i++) {
                const struct bad_message *c = &bad_messages[i];
                struct driver *d = driver_new();
                uint32_t message[13] = { c->request, c->flags, c->size };
                int fds[8];
                uint64_t ack = 0;
                int r;

                for (size_t k = 0; k < N_ELEMENTS(fds); k++)
                        fds[k] = d->memory_fd;
                memcpy(message + 3, c->words, sizeof(c->words));
                assert_int_equal(fd_send_with(d->qemu, message, c->size > 40 ? 12 : 12 + c->size, fds,
                                              (size_t) c->n_fds),
                                 0);
                if (c->error == 1)
                        (void) message_answer(d, c->request, &ack, sizeof(ack));
                r = c->error == 1 ? 1 : device_run(d);
                if (r != c->error || (r == 1 && ack != 1))
                        fail_msg("%s: %d", c->name, r);
                driver_free(d);
        }
}

static void the_configuration_is_the_cid_and_no_more(void **state)
{
        static const struct {
                uint32_t offset, size, n_answer;
        } cases[] = {
                {0,           8, 20},
                { 4,          4, 16},
                { 8,          0, 12},
                { 0,          9, 0 },
                { 8,          1, 0 },
                { UINT32_MAX, 8, 0 }
        };
        struct driver *d = *state;

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                uint32_t ask[8] = { cases[i].offset, cases[i].size };
                uint32_t answer[8] = { 0 };

                message_send(d, 24, 0, ask, 12 + cases[i].size % 16, -1);
                assert_int_equal(message_answer(d, 24, answer, sizeof(answer)), cases[i].n_answer);
                if (cases[i].n_answer == 20)
                        assert_int_equal(answer[3], GUEST_CID);
        }
}

static void messages_may_come_byte_by_byte(void **state)
{
        struct driver *d = *state;
        uint32_t message[3] = { 17, 1, 0 };
        uint64_t n = 0;

        for (size_t i = 0; i < sizeof(message); i++) {
                assert_int_equal(send(d->qemu, (char *) message + i, 1, 0), 1);
                assert_int_equal(device_run(d), 0);
        }
        (void) message_answer(d, 17, &n, sizeof(n));
        assert_int_equal(n, 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_broken_ring_ends_the_device_and_nothing_else),
                cmocka_unit_test_setup_teardown(headers_and_data_may_lie_in_any_pieces, set_up, tear_down),
                cmocka_unit_test(a_receive_buffer_may_lie_in_any_pieces),
                cmocka_unit_test(a_bad_message_is_refused_or_ends_the_link),
                cmocka_unit_test_setup_teardown(the_configuration_is_the_cid_and_no_more, set_up, tear_down),
                cmocka_unit_test_setup_teardown(messages_may_come_byte_by_byte, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
