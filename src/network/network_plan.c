#include "network/network_plan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/scoped.h"
#include "base/text.h"
#include "privileged/client/priv_client.h"

#define OP            "network.plan"
#define TAP_ID_DIGITS 8

static struct priv_network triple_of(const struct network_settings *settings)
{
        return (struct priv_network){ settings->bridge, settings->bridge_ip, settings->prefix };
}

static void format_address(uint32_t address, char ret_address[NETWORK_ADDRESS_MAX])
{
        const struct in_addr raw = { htonl(address) };

        (void) inet_ntop(AF_INET, &raw, ret_address, NETWORK_ADDRESS_MAX);
}

static bool is_taken(const char *address, const char *const *taken, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if (strcmp(taken[i], address) == 0)
                        return true;
        return false;
}

/* Walks from the bridge's address upwards; at most n + 1 steps, since every refused one is in taken. */
int network_pick_address(const struct network_settings *settings, const char *const *taken, unsigned n,
                         char ret_address[NETWORK_ADDRESS_MAX], struct err *err)
{
        const struct priv_network network = triple_of(settings);
        uint32_t bridge = 0, last;
        int r = priv_check_network(&network, err);

        if (r == 0)
                r = priv_check_ipv4(settings->bridge_ip, "bridge_ip", &bridge, err);
        if (r < 0)
                return r;
        last = bridge | (settings->prefix < 32 ? UINT32_MAX >> settings->prefix : 0);
        for (uint32_t address = bridge + 1; address < last; address++) {
                format_address(address, ret_address);
                if (!is_taken(ret_address, taken, n))
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

int network_attach(const struct network_settings *settings, const struct network_guest *guest,
                   int *ret_tap_fd, struct err *err)
{
        char mac[NETWORK_MAC_MAX] = "";
        const struct priv_tap wish = {
                .name = guest->tap,
                .network = triple_of(settings),
                .guest_ip = guest->address,
                .mac = mac,
                .nat = guest->nat,
                .peers = guest->peers,
        };
        int r = network_mac_of(guest->address, mac, err);

        return r == 0 ? priv_create_tap(settings->helper_socket, &wish, ret_tap_fd, err) : r;
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
