/* The limiter between two datagram sockets, as it is between a tap and QEMU: who reads slowly, who sends fast, what is lost. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "unit.h"
#include "vmm/qemu/net_limiter.h"
#include "vmm/qemu/token_bucket.h"

#define MS        UINT64_C(1000000) /* in ns */
#define BANDWIDTH 1                 /* bit of vmm_rate_limiter.given */
#define OPS       2

static void a_bucket_gives_what_it_holds_and_then_its_rate(void **state)
{
        const struct vmm_token_bucket wish = { .size = 1000, .one_time_burst = 500, .refill_time = 100 };
        struct token_bucket bucket;
        uint64_t now = 5000 * MS;

        (void) state;
        token_bucket_set(&bucket, &wish, now);
        token_bucket_take(&bucket, 1499);
        assert_int_equal(token_bucket_wait_ns(&bucket, now), 0);
        token_bucket_take(&bucket, 101); /* one was there; a hundred are owed */
        assert_in_range(token_bucket_wait_ns(&bucket, now), 10 * MS, (10 * MS) + 10);
        assert_in_range(token_bucket_wait_ns(&bucket, now + (9 * MS)), 1, MS + 10);
        assert_int_equal(token_bucket_wait_ns(&bucket, now + (11 * MS)), 0);
        (void) token_bucket_wait_ns(&bucket, now + (100000 * MS)); /* it does not hold more than its size */
        token_bucket_take(&bucket, 1001);
        assert_true(token_bucket_wait_ns(&bucket, now + (100000 * MS)) > 0);
}

static void a_bucket_without_size_or_time_is_none(void **state)
{
        static const struct vmm_token_bucket none[] = { { 0 }, { .size = 5 }, { .refill_time = 5 } };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(none); i++) {
                struct token_bucket bucket;

                token_bucket_set(&bucket, &none[i], 0);
                token_bucket_take(&bucket, UINT64_MAX);
                assert_int_equal(token_bucket_wait_ns(&bucket, 0), 0);
        }
}

/* near is what would be the wire's side of the tap, far what QEMU has. */
struct link {
        struct net_limiter *limiter;
        int near, far;
};

static struct link make_link_of(const struct vmm_interface *interface, int type)
{
        struct link link = { 0 };
        struct err err = { 0 };
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        assert_int_equal(net_limiter_new(&link.limiter, &err), 0);
        assert_int_equal(net_limiter_add(link.limiter, interface, pair[1], &link.far, &err), 0);
        (void) close(pair[1]);
        link.near = pair[0];
        return link;
}

static struct link make_link(const struct vmm_interface *interface)
{
        return make_link_of(interface, SOCK_DGRAM);
}

static void link_done(struct link *link)
{
        net_limiter_free(link->limiter);
        (void) close(link->near);
        (void) close(link->far);
}

/* Sends whatever fits and reads whatever comes for so long; how many bytes came. */
static uint64_t carry(const struct link *link, int from, int to, size_t frame_n, uint64_t for_ms)
{
        uint64_t end = clock_monotonic_ms() + for_ms, sum = 0;
        char frame[2048] = { 0 };

        while (clock_monotonic_ms() < end) {
                struct pollfd polled[] = {
                        {from,                           POLLOUT, 0},
                        { to,                            POLLIN,  0},
                        { net_limiter_fd(link->limiter), POLLIN,  0}
                };
                ssize_t n;

                (void) poll(polled, N_ELEMENTS(polled), 1);
                while (send(from, frame, frame_n, MSG_DONTWAIT) > 0)
                        ;
                net_limiter_run(link->limiter);
                while ((n = recv(to, frame, sizeof(frame), MSG_DONTWAIT)) > 0)
                        sum += (uint64_t) n;
        }
        return sum;
}

static void each_direction_has_its_rate(void **state)
{
        const struct vmm_interface interface = {
                .iface_id = "eth0",
                .rx_rate_limiter = {.given = BANDWIDTH, .bandwidth = { .size = 10000, .refill_time = 10 }},
                .tx_rate_limiter = { .given = OPS,      .ops = { .size = 2, .refill_time = 10 }          }
        };
        struct link link = make_link(&interface);
        uint64_t bytes, frames;

        (void) state;
        bytes = carry(&link, link.near, link.far, 1500, 400);
        frames = carry(&link, link.far, link.near, 100, 400) / 100;
        /* 400 ms of 1,000,000 bytes and 200 frames a second */
        assert_in_range(bytes, 300000, 425000);
        assert_in_range(frames, 60, 88);
        link_done(&link);
}

static void nothing_is_lost_while_it_waits(void **state)
{
        const struct vmm_interface interface = {
                .iface_id = "eth0",
                .tx_rate_limiter = {.given = OPS, .ops = { .size = 1, .refill_time = 1 }}
        };
        struct link link = make_link(&interface);
        uint64_t end = clock_monotonic_ms() + 5000;
        uint32_t sent = 0, got = 0, number;

        (void) state;
        while (got < 500 && clock_monotonic_ms() < end) {
                while (sent < 500 && send(link.far, &sent, sizeof(sent), MSG_DONTWAIT) > 0)
                        sent++;
                (void) fd_wait(net_limiter_fd(link.limiter), POLLIN, 1);
                net_limiter_run(link.limiter);
                if (clock_monotonic_ms() % 7 == 0) /* a reader that is not always there */
                        while (recv(link.near, &number, sizeof(number), MSG_DONTWAIT) > 0)
                                assert_int_equal(number, got++);
        }
        assert_int_equal(got, 500);
        link_done(&link);
}

static void a_change_counts_at_once(void **state)
{
        const struct vmm_interface interface = {
                .iface_id = "eth0",
                .rx_rate_limiter = {.given = BANDWIDTH,
                                    .bandwidth = { .size = 1, .refill_time = 100000000 }}
        };
        const struct vmm_interface_update other = { .iface_id = "eth1" },
                                          faster = { .iface_id = "eth0",
                                                     .rx_rate_limiter = { .given = BANDWIDTH } };
        struct link link = make_link(&interface);
        struct err err = { 0 };

        (void) state;
        assert_true(net_limiter_is_needed(&interface));
        assert_in_range(carry(&link, link.near, link.far, 1000, 50), 0, 1000);
        assert_int_equal(net_limiter_change(link.limiter, &other, &err), -ENOENT);
        assert_int_equal(net_limiter_change(link.limiter, &faster, &err), 0);
        assert_true(carry(&link, link.near, link.far, 1000, 50) > 100000);
        link_done(&link);
}

static void a_lost_tap_is_noticed_once(void **state)
{
        const struct vmm_interface interface = {
                .iface_id = "eth0",
                .rx_rate_limiter = {.given = OPS, .ops = { .size = 10, .refill_time = 10 }}
        };
        struct link link = make_link_of(&interface, SOCK_SEQPACKET); /* whose other end tells of its end */

        (void) state;
        (void) close(link.near);
        assert_int_equal(fd_wait(net_limiter_fd(link.limiter), POLLIN, 1000), 0);
        net_limiter_run(link.limiter);
        assert_int_equal(fd_wait(net_limiter_fd(link.limiter), POLLIN, 20), -ETIMEDOUT);
        link.near = FD_NONE;
        net_limiter_free(link.limiter);
        (void) close(link.far);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_bucket_gives_what_it_holds_and_then_its_rate),
                cmocka_unit_test(a_bucket_without_size_or_time_is_none),
                cmocka_unit_test(each_direction_has_its_rate),
                cmocka_unit_test(nothing_is_lost_while_it_waits),
                cmocka_unit_test(a_change_counts_at_once),
                cmocka_unit_test(a_lost_tap_is_noticed_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
