#include "network/network_plan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"
#include "privileged/client/priv_client.h"

#define OP            "network.plan"
#define TAP_ID_DIGITS 8
#define FRAME_MAX     2048
#define QUEUE_MAX     2000

static struct priv_network triple_of(const struct network_settings *settings)
{
        return (struct priv_network){ settings->bridge, settings->bridge_ip, settings->prefix };
}

static void format_address(uint32_t address, char ret_address[NETWORK_ADDRESS_MAX])
{
        const struct in_addr raw = { htonl(address) };

        (void) inet_ntop(AF_INET, &raw, ret_address, NETWORK_ADDRESS_MAX);
}

static int compare_addresses(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

/* In numbers and sorted, so that a thousand machines are looked at once each. What is no address is nobody's. */
static uint32_t *sorted_addresses(const char *const *taken, unsigned n, unsigned *ret_n)
{
        uint32_t *numbers = xcalloc(n + 1, sizeof(*numbers));
        unsigned n_numbers = 0;

        for (unsigned i = 0; i < n; i++) {
                struct in_addr raw;

                if (inet_pton(AF_INET, taken[i], &raw) == 1)
                        numbers[n_numbers++] = ntohl(raw.s_addr);
        }
        qsort(numbers, n_numbers, sizeof(*numbers), compare_addresses);
        *ret_n = n_numbers;
        return numbers;
}

int network_pick_address(const struct network_settings *settings, const char *const *taken, unsigned n,
                         char ret_address[NETWORK_ADDRESS_MAX], struct err *err)
{
        const struct priv_network network = triple_of(settings);
        scoped_free uint32_t *numbers = NULL;
        uint32_t bridge = 0, address, last;
        unsigned n_numbers = 0;
        int r = priv_check_network(&network, err);

        if (r == 0)
                r = priv_check_ipv4(settings->bridge_ip, "bridge_ip", &bridge, err);
        if (r < 0)
                return r;
        last = bridge | (settings->prefix < 32 ? UINT32_MAX >> settings->prefix : 0);
        numbers = sorted_addresses(taken, n, &n_numbers);
        address = bridge + 1; /* upwards from the bridge's own, past those that are taken */
        for (unsigned i = 0; i < n_numbers && numbers[i] <= address; i++)
                if (numbers[i] == address)
                        address++;
        if (address < last) {
                format_address(address, ret_address);
                return 0;
        }
        return err_set(err, ENOSPC, OP,
                       "address range %s/%u is used up; delete VMs, or set a smaller cidr (now %u) in the "
                       "configuration",
                       settings->bridge_ip, settings->prefix, settings->prefix);
}

int network_mac_of(const char *address, char ret_mac[NETWORK_MAC_MAX], struct err *err)
{
        uint32_t a = 0;
        int r = priv_check_ipv4(address, "address", &a, err);

        if (r == 0)
                (void) snprintf(ret_mac, NETWORK_MAC_MAX, "06:00:%02x:%02x:%02x:%02x", a >> 24,
                                a >> 16 & 0xff, a >> 8 & 0xff, a & 0xff);
        return r;
}

void network_tap_of(const char *vm_id, char ret_tap[NETWORK_TAP_MAX])
{
        (void) snprintf(ret_tap, NETWORK_TAP_MAX, "tap-fc-%.*s", TAP_ID_DIGITS, vm_id);
}

static int wish_of(const struct network_settings *settings, const struct network_guest *guest,
                   char mac[NETWORK_MAC_MAX], struct priv_tap *ret_wish, struct err *err)
{
        *ret_wish = (struct priv_tap){
                .name = guest->tap,
                .network = triple_of(settings),
                .guest_ip = guest->address,
                .mac = mac,
                .nat = guest->nat,
                .peers = guest->peers,
        };
        return network_mac_of(guest->address, mac, err);
}

int network_attach(const struct network_settings *settings, const struct network_guest *guest,
                   int *ret_tap_fd, struct err *err)
{
        char mac[NETWORK_MAC_MAX] = "";
        struct priv_tap wish;
        int r = wish_of(settings, guest, mac, &wish, err);

        return r == 0 ? priv_create_tap(settings->helper_socket, &wish, ret_tap_fd, err) : r;
}

/* Broadcasts of the host that came while the tap waited; a tap's queue is bounded (1000 frames, tun.c), and so is this. */
static void drain(int tap_fd)
{
        char frame[FRAME_MAX];

        for (unsigned i = 0; i < QUEUE_MAX; i++)
                if (read(tap_fd, frame, sizeof(frame)) <= 0)
                        return;
}

struct network_adoption {
        struct priv_pin *pin; /* owned */
        int tap_fd;           /* borrowed */
};

int network_adopt_begin(const struct network_settings *settings, const struct network_guest *guest,
                        int tap_fd, struct network_adoption **ret_adoption, struct err *err)
{
        char mac[NETWORK_MAC_MAX] = "";
        struct priv_pin *pin = NULL;
        struct priv_tap wish;
        int r = wish_of(settings, guest, mac, &wish, err);

        if (r == 0)
                r = priv_pin_tap_begin(settings->helper_socket, &wish, &pin, err);
        if (r < 0)
                return r;
        *ret_adoption = xcalloc(1, sizeof(**ret_adoption));
        **ret_adoption = (struct network_adoption){ pin, tap_fd };
        return 0;
}

int network_adopt_end(struct network_adoption *owned_adoption, struct err *err)
{
        int r = priv_pin_tap_end(owned_adoption->pin, err);

        if (r == 0)
                drain(owned_adoption->tap_fd);
        free(owned_adoption);
        return r;
}

bool network_tap_exists(const char *tap)
{
        return tap[0] != '\0' && if_nametoindex(tap) != 0;
}

int network_detach(const struct network_settings *settings, const char *tap, const char *address,
                   struct err *err)
{
        return priv_delete_tap(settings->helper_socket, tap, address[0] != '\0' ? address : NULL, err);
}

int network_set_nat(const struct network_settings *settings, const struct network_guest *guest,
                    struct err *err)
{
        return priv_ensure_nat(settings->helper_socket, guest->address, guest->tap, guest->nat, err);
}
