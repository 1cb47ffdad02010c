#include "privileged/helper/helper_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "privileged/helper/helper_netlink.h"

#define OP          "priv.link"
#define MESSAGE_MAX 1024

/* A bridge without an address of its own takes the lowest of its ports', and guests would lose it as others come and go. */
#define BRIDGE_MAC_PREFIX 0x06, 0x01

union message {
        struct nlmsghdr header;
        char bytes[MESSAGE_MAX];
};

static struct ifinfomsg *link_message(union message *m, uint16_t type, uint16_t flags, int index)
{
        struct ifinfomsg *info;

        (void) mnl_nlmsg_put_header(m);
        m->header.nlmsg_type = type;
        m->header.nlmsg_flags = (uint16_t) (NLM_F_REQUEST | NLM_F_ACK | flags);
        info = mnl_nlmsg_put_extra_header(&m->header, sizeof(*info));
        info->ifi_index = index;
        return info;
}

/* Opens, asks, closes. */
static int ask(union message *m, mnl_cb_t take, void *userdata, struct err *err)
{
        scoped(netlink_close) struct mnl_socket *socket = netlink_open(NETLINK_ROUTE, err);

        return socket ? netlink_talk(socket, &m->header, take, userdata) : -err->code;
}

/* Turns the kernel's refusal into an error, unless netlink_open has told one. */
static int told(int r, const char *what, const char *name, struct err *err)
{
        if (r >= 0 || err->code != 0)
                return r;
        return err_set(err, -r, OP, "%s '%s': %s", what, name, strerror(-r));
}

static int take_kind(const struct nlattr *attribute, void *userdata)
{
        struct link_state *state = userdata;

        if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND)
                (void) snprintf(state->kind, sizeof(state->kind), "%s", mnl_attr_get_str(attribute));
        return MNL_CB_OK;
}

static int take_attribute(const struct nlattr *attribute, void *userdata)
{
        struct link_state *state = userdata;

        if (mnl_attr_get_type(attribute) == IFLA_LINKINFO)
                return mnl_attr_parse_nested(attribute, take_kind, state);
        if (mnl_attr_get_type(attribute) == IFLA_MASTER)
                state->master = (int) mnl_attr_get_u32(attribute);
        return MNL_CB_OK;
}

static int take_link(const struct nlmsghdr *answer, void *userdata)
{
        const struct ifinfomsg *info = mnl_nlmsg_get_payload(answer);
        struct link_state *state = userdata;

        state->index = info->ifi_index;
        return mnl_attr_parse(answer, sizeof(*info), take_attribute, state);
}

int link_find(const char *name, struct link_state *ret_state, struct err *err)
{
        union message m;
        int r;

        *ret_state = (struct link_state){ 0 };
        (void) link_message(&m, RTM_GETLINK, 0, 0);
        mnl_attr_put_strz(&m.header, IFLA_IFNAME, name);
        r = ask(&m, take_link, ret_state, err);
        return r == -ENODEV ? 0 : told(r, "look up interface", name, err);
}

static int add_bridge(const struct priv_network *network, struct in_addr address, struct err *err)
{
        uint8_t mac[PRIV_MAC_BYTES] = { BRIDGE_MAC_PREFIX };
        struct nlattr *info, *data;
        union message m;
        int r;

        memcpy(mac + 2, &address, sizeof(address));
        (void) link_message(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
        mnl_attr_put_strz(&m.header, IFLA_IFNAME, network->bridge);
        mnl_attr_put(&m.header, IFLA_ADDRESS, sizeof(mac), mac);
        info = mnl_attr_nest_start(&m.header, IFLA_LINKINFO);
        mnl_attr_put_strz(&m.header, IFLA_INFO_KIND, "bridge");
        data = mnl_attr_nest_start(&m.header, IFLA_INFO_DATA);
        mnl_attr_put_u8(&m.header, IFLA_BR_MCAST_SNOOPING, 0); /* nobody to ask: guests speak IPv4 unicast */
        mnl_attr_nest_end(&m.header, data);
        mnl_attr_nest_end(&m.header, info);
        r = ask(&m, NULL, NULL, err);
        return r == -EEXIST ? 0 : told(r, "create bridge", network->bridge, err);
}

/* Whose addresses are compared with the range wanted. */
struct overlap {
        uint32_t address; /* host byte order, wanted */
        uint32_t cidr;
        int own_index; /* the bridge, which may have it */
        int other_index;
};

static int take_local_address(const struct nlattr *attribute, void *userdata)
{
        if (mnl_attr_get_type(attribute) == IFA_LOCAL && mnl_attr_get_payload_len(attribute) == 4)
                *(uint32_t *) userdata = ntohl(mnl_attr_get_u32(attribute));
        return MNL_CB_OK;
}

static int take_overlap(const struct nlmsghdr *answer, void *userdata)
{
        const struct ifaddrmsg *info = mnl_nlmsg_get_payload(answer);
        struct overlap *o = userdata;
        uint32_t cidr = info->ifa_prefixlen < o->cidr ? info->ifa_prefixlen : o->cidr;
        uint32_t mask = cidr == 0 ? 0 : UINT32_MAX << (32 - cidr);
        uint32_t address = 0;

        if ((int) info->ifa_index == o->own_index || info->ifa_family != AF_INET)
                return MNL_CB_OK;
        (void) mnl_attr_parse(answer, sizeof(*info), take_local_address, &address);
        if (address != 0 && ((address ^ o->address) & mask) == 0)
                o->other_index = (int) info->ifa_index;
        return MNL_CB_OK;
}

static struct ifaddrmsg *address_message(union message *m, uint16_t type, uint16_t flags)
{
        struct ifaddrmsg *info;

        (void) mnl_nlmsg_put_header(m);
        m->header.nlmsg_type = type;
        m->header.nlmsg_flags = (uint16_t) (NLM_F_REQUEST | flags);
        info = mnl_nlmsg_put_extra_header(&m->header, sizeof(*info));
        info->ifa_family = AF_INET;
        return info;
}

/* A range that another interface is in would take that network's traffic away from the host. */
static int refuse_overlap(const struct priv_network *network, struct in_addr address, int index,
                          struct err *err)
{
        struct overlap o = { .address = ntohl(address.s_addr), .cidr = network->cidr, .own_index = index };
        union message m;
        int r;

        (void) address_message(&m, RTM_GETADDR, NLM_F_DUMP);
        r = told(ask(&m, take_overlap, &o, err), "list addresses for", network->bridge, err);
        if (r == 0 && o.other_index != 0)
                return err_set(err, ENOTUNIQ, OP,
                               "%s/%u is already in use by interface %d of this host; set another bridge_ip",
                               network->bridge_ip, network->cidr, o.other_index);
        return r;
}

static int add_address(const struct priv_network *network, struct in_addr address, int index, struct err *err)
{
        struct ifaddrmsg *info;
        union message m;
        int r;

        info = address_message(&m, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
        info->ifa_index = (unsigned) index;
        info->ifa_prefixlen = (unsigned char) network->cidr;
        mnl_attr_put_u32(&m.header, IFA_LOCAL, address.s_addr);
        mnl_attr_put_u32(&m.header, IFA_ADDRESS, address.s_addr);
        r = ask(&m, NULL, NULL, err);
        return r == -EEXIST ? 0 : told(r, "add the address to", network->bridge, err);
}

static int set_up_or_down(const char *name, int index, bool up, struct err *err)
{
        struct ifinfomsg *info;
        union message m;

        info = link_message(&m, RTM_NEWLINK, 0, index);
        info->ifi_flags = up ? IFF_UP : 0;
        info->ifi_change = IFF_UP;
        return told(ask(&m, NULL, NULL, err), up ? "set up" : "set down", name, err);
}

static int find_bridge(const char *name, struct link_state *ret_state, struct err *err)
{
        int r = link_find(name, ret_state, err);

        if (r == 0 && ret_state->index != 0 && strcmp(ret_state->kind, "bridge") != 0)
                return err_set(err, EEXIST, OP, "interface '%s' exists and is not a bridge; remove it", name);
        return r;
}

int link_ensure_bridge(const struct priv_network *network, struct err *err)
{
        struct link_state state;
        struct in_addr address;
        int r = find_bridge(network->bridge, &state, err);

        if (r < 0)
                return r;
        if (inet_pton(AF_INET, network->bridge_ip, &address) != 1)
                return err_set(err, EINVAL, OP, "'%s' is not an IPv4 address", network->bridge_ip);
        r = refuse_overlap(network, address, state.index, err);
        if (r == 0 && state.index == 0) {
                r = add_bridge(network, address, err);
                if (r == 0)
                        r = find_bridge(network->bridge, &state, err);
        }
        if (r == 0)
                r = add_address(network, address, state.index, err);
        return r == 0 ? set_up_or_down(network->bridge, state.index, true, err) : r;
}

/* Leaving a bridge drops what it had learned or been told about the port, so a tap used again starts clean. */
static int set_master(const char *tap, int index, int master, struct err *err)
{
        union message m;

        (void) link_message(&m, RTM_NEWLINK, 0, index);
        mnl_attr_put_u32(&m.header, IFLA_MASTER, (uint32_t) master);
        return told(ask(&m, NULL, NULL, err), "change the bridge of", tap, err);
}

/*
 * Learning is off because link-local frames (01:80:c2:00:00:0x) teach the bridge before any filter sees them
 * (net/bridge/br_input.c): a guest could draw another's traffic to itself.
 */
static int limit_port(const char *tap, int index, bool has_peers, struct err *err)
{
        struct ifinfomsg *info;
        struct nlattr *port;
        union message m;

        info = link_message(&m, RTM_SETLINK, 0, index);
        info->ifi_family = AF_BRIDGE;
        port = mnl_attr_nest_start(&m.header, IFLA_PROTINFO);
        mnl_attr_put_u8(&m.header, IFLA_BRPORT_ISOLATED, has_peers ? 0 : 1);
        mnl_attr_put_u8(&m.header, IFLA_BRPORT_LEARNING, 0);
        mnl_attr_put_u8(&m.header, IFLA_BRPORT_UNICAST_FLOOD, 0);
        mnl_attr_put_u8(&m.header, IFLA_BRPORT_MCAST_FLOOD, 0);
        mnl_attr_nest_end(&m.header, port);
        return told(ask(&m, NULL, NULL, err), "limit port", tap, err);
}

/* What learning would have told: frames for mac leave by this port. */
static int place_mac(const char *tap, int index, const uint8_t *mac, struct err *err)
{
        struct ndmsg *entry;
        union message m;

        (void) mnl_nlmsg_put_header(&m);
        m.header.nlmsg_type = RTM_NEWNEIGH;
        m.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        entry = mnl_nlmsg_put_extra_header(&m.header, sizeof(*entry));
        entry->ndm_family = AF_BRIDGE;
        entry->ndm_ifindex = index;
        entry->ndm_state = NUD_NOARP; /* static: no ageing */
        entry->ndm_flags = NTF_MASTER;
        mnl_attr_put(&m.header, NDA_LLADDR, PRIV_MAC_BYTES, mac);
        return told(ask(&m, NULL, NULL, err), "place the guest behind", tap, err);
}

/* A tap that is up, because its guest runs, is down while it has no limits: a new port learns and is not isolated. */
static int enter_bridge(const char *tap, int index, int master, struct err *err)
{
        int r = set_up_or_down(tap, index, false, err);

        return r == 0 ? set_master(tap, index, master, err) : r;
}

static int give_port(const struct link_port *wish, int index, struct err *err)
{
        int r = limit_port(wish->tap, index, wish->has_peers, err);

        if (r == 0 && wish->mac)
                r = place_mac(wish->tap, index, wish->mac, err);
        return r == 0 ? set_up_or_down(wish->tap, index, true, err) : r;
}

int link_attach_port(const struct link_port *wish, struct err *err)
{
        struct err other = { 0 };
        struct link_state port = { 0 }, master = { 0 };
        const char *tap = wish->tap;
        int r = find_bridge(wish->bridge, &master, err);

        if (r == 0)
                r = link_find(tap, &port, err);
        if (r < 0)
                return r;
        if (master.index == 0 || port.index == 0)
                return err_set(err, ENODEV, OP, "interface '%s' is gone",
                               master.index == 0 ? wish->bridge : tap);
        if (port.master != 0 && !(wish->is_fresh && port.master == master.index)) {
                r = set_master(tap, port.index, 0, err);
                port.master = 0;
        }
        if (r == 0 && port.master == 0)
                r = enter_bridge(tap, port.index, master.index, err);
        if (r < 0)
                return r;
        r = give_port(wish, port.index, err);
        if (r < 0 && set_master(tap, port.index, 0, &other) < 0)
                err_join(err, &other);
        return r;
}

int link_delete_tap(const char *tap, struct err *err)
{
        struct link_state state;
        union message m;
        int r = link_find(tap, &state, err);

        if (r < 0 || state.index == 0)
                return r;
        if (strcmp(state.kind, "tun") != 0)
                return err_set(err, EINVAL, OP, "interface '%s' is not a tap", tap);
        (void) link_message(&m, RTM_DELLINK, 0, state.index);
        r = ask(&m, NULL, NULL, err);
        return r == -ENODEV ? 0 : told(r, "delete", tap, err);
}
