/* The ring of a detached command's output. */
#include <string.h>

#include "guest/agent/agent_ring.h"
#include "unit.h"

static void what_is_put_comes_out_in_order_with_its_stream(void **state)
{
        struct ring ring = { 0 };
        uint8_t stream, out[RING_RECORD_MAX];
        uint64_t at = 0;

        (void) state;
        assert_int_equal(ring_get(&ring, &at, &stream, out), 0);
        ring_put(&ring, 1, (const uint8_t *) "one", 3);
        ring_put(&ring, 2, (const uint8_t *) "two!", 4);
        assert_int_equal(ring_get(&ring, &at, &stream, out), 3);
        assert_int_equal(stream, 1);
        assert_memory_equal(out, "one", 3);
        assert_int_equal(ring_get(&ring, &at, &stream, out), 4);
        assert_int_equal(stream, 2);
        assert_memory_equal(out, "two!", 4);
        assert_int_equal(ring_get(&ring, &at, &stream, out), 0);
        ring_done(&ring);
}

/* Records of all sizes, far beyond the ring's: what is left is the last of them, whole. */
static void the_oldest_make_room_and_the_rest_stays_whole(void **state)
{
        struct ring ring = { 0 };
        uint8_t stream, data[RING_RECORD_MAX], out[RING_RECORD_MAX];
        uint64_t at = 0, next, kept = 0;
        unsigned i, first = 0;
        size_t n;

        (void) state;
        for (i = 0; i < 3000; i++) {
                size_t size = 1 + (i * 7919U) % RING_RECORD_MAX;

                memset(data, (int) (i & 0xff), size);
                ring_put(&ring, (uint8_t) (1 + i % 2), data, size);
                assert_true(ring.head - ring.tail <= RING_SIZE && ring.size <= RING_SIZE);
        }
        /* the first that is left, told by its size */
        next = at;
        n = ring_get(&ring, &next, &stream, out);
        for (i = 3000; i-- > 0 && first == 0;) {
                kept += 3 + 1 + (i * 7919U) % RING_RECORD_MAX;
                if (kept > RING_SIZE)
                        first = i + 1;
        }
        assert_int_equal(n, 1 + (first * 7919U) % RING_RECORD_MAX);
        for (i = first; i < 3000; i++) {
                n = ring_get(&ring, &at, &stream, out);
                assert_int_equal(n, 1 + (i * 7919U) % RING_RECORD_MAX);
                assert_int_equal(stream, 1 + i % 2);
                assert_int_equal(out[0], i & 0xff);
                assert_int_equal(out[n - 1], i & 0xff);
        }
        assert_int_equal(ring_get(&ring, &at, &stream, out), 0);
        ring_done(&ring);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_put_comes_out_in_order_with_its_stream),
                cmocka_unit_test(the_oldest_make_room_and_the_rest_stays_whole),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
