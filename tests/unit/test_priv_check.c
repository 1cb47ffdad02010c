#include <errno.h>
#include <signal.h>
#include <string.h>

#include "privileged/contract/priv_check.h"
#include "privileged/contract/priv_methods.h"
#include "rpc/rpc_server.h"
#include "unit.h"

struct text_case {
        const char *value;
        int code;
};

/* Every value gives its code, and an error with words exactly when it is refused. */
static void run_cases(const struct text_case *cases, size_t n,
                      int (*check)(const char *value, struct err *err))
{
        for (size_t i = 0; i < n; i++) {
                struct err err = { 0 };
                int r = check(cases[i].value, &err);

                if (r != -cases[i].code)
                        fail_msg("'%s': %d instead of %d", cases[i].value, r, -cases[i].code);
                assert_int_equal(err.code, cases[i].code);
                assert_int_equal(err.message[0] != '\0', cases[i].code != 0);
        }
}

static void interface_names_have_the_shape_of_linux(void **state)
{
        static const struct text_case cases[] = {
                {"eth0",              0     },
                { "a",                0     },
                { "abcdefghijklmno",  0     }, /* 15 */
                { "abcdefghijklmnop", EINVAL}, /* 16 */
                { "",                 EINVAL},
                { ".",                EINVAL},
                { "..",               EINVAL},
                { "a b",              EINVAL},
                { "a\tb",             EINVAL},
                { "a/b",              EINVAL},
                { "a:b",              EINVAL},
                { "a%d",              EINVAL},
                { "a\x7f",            EINVAL},
                { "a\xc3\xa9",        EINVAL},
        };

        (void) state;
        run_cases(cases, N_ELEMENTS(cases), priv_check_interface);
}

static void bridges_are_our_own_only(void **state)
{
        static const struct text_case cases[] = {
                {"br-fc",             0     },
                { "br-fc-2",          0     },
                { "br-fc-abcdefghi",  0     }, /* 15 */
                { "br-fc-abcdefghij", EINVAL},
                { "br-fc2",           EINVAL},
                { "br-f",             EINVAL},
                { "BR-FC",            EINVAL},
                { "eth0",             EINVAL},
                { "docker0",          EINVAL},
                { "lo",               EINVAL},
                { " br-fc",           EINVAL},
                { "br-fc-%d",         EINVAL},
                { "br-fc-a/b",        EINVAL},
                { "",                 EINVAL},
        };

        (void) state;
        run_cases(cases, N_ELEMENTS(cases), priv_check_bridge);
}

static void taps_carry_our_prefix(void **state)
{
        static const struct text_case cases[] = {
                {"tap-fc-1",          0     },
                { "tap-fc-0123abcd",  0     },
                { "tap-pool-0",       0     },
                { "tap-fc-0123abcde", EINVAL},
                { "tap-fc-",          EINVAL},
                { "tap-pool-",        EINVAL},
                { "tap-fd-1",         EINVAL},
                { "tap0",             EINVAL},
                { "eth0",             EINVAL},
                { "tap-fc-%d",        EINVAL},
                { "tap-fc-a b",       EINVAL},
                { "",                 EINVAL},
        };

        (void) state;
        run_cases(cases, N_ELEMENTS(cases), priv_check_tap);
}

static int check_ipv4(const char *value, struct err *err)
{
        uint32_t address;

        return priv_check_ipv4(value, "guest_ip", &address, err);
}

static void ipv4_addresses_are_dotted_quads(void **state)
{
        static const struct text_case cases[] = {
                {"172.16.0.2",       0     },
                { "0.0.0.0",         0     },
                { "255.255.255.255", 0     },
                { "256.0.0.1",       EINVAL},
                { "1.2.3",           EINVAL},
                { "1.2.3.4.5",       EINVAL},
                { "1.2.3.4/24",      EINVAL},
                { " 1.2.3.4",        EINVAL},
                { "0x7f.1.1.1",      EINVAL},
                { "01.2.3.4",        EINVAL},
                { "::1",             EINVAL},
                { "::ffff:1.2.3.4",  EINVAL},
                { "",                EINVAL},
                { "host",            EINVAL},
        };

        (void) state;
        run_cases(cases, N_ELEMENTS(cases), check_ipv4);
}

static int check_mac(const char *value, struct err *err)
{
        uint8_t mac[PRIV_MAC_BYTES];

        return priv_check_mac(value, mac, err);
}

static void macs_are_local_and_of_one_station(void **state)
{
        static const struct text_case cases[] = {
                {"06:00:ac:10:00:02",   0     },
                { "0A:BC:DE:f0:12:34",  0     },
                { "00:00:ac:10:00:02",  EINVAL}, /* of a manufacturer */
                { "07:00:ac:10:00:02",  EINVAL}, /* a group */
                { "ff:ff:ff:ff:ff:ff",  EINVAL},
                { "00:00:00:00:00:00",  EINVAL},
                { "06:00:ac:10:00",     EINVAL},
                { "06:00:ac:10:00:0g",  EINVAL},
                { "06-00-ac-10-00-02",  EINVAL},
                { "06:00:ac:10:00:022", EINVAL},
                { "0600:ac:10:00:02:",  EINVAL},
                { "",                   EINVAL},
        };

        (void) state;
        run_cases(cases, N_ELEMENTS(cases), check_mac);
}

static void mac_bytes_come_out_in_order(void **state)
{
        static const uint8_t wanted[] = { 0x06, 0x0a, 0xbc, 0x10, 0xff, 0x02 };
        uint8_t mac[PRIV_MAC_BYTES] = { 0 };
        struct err err = { 0 };

        (void) state;
        assert_int_equal(priv_check_mac("06:0A:bc:10:ff:02", mac, &err), 0);
        assert_memory_equal(mac, wanted, sizeof(wanted));
}

static void prefix_lengths_are_8_to_32(void **state)
{
        static const struct {
                uint32_t cidr;
                int code;
        } cases[] = {
                {8,           0     },
                { 24,         0     },
                { 32,         0     },
                { 7,          EINVAL},
                { 0,          EINVAL},
                { 33,         EINVAL},
                { 64,         EINVAL},
                { UINT32_MAX, EINVAL},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct err err = { 0 };

                assert_int_equal(priv_check_cidr(cases[i].cidr, &err), -cases[i].code);
        }
}

static void the_triple_is_refused_for_each_of_its_parts(void **state)
{
        static const struct {
                struct priv_network network;
                int code;
        } cases[] = {
                {{ "br-fc", "172.16.0.1", 24 },       0     },
                { { "br-fc-x", "10.1.2.3", 8 },       0     },
                { { "br-fc", "192.168.255.1", 30 },   0     },
                { { "br-fc", "100.64.0.1", 10 },      0     },
                { { "br-fc", "10.0.0.0", 31 },        0     },
                { { "br-fc", "10.0.0.0", 32 },        0     },
                { { "eth0", "172.16.0.1", 24 },       EINVAL},
                { { "br-fc", "172.16.0", 24 },        EINVAL},
                { { "br-fc", "172.16.0.1", 7 },       EINVAL},
                { { "br-fc", "172.16.0.1", 33 },      EINVAL},
                { { "br-fc", "8.8.8.8", 24 },         EINVAL}, /* not ours to have */
                { { "br-fc", "127.0.0.1", 8 },        EINVAL},
                { { "br-fc", "169.254.169.254", 32 }, EINVAL},
                { { "br-fc", "224.0.0.1", 24 },       EINVAL},
                { { "br-fc", "172.32.0.1", 24 },      EINVAL},
                { { "br-fc", "172.15.255.1", 24 },    EINVAL},
                { { "br-fc", "172.16.0.1", 11 },      EINVAL}, /* more than the private range */
                { { "br-fc", "192.168.0.1", 15 },     EINVAL},
                { { "br-fc", "172.16.0.0", 24 },      EINVAL}, /* the network itself */
                { { "br-fc", "172.16.0.255", 24 },    EINVAL}, /* its broadcast address */
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct err err = { 0 };
                int r = priv_check_network(&cases[i].network, &err);

                if (r != -cases[i].code)
                        fail_msg("%s %s/%u: %d", cases[i].network.bridge, cases[i].network.bridge_ip,
                                 cases[i].network.cidr, r);
        }
}

static int check_guest(const char *value, struct err *err)
{
        const struct priv_network network = { "br-fc", "172.16.0.1", 24 };
        uint32_t address;

        return priv_check_guest_ip(&network, value, &address, err);
}

static void guests_live_in_the_subnet_of_their_bridge(void **state)
{
        static const struct text_case cases[] = {
                {"172.16.0.2",    0     },
                { "172.16.0.254", 0     },
                { "172.16.0.1",   EINVAL}, /* the bridge */
                { "172.16.0.0",   EINVAL},
                { "172.16.0.255", EINVAL},
                { "172.16.1.2",   EINVAL},
                { "8.8.8.8",      EINVAL},
                { "x",            EINVAL},
        };

        (void) state;
        run_cases(cases, N_ELEMENTS(cases), check_guest);
}

static int check_signal(const char *value, struct err *err)
{
        int signal;

        return priv_check_signal(value, &signal, err);
}

static void signals_are_of_the_list(void **state)
{
        static const struct text_case cases[] = {
                {"TERM",        0     },
                { "kill",       0     },
                { "SIGINT",     0     },
                { "sighup",     0     },
                { "Quit",       0     },
                { "USR1",       0     },
                { "SIGUSR2",    0     },
                { "ABRT",       0     },
                { "STOP",       EINVAL},
                { "SIGCONT",    EINVAL},
                { "9",          EINVAL},
                { "RTMIN",      EINVAL},
                { "SIGRTMIN",   EINVAL},
                { "SIG",        EINVAL},
                { "SIGSIGTERM", EINVAL},
                { " TERM",      EINVAL},
                { "TERM ",      EINVAL},
                { "",           EINVAL},
        };
        struct err err = { 0 };
        int signal = 0;

        (void) state;
        run_cases(cases, N_ELEMENTS(cases), check_signal);
        assert_int_equal(priv_check_signal("sigusr2", &signal, &err), 0);
        assert_int_equal(signal, SIGUSR2);
}

static void pids_of_nobody_and_of_init_are_refused(void **state)
{
        static const struct {
                uint32_t pid;
                int code;
        } cases[] = {
                {0,               EINVAL},
                { 1,              EINVAL},
                { 2,              0     },
                { 1U << 22,       0     },
                { (1U << 22) + 1, EINVAL},
                { UINT32_MAX,     EINVAL},
        };

        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct err err = { 0 };

                assert_int_equal(priv_check_pid(cases[i].pid, &err), -cases[i].code);
        }
}

static void the_table_of_methods_is_closed_and_in_order(void **state)
{
        static const char *const names[PRIV_N_METHODS] = {
                "priv.ping",       "priv.ensure_bridge", "priv.create_tap",   "priv.pin_tap",
                "priv.delete_tap", "priv.ensure_nat",    "priv.kill_process", "priv.signal_process",
        };

        (void) state;
        for (size_t i = 0; i < PRIV_N_METHODS; i++) {
                struct err err = { 0 };

                assert_string_equal(priv_methods[i].name, names[i]);
                assert_int_equal(rpc_method_verify(&priv_methods[i], &err), 0);
                assert_int_equal(priv_methods[i].n_fds_out, i == PRIV_CREATE_TAP ? 1 : 0);
        }
}

static void a_prefix_length_that_is_text_is_not_decoded(void **state)
{
        struct priv_ensure_bridge_params params = { 0 };
        json_auto_t *message =
                json_pack("{s:s, s:s, s:s}", "bridge", "br-fc", "bridge_ip", "172.16.0.1", "cidr", "24");
        struct err err = { 0 };

        (void) state;
        assert_int_equal(rpc_decode(&priv_methods[PRIV_ENSURE_BRIDGE], message, &params, &err), -EINVAL);
        assert_non_null(strstr(err.message, "cidr"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(interface_names_have_the_shape_of_linux),
                cmocka_unit_test(bridges_are_our_own_only),
                cmocka_unit_test(taps_carry_our_prefix),
                cmocka_unit_test(ipv4_addresses_are_dotted_quads),
                cmocka_unit_test(macs_are_local_and_of_one_station),
                cmocka_unit_test(mac_bytes_come_out_in_order),
                cmocka_unit_test(prefix_lengths_are_8_to_32),
                cmocka_unit_test(the_triple_is_refused_for_each_of_its_parts),
                cmocka_unit_test(guests_live_in_the_subnet_of_their_bridge),
                cmocka_unit_test(signals_are_of_the_list),
                cmocka_unit_test(pids_of_nobody_and_of_init_are_refused),
                cmocka_unit_test(the_table_of_methods_is_closed_and_in_order),
                cmocka_unit_test(a_prefix_length_that_is_text_is_not_decoded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
