#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "network/network_plan.h"
#include "unit.h"

static const struct network_settings settings = { .bridge = "br-fc",
                                                  .bridge_ip = "172.16.0.1",
                                                  .prefix = 24 };

static void the_lowest_free_address_is_given(void **state)
{
        const char *const taken[] = { "172.16.0.3", "172.16.0.2", "172.16.0.5" };
        char address[NETWORK_ADDRESS_MAX];
        struct err err = { 0 };

        (void) state;
        assert_int_equal(network_pick_address(&settings, NULL, 0, address, &err), 0);
        assert_string_equal(address, "172.16.0.2");
        assert_int_equal(network_pick_address(&settings, taken, 3, address, &err), 0);
        assert_string_equal(address, "172.16.0.4");
}

static void a_full_range_says_what_to_change(void **state)
{
        const struct network_settings small = { .bridge = "br-fc", .bridge_ip = "10.0.0.1", .prefix = 30 };
        const char *const taken[] = { "10.0.0.2" };
        char address[NETWORK_ADDRESS_MAX];
        struct err err = { 0 };

        (void) state;
        assert_int_equal(network_pick_address(&small, NULL, 0, address, &err), 0);
        assert_string_equal(address, "10.0.0.2");
        assert_int_equal(network_pick_address(&small, taken, 1, address, &err), -ENOSPC);
        assert_non_null(strstr(err.message, "10.0.0.1/30"));
        assert_non_null(strstr(err.message, "cidr"));
}

static void the_mac_follows_from_the_address(void **state)
{
        char mac[NETWORK_MAC_MAX];
        struct err err = { 0 };

        (void) state;
        assert_int_equal(network_mac_of("172.16.0.254", mac, &err), 0);
        assert_string_equal(mac, "06:00:ac:10:00:fe");
        assert_int_equal(network_mac_of("172.16.0", mac, &err), -EINVAL);
}

static void the_tap_carries_the_beginning_of_the_id(void **state)
{
        char tap[NETWORK_TAP_MAX];

        (void) state;
        network_tap_of("0123abcd4567ef89", tap);
        assert_string_equal(tap, "tap-fc-0123abcd");
        network_tap_of("01", tap);
        assert_string_equal(tap, "tap-fc-01");
}

static void without_a_helper_the_failure_says_so(void **state)
{
        struct network_settings alone = settings;
        struct err err = { 0 };
        int fd = -1;

        (void) state;
        alone.helper_socket = "/nonexistent/banger/root.sock";
        assert_int_equal(network_attach(&alone,
                                        &(struct network_guest){ "tap-fc-1", "172.16.0.2", false, false },
                                        &fd, &err),
                         -ENOTCONN);
        assert_int_equal(fd, -1);
        assert_non_null(strstr(err.message, "/nonexistent/banger/root.sock"));
        assert_non_null(strstr(err.message, "root helper"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_lowest_free_address_is_given),
                cmocka_unit_test(a_full_range_says_what_to_change),
                cmocka_unit_test(the_mac_follows_from_the_address),
                cmocka_unit_test(the_tap_carries_the_beginning_of_the_id),
                cmocka_unit_test(without_a_helper_the_failure_says_so),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
