/* Two interfaces, one address, one route: the ioctls of netdevice(7) and rtnetlink's elder SIOCADDRT say it all. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/json.h"
#include "base/scoped.h"
#include "guest/agent/agent_init.h"

#define OP_NET "agent.network"
#define LINK   "eth0"

static int set_address(int sock, unsigned long request, const char *link, in_addr_t address)
{
        struct ifreq ifr = { 0 };
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = address };

        memcpy(ifr.ifr_name, link, strlen(link) + 1);
        memcpy(&ifr.ifr_addr, &in, sizeof(in));
        return ioctl(sock, request, &ifr) < 0 ? -errno : 0;
}

static int set_up(int sock, const char *link)
{
        struct ifreq ifr = { 0 };

        memcpy(ifr.ifr_name, link, strlen(link) + 1);
        if (ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
                return -errno;
        ifr.ifr_flags = (short) (ifr.ifr_flags | IFF_UP);
        return ioctl(sock, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

static int add_default_route(int sock, in_addr_t gateway)
{
        struct sockaddr_in any = { .sin_family = AF_INET };
        struct sockaddr_in via = { .sin_family = AF_INET, .sin_addr.s_addr = gateway };
        struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };

        memcpy(&route.rt_dst, &any, sizeof(any));
        memcpy(&route.rt_genmask, &any, sizeof(any));
        memcpy(&route.rt_gateway, &via, sizeof(via));
        return ioctl(sock, SIOCADDRT, &route) < 0 && errno != EEXIST ? -errno : 0;
}

static int set_link(int sock, in_addr_t address, unsigned prefix)
{
        in_addr_t mask = prefix == 0 ? 0 : htonl(UINT32_MAX << (32 - prefix));
        int r = set_address(sock, SIOCSIFADDR, LINK, address);

        if (r == 0)
                r = set_address(sock, SIOCSIFNETMASK, LINK, mask);
        return r == 0 ? set_up(sock, LINK) : r;
}

int agent_apply_network(const json_t *config, struct err *err)
{
        const char *address = json_text(config, "address"), *gateway = json_text(config, "gateway");
        scoped_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        uint64_t prefix = json_u64(config, "prefix", 24);
        struct in_addr own, via;
        int r;

        if (sock < 0)
                return err_errno(err, OP_NET, "open a socket");
        r = set_up(sock, "lo");
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_NET, "bring up lo");
        }
        if (address[0] == '\0')
                return 0;
        if (prefix > 32 || inet_pton(AF_INET, address, &own) != 1 ||
            (gateway[0] != '\0' && inet_pton(AF_INET, gateway, &via) != 1))
                return err_set(err, EINVAL, OP_NET, "'%.64s' or '%.64s' is not an IPv4 address", address,
                               gateway);
        r = set_link(sock, own.s_addr, (unsigned) prefix);
        if (r == 0 && gateway[0] != '\0')
                r = add_default_route(sock, via.s_addr);
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_NET, "configure " LINK " with %.64s", address);
        }
        return 0;
}
