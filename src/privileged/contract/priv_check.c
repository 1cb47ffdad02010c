#include "privileged/contract/priv_check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/signal_name.h"
#include "base/text.h"

#define OP          "priv.check"
#define CIDR_MIN    8
#define CIDR_MAX    32
#define PID_MAX     (1U << 22)
#define MAC_TEXT    17
#define MAC_GROUP   0x01 /* first octet: multicast */
#define MAC_LOCALLY 0x02 /* first octet: not from a manufacturer */

/* A name from a stranger, in a message: its beginning is enough. */
#define SHOWN "%.40s"

int priv_check_interface(const char *name, struct err *err)
{
        size_t n = strlen(name);

        if (n == 0 || n >= IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return err_set(err, EINVAL, OP, "'" SHOWN "' is not an interface name (1 to 15 characters)",
                               name);
        for (const char *c = name; *c; c++)
                if (*c <= ' ' || *c >= 0x7f || strchr("/:%", *c))
                        return err_set(err, EINVAL, OP,
                                       "'" SHOWN "' is not an interface name (no space, '/', ':' or '%%')",
                                       name);
        return 0;
}

int priv_check_bridge(const char *name, struct err *err)
{
        int r = priv_check_interface(name, err);

        if (r < 0)
                return r;
        if (strcmp(name, PRIV_BRIDGE_DEFAULT) != 0 && !text_starts_with(name, PRIV_BRIDGE_DEFAULT "-"))
                return err_set(err, EINVAL, OP,
                               "bridge '" SHOWN "' is not one of banger's; name it br-fc or br-fc-...", name);
        return 0;
}

int priv_check_tap(const char *name, struct err *err)
{
        static const char *const prefixes[] = { "tap-fc-", "tap-pool-" };
        int r = priv_check_interface(name, err);

        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
                if (text_starts_with(name, prefixes[i]) && name[strlen(prefixes[i])] != '\0')
                        return 0;
        return err_set(err, EINVAL, OP, "tap '" SHOWN "' is not one of banger's (tap-fc-... or tap-pool-...)",
                       name);
}

int priv_check_cidr(uint32_t cidr, struct err *err)
{
        if (cidr < CIDR_MIN || cidr > CIDR_MAX)
                return err_set(err, EINVAL, OP, "cidr: %u is not a prefix length from %d to %d", cidr,
                               CIDR_MIN, CIDR_MAX);
        return 0;
}

int priv_check_ipv4(const char *text, const char *what, uint32_t *ret_address, struct err *err)
{
        struct in_addr address;

        if (inet_pton(AF_INET, text, &address) != 1)
                return err_set(err, EINVAL, OP, "%s: '" SHOWN "' is not an IPv4 address", what, text);
        *ret_address = ntohl(address.s_addr);
        return 0;
}

static uint32_t mask_of(uint32_t cidr)
{
        return UINT32_MAX << (32 - cidr);
}

/* The ranges that are never routed on the Internet. */
static bool is_private(uint32_t address)
{
        static const struct {
                uint32_t network;
                uint32_t cidr;
        } ranges[] = {
                {0x0a000000,  8 }, /* 10.0.0.0/8, RFC 1918 */
                { 0xac100000, 12}, /* 172.16.0.0/12, RFC 1918 */
                { 0xc0a80000, 16}, /* 192.168.0.0/16, RFC 1918 */
                { 0x64400000, 10}, /* 100.64.0.0/10, RFC 6598 */
        };

        for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
                if ((address & mask_of(ranges[i].cidr)) == ranges[i].network)
                        return true;
        return false;
}

/* The first and last address of a subnet are no host's, but for /31 and /32 (RFC 3021). */
static bool is_host(uint32_t address, uint32_t cidr)
{
        uint32_t mask = mask_of(cidr);

        return cidr >= 31 || ((address & ~mask) != 0 && (address & ~mask) != ~mask);
}

int priv_check_network(const struct priv_network *network, struct err *err)
{
        uint32_t address = 0;
        uint32_t mask;
        int r = priv_check_bridge(network->bridge, err);

        if (r == 0)
                r = priv_check_ipv4(network->bridge_ip, "bridge_ip", &address, err);
        if (r == 0)
                r = priv_check_cidr(network->cidr, err);
        if (r < 0)
                return r;

        mask = mask_of(network->cidr);
        if (!is_private(address & mask) || !is_private(address | ~mask))
                return err_set(err, EINVAL, OP,
                               "bridge_ip: %s/%u is not within a private range (10/8, 172.16/12, 192.168/16, "
                               "100.64/10)",
                               network->bridge_ip, network->cidr);
        if (!is_host(address, network->cidr))
                return err_set(err, EINVAL, OP, "bridge_ip: %s is not a host's address in a /%u",
                               network->bridge_ip, network->cidr);
        return 0;
}

int priv_check_guest_ip(const struct priv_network *network, const char *guest_ip, uint32_t *ret_address,
                        struct err *err)
{
        uint32_t bridge = 0;
        int r = priv_check_ipv4(guest_ip, "guest_ip", ret_address, err);

        if (r == 0)
                r = priv_check_ipv4(network->bridge_ip, "bridge_ip", &bridge, err);
        if (r < 0)
                return r;
        if (((*ret_address ^ bridge) & mask_of(network->cidr)) != 0 || *ret_address == bridge ||
            !is_host(*ret_address, network->cidr))
                return err_set(err, EINVAL, OP, "guest_ip: %s is not a guest's address in %s/%u", guest_ip,
                               network->bridge_ip, network->cidr);
        return 0;
}

static int hex_digit(char c)
{
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *at = c != '\0' ? strchr(digits, c) : NULL;

        if (!at)
                return -1;
        return (int) (at - digits) < 16 ? (int) (at - digits) : (int) (at - digits) - 6;
}

int priv_check_mac(const char *text, uint8_t ret_mac[PRIV_MAC_BYTES], struct err *err)
{
        bool is_right = strlen(text) == MAC_TEXT;

        for (size_t i = 0; is_right && i < PRIV_MAC_BYTES; i++) {
                int high = hex_digit(text[3 * i]);
                int low = hex_digit(text[3 * i + 1]);

                is_right = high >= 0 && low >= 0 && (i == PRIV_MAC_BYTES - 1 || text[3 * i + 2] == ':');
                ret_mac[i] = (uint8_t) ((unsigned) high << 4 | (unsigned) low);
        }
        if (!is_right || (ret_mac[0] & MAC_GROUP) || !(ret_mac[0] & MAC_LOCALLY))
                return err_set(err, EINVAL, OP,
                               "mac: '" SHOWN "' is not a locally administered unicast address", text);
        return 0;
}

int priv_check_pid(uint32_t pid, struct err *err)
{
        if (pid <= 1 || pid > PID_MAX)
                return err_set(err, EINVAL, OP, "pid: %u is not a process of a VM", pid);
        return 0;
}

int priv_check_signal(const char *name, int *ret_signal, struct err *err)
{
        return signal_from_name(name, ret_signal) == 0
                       ? 0
                       : err_set(err, EINVAL, OP, "signal: '" SHOWN "' is not one of " SIGNAL_NAMES, name);
}
