#include "privileged/helper/helper_firewall.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <sys/mman.h>

#include "privileged/helper/helper_forward.h"
#include "privileged/helper/helper_nft.h"

/* linux/netfilter_bridge.h, which does not go together with net/if.h */
#define NF_BR_PRE_ROUTING 0
#define NF_BR_FORWARD     2

#define OP         "priv.firewall"
#define IP_FORWARD "/proc/sys/net/ipv4/ip_forward"

/* nft's datatype numbers (nftables include/datatype.h), six bits each in a concatenation. */
#define TYPE_IPV4_ADDR  7
#define TYPE_ETHER_ADDR 9
#define TYPE_IFNAME     41
#define TYPE_PIN        (TYPE_IFNAME << 12 | TYPE_ETHER_ADDR << 6 | TYPE_IPV4_ADDR)

/* One pin as the kernel compares it: each part padded to four bytes. */
struct pin {
        char tap[IFNAMSIZ];
        uint8_t mac[PRIV_MAC_BYTES];
        uint8_t zero[2];
        uint32_t guest_ip; /* network byte order */
};
static_assert(sizeof(struct pin) == 28, "no padding of the compiler's");

static const struct nft_place at_bridge = { NFPROTO_BRIDGE, "banger" };
static const struct nft_place at_ip = { NFPROTO_IPV4, "banger" };

static const struct nft_set pins = { "pins", TYPE_PIN, sizeof(struct pin), 1 };
static const struct nft_set peer_taps = { "peers", TYPE_IFNAME, IFNAMSIZ, 1 };
static const struct nft_set bridges = { "bridges", TYPE_IFNAME, IFNAMSIZ, 1 };
static const struct nft_set nat = { "nat", TYPE_IPV4_ADDR, sizeof(uint32_t), 2 };
static const struct nft_set peer_ips = { "peers", TYPE_IPV4_ADDR, sizeof(uint32_t), 2 };

/* Priorities: the bridge's before everything (-300 is dstnat there); forward and input before the usual filter (0). */
static const struct nft_chain bridge_chains[] = {
        {"prerouting",  "filter", NF_BR_PRE_ROUTING, -350},
        { "forward",    "filter", NF_BR_FORWARD,     -350},
        { "from_guest", NULL,     0,                 0   },
        { "to_port",    NULL,     0,                 0   },
};
static const struct nft_chain ip_chains[] = {
        {"postrouting", "nat",    NF_INET_POST_ROUTING, 100},
        { "forward",    "filter", NF_INET_FORWARD,      -10},
        { "input",      "filter", NF_INET_LOCAL_IN,     -10},
        { "from_guest", NULL,     0,                    0  },
        { "to_guest",   NULL,     0,                    0  },
        { "to_host",    NULL,     0,                    0  },
};

/* A pin is compared in registers side by side: 16 bytes of name, then link address, then IPv4 address. */
#define REG_MAC NFT_REG32_04
#define REG_IP  NFT_REG32_06

#define META(what, ...)                                           \
        {                                                         \
                .kind = NFT_TERM_META, .key = (what), __VA_ARGS__ \
        }
#define LOAD(base, at, length, ...)                                                                    \
        {                                                                                              \
                .kind = NFT_TERM_PAYLOAD, .key = (base), .offset = (at), .size = (length), __VA_ARGS__ \
        }
#define EQUAL(bytes, length)                                            \
        {                                                               \
                .kind = NFT_TERM_CMP, .data = (bytes), .size = (length) \
        }
#define IN(set)                                    \
        {                                          \
                .kind = NFT_TERM_IN, .name = (set) \
        }
#define NOT_IN(set)                                    \
        {                                              \
                .kind = NFT_TERM_NOT_IN, .name = (set) \
        }
#define VERDICT(code)                                              \
        {                                                          \
                .kind = NFT_TERM_VERDICT, .key = (uint32_t) (code) \
        }
#define JUMP(chain_)                                                                   \
        {                                                                              \
                .kind = NFT_TERM_VERDICT, .key = (uint32_t) NFT_JUMP, .name = (chain_) \
        }
#define KNOWN                          \
        {                              \
                .kind = NFT_TERM_KNOWN \
        }
#define MASQUERADE                          \
        {                                   \
                .kind = NFT_TERM_MASQUERADE \
        }

#define ETHER_SOURCE   LOAD(NFT_PAYLOAD_LL_HEADER, 6, 6, .reg = REG_MAC)
#define ETHER_TYPE     LOAD(NFT_PAYLOAD_LL_HEADER, 12, 2)
#define IP_SOURCE(...) LOAD(NFT_PAYLOAD_NETWORK_HEADER, 12, 4, __VA_ARGS__)
#define IP_TARGET(...) LOAD(NFT_PAYLOAD_NETWORK_HEADER, 16, 4, __VA_ARGS__)
/* RFC 826, for Ethernet and IPv4: hardware type 1, protocol 0x0800, lengths 6 and 4; sender at 8 and 14. */
#define ARP_SHAPE     LOAD(NFT_PAYLOAD_NETWORK_HEADER, 0, 6)
#define ARP_SENDER    LOAD(NFT_PAYLOAD_NETWORK_HEADER, 8, 6, .reg = REG_MAC)
#define ARP_SENDER_IP LOAD(NFT_PAYLOAD_NETWORK_HEADER, 14, 4, .reg = REG_IP)

static const uint8_t type_ipv4[] = { 0x08, 0x00 }, type_arp[] = { 0x08, 0x06 };
static const uint8_t arp_shape[] = { 0, 1, 0x08, 0x00, 6, 4 };
static const uint8_t proto_icmp[] = { IPPROTO_ICMP }, icmp_echo[] = { ICMP_ECHO };

/* clang-format off */
static const struct nft_rule bridge_rules[] = {
        { "prerouting", { META(NFT_META_IIFNAME), EQUAL("tap-fc-", 7), JUMP("from_guest") } },
        { "prerouting", { META(NFT_META_IIFNAME), EQUAL("tap-pool-", 9), JUMP("from_guest") } },
        { "from_guest", { ETHER_TYPE, EQUAL(type_ipv4, 2),
                          META(NFT_META_IIFNAME), ETHER_SOURCE, IP_SOURCE(.reg = REG_IP), IN("pins"), VERDICT(NF_ACCEPT) } },
        { "from_guest", { ETHER_TYPE, EQUAL(type_arp, 2), ARP_SHAPE, EQUAL(arp_shape, 6),
                          META(NFT_META_IIFNAME), ETHER_SOURCE, ARP_SENDER_IP, IN("pins"),
                          ARP_SENDER, IN("pins"), VERDICT(NF_ACCEPT) } },
        { "from_guest", { VERDICT(NF_DROP) } },
        { "forward",    { META(NFT_META_IIFNAME), EQUAL("tap-fc-", 7), JUMP("to_port") } },
        { "forward",    { META(NFT_META_IIFNAME), EQUAL("tap-pool-", 9), JUMP("to_port") } },
        { "to_port",    { META(NFT_META_IIFNAME), IN("peers"), META(NFT_META_OIFNAME), IN("peers"), VERDICT(NF_ACCEPT) } },
        { "to_port",    { META(NFT_META_OIFNAME), EQUAL("tap-fc-", 7), VERDICT(NF_DROP) } },
        { "to_port",    { META(NFT_META_OIFNAME), EQUAL("tap-pool-", 9), VERDICT(NF_DROP) } },
};

static const struct nft_rule ip_rules[] = {
        { "postrouting", { IP_SOURCE(), IN("nat"), META(NFT_META_OIFNAME), NOT_IN("bridges"), MASQUERADE } },
        { "forward",     { META(NFT_META_IIFNAME), IN("bridges"), JUMP("from_guest") } },
        { "forward",     { META(NFT_META_OIFNAME), IN("bridges"), JUMP("to_guest") } },
        { "input",       { META(NFT_META_IIFNAME), IN("bridges"), JUMP("to_host") } },
        { "from_guest",  { META(NFT_META_OIFNAME), IN("bridges"), IP_SOURCE(), IN("peers"), IP_TARGET(), IN("peers"),
                           VERDICT(NF_ACCEPT) } },
        { "from_guest",  { META(NFT_META_OIFNAME), IN("bridges"), VERDICT(NF_DROP) } },
        { "from_guest",  { IP_SOURCE(), IN("nat"), VERDICT(NF_ACCEPT) } },
        { "from_guest",  { VERDICT(NF_DROP) } },
        { "to_guest",    { KNOWN, VERDICT(NF_ACCEPT) } },
        { "to_guest",    { VERDICT(NF_DROP) } },
        { "to_host",     { KNOWN, VERDICT(NF_ACCEPT) } },
        { "to_host",     { META(NFT_META_L4PROTO), EQUAL(proto_icmp, 1),
                           LOAD(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1), EQUAL(icmp_echo, 1), VERDICT(NF_ACCEPT) } },
        { "to_host",     { VERDICT(NF_DROP) } },
};
/* clang-format on */

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static int lock_fd = FD_NONE;

int firewall_init(struct err *err)
{
        lock_fd = memfd_create("banger-firewall-lock", MFD_CLOEXEC);
        return lock_fd < 0 ? err_errno(err, OP, "create the lock") : 0;
}

/*
 * A record lock belongs to a process (fcntl(2)), so those that were forked with the same descriptor exclude each
 * other, and the kernel lets go when one dies. Nothing here unlocks: a process serves one request.
 */
static int lock_changes(struct err *err)
{
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        while (fcntl(lock_fd, F_SETLKW, &lock) < 0)
                if (errno != EINTR)
                        return err_errno(err, OP, "wait for another change of the firewall");
        return 0;
}

static void add_chains(struct nft_batch *batch, const struct nft_place *place, const struct nft_chain *chains,
                       size_t n)
{
        for (size_t i = 0; i < n; i++) {
                nft_add_chain(batch, place, &chains[i]);
                nft_flush_chain(batch, place, chains[i].name);
        }
}

static void add_rules(struct nft_batch *batch, const struct nft_place *place, const struct nft_rule *rules,
                      size_t n)
{
        for (size_t i = 0; i < n; i++)
                nft_add_rule(batch, place, &rules[i], NULL);
}

/* All that does not depend on a VM: made when missing, put right when changed, elements kept. */
static void restore_rules(struct nft_batch *batch)
{
        nft_add_table(batch, &at_bridge);
        nft_add_set(batch, &at_bridge, &pins);
        nft_add_set(batch, &at_bridge, &peer_taps);
        add_chains(batch, &at_bridge, bridge_chains, N_OF(bridge_chains));
        add_rules(batch, &at_bridge, bridge_rules, N_OF(bridge_rules));

        nft_add_table(batch, &at_ip);
        nft_add_set(batch, &at_ip, &bridges);
        nft_add_set(batch, &at_ip, &nat);
        nft_add_set(batch, &at_ip, &peer_ips);
        add_chains(batch, &at_ip, ip_chains, N_OF(ip_chains));
        add_rules(batch, &at_ip, ip_rules, N_OF(ip_rules));
}

static int begin(struct nft_batch *batch, struct err *err)
{
        int r = lock_changes(err);

        if (r < 0)
                return r;
        nft_batch_begin(batch);
        restore_rules(batch);
        return 0;
}

static void add_bridge(struct nft_batch *batch, const char *bridge)
{
        char key[IFNAMSIZ] = { 0 };

        memcpy(key, bridge, strnlen(bridge, IFNAMSIZ - 1));
        nft_add_element(batch, &at_ip, &bridges, key);
}

int firewall_add_bridge(const char *bridge, struct err *err)
{
        scoped(nft_batch_done) struct nft_batch batch = { 0 };
        int r = begin(&batch, err);

        if (r < 0)
                return r;
        add_bridge(&batch, bridge);
        return nft_batch_commit(&batch, err);
}

static bool has_key(const struct nft_keys *keys, const void *key)
{
        for (size_t i = 0; i < keys->n; i++)
                if (memcmp(keys->bytes + i * keys->key_size, key, keys->key_size) == 0)
                        return true;
        return false;
}

/* Everything that is said of single guests, as it is now. */
struct known {
        struct nft_keys pins, peer_taps, nat, peer_ips; /* owned */
};

static void known_done(struct known *known)
{
        nft_keys_done(&known->pins);
        nft_keys_done(&known->peer_taps);
        nft_keys_done(&known->nat);
        nft_keys_done(&known->peer_ips);
}

static void known_done_at_scope_end(struct known *known)
{
        known_done(known);
}

static int known_read(struct known *known, struct err *err)
{
        int r = nft_list_keys(&at_bridge, &pins, &known->pins, err);

        if (r == 0)
                r = nft_list_keys(&at_bridge, &peer_taps, &known->peer_taps, err);
        if (r == 0)
                r = nft_list_keys(&at_ip, &nat, &known->nat, err);
        return r == 0 ? nft_list_keys(&at_ip, &peer_ips, &known->peer_ips, err) : r;
}

static void delete_when_known(struct nft_batch *batch, const struct nft_place *place,
                              const struct nft_set *set, const struct nft_keys *known, const void *key)
{
        if (has_key(known, key))
                nft_delete_element(batch, place, set, key);
}

/* guest_ip in network byte order. */
static int disallow(struct nft_batch *batch, const struct known *known, uint32_t guest_ip, struct err *err)
{
        delete_when_known(batch, &at_ip, &nat, &known->nat, &guest_ip);
        delete_when_known(batch, &at_ip, &peer_ips, &known->peer_ips, &guest_ip);
        return forward_forbid(batch, guest_ip, err);
}

/* Takes every pin of the tap out, and what its guest and the one at guest_ip (network byte order, 0: none) was allowed. */
static int drop_guest(struct nft_batch *batch, const struct known *known, const char *tap, uint32_t guest_ip,
                      struct err *err)
{
        int r = guest_ip != 0 ? disallow(batch, known, guest_ip, err) : 0;
        char key[IFNAMSIZ] = { 0 };

        memcpy(key, tap, strnlen(tap, IFNAMSIZ - 1));
        delete_when_known(batch, &at_bridge, &peer_taps, &known->peer_taps, key);
        for (size_t i = 0; r == 0 && i < known->pins.n; i++) {
                struct pin pin;

                memcpy(&pin, known->pins.bytes + i * sizeof(pin), sizeof(pin));
                if (memcmp(pin.tap, key, IFNAMSIZ) != 0)
                        continue;
                nft_delete_element(batch, &at_bridge, &pins, &pin);
                if (pin.guest_ip != guest_ip)
                        r = disallow(batch, known, pin.guest_ip, err);
        }
        return r;
}

/* Left on afterwards: others on the host may have come to need it (as the spec has it, 9.2). */
static int enable_forwarding(struct err *err)
{
        scoped_close int fd = open(IP_FORWARD, O_RDWR | O_CLOEXEC);
        char now = '0';

        if (fd < 0)
                return err_errno(err, OP, "open " IP_FORWARD);
        if (pread(fd, &now, 1, 0) == 1 && now == '1')
                return 0;
        return pwrite(fd, "1", 1, 0) == 1 ? 0 : err_errno(err, OP, "switch on " IP_FORWARD);
}

/* After drop_guest(): an element may go and come again in one batch. */
static int add_guest(struct nft_batch *batch, const struct firewall_guest *guest, struct err *err)
{
        struct pin pin = { .guest_ip = htonl(guest->guest_ip) };

        memcpy(pin.tap, guest->tap, strnlen(guest->tap, IFNAMSIZ - 1));
        memcpy(pin.mac, guest->mac, sizeof(pin.mac));
        nft_add_element(batch, &at_bridge, &pins, &pin);
        if (guest->nat)
                nft_add_element(batch, &at_ip, &nat, &pin.guest_ip);
        if (guest->peers) {
                nft_add_element(batch, &at_bridge, &peer_taps, pin.tap);
                nft_add_element(batch, &at_ip, &peer_ips, &pin.guest_ip);
        }
        /* peers too: where br_netfilter shows bridged packets to iptables, a foreign policy of drop would meet them */
        return guest->nat || guest->peers ? forward_add(batch, pin.guest_ip, err) : 0;
}

static bool has_pin(const struct known *known, const char *tap)
{
        for (size_t i = 0; i < known->pins.n; i++)
                if (strncmp((const char *) known->pins.bytes + i * sizeof(struct pin), tap, IFNAMSIZ) == 0)
                        return true;
        return false;
}

int firewall_admit(const char *bridge, const struct firewall_guest *guest, struct err *err)
{
        scoped(nft_batch_done) struct nft_batch batch = { 0 };
        scoped(known_done) struct known known = { 0 };
        int r = begin(&batch, err);

        if (r == 0)
                r = known_read(&known, err);
        if (r == 0 && guest->is_first && has_pin(&known, guest->tap))
                r = err_set(err, EEXIST, OP, "tap '%s' is a guest's already", guest->tap);
        if (r == 0 && guest->nat)
                r = enable_forwarding(err);
        if (r < 0)
                return r;
        add_bridge(&batch, bridge);
        r = drop_guest(&batch, &known, guest->tap, guest->mac ? htonl(guest->guest_ip) : 0, err);
        if (r == 0 && guest->mac)
                r = add_guest(&batch, guest, err);
        return r == 0 ? nft_batch_commit(&batch, err) : r;
}

int firewall_forget(const char *tap, uint32_t guest_ip, struct err *err)
{
        scoped(nft_batch_done) struct nft_batch batch = { 0 };
        scoped(known_done) struct known known = { 0 };
        int r = begin(&batch, err);

        if (r == 0)
                r = known_read(&known, err);
        if (r == 0)
                r = drop_guest(&batch, &known, tap, htonl(guest_ip), err);
        return r == 0 ? nft_batch_commit(&batch, err) : r;
}

int firewall_each_guest(int (*see)(const struct firewall_guest *guest, void *userdata, struct err *err),
                        void *userdata, struct err *err)
{
        scoped(known_done) struct known known = { 0 };
        int r = known_read(&known, err);

        for (size_t i = 0; r == 0 && i < known.pins.n; i++) {
                struct pin pin;
                struct firewall_guest guest = { .tap = pin.tap, .mac = pin.mac };

                memcpy(&pin, known.pins.bytes + i * sizeof(pin), sizeof(pin));
                pin.tap[IFNAMSIZ - 1] =
                        '\0'; /* as every name of ours is; the kernel's word is not taken for it */
                guest.guest_ip = ntohl(pin.guest_ip);
                guest.peers = has_key(&known.peer_taps, pin.tap);
                r = see(&guest, userdata, err);
        }
        return r;
}

static bool is_pinned(const struct known *known, const char *tap, uint32_t guest_ip)
{
        for (size_t i = 0; i < known->pins.n; i++) {
                struct pin pin;

                memcpy(&pin, known->pins.bytes + i * sizeof(pin), sizeof(pin));
                if (pin.guest_ip == guest_ip && strncmp(pin.tap, tap, IFNAMSIZ) == 0)
                        return true;
        }
        return false;
}

static int allow_nat(struct nft_batch *batch, const struct known *known, const char *tap, uint32_t guest_ip,
                     struct err *err)
{
        int r;

        if (!is_pinned(known, tap, guest_ip))
                return err_set(
                        err, ENOENT, OP,
                        "the address is not the one of the guest behind tap '%s'; stop and start its vm",
                        tap);
        r = enable_forwarding(err);
        if (r < 0)
                return r;
        nft_add_element(batch, &at_ip, &nat, &guest_ip);
        return forward_allow(batch, guest_ip, err);
}

/* A guest with peers keeps its way through foreign chains; in ours it leads to them alone. */
static int forbid_nat(struct nft_batch *batch, const struct known *known, uint32_t guest_ip, struct err *err)
{
        delete_when_known(batch, &at_ip, &nat, &known->nat, &guest_ip);
        return has_key(&known->peer_ips, &guest_ip) ? 0 : forward_forbid(batch, guest_ip, err);
}

int firewall_set_nat(const char *tap, uint32_t guest_ip, bool enable, struct err *err)
{
        scoped(nft_batch_done) struct nft_batch batch = { 0 };
        scoped(known_done) struct known known = { 0 };
        uint32_t key = htonl(guest_ip);
        int r = begin(&batch, err);

        if (r == 0)
                r = known_read(&known, err);
        if (r < 0)
                return r;
        r = enable ? allow_nat(&batch, &known, tap, key, err) : forbid_nat(&batch, &known, key, err);
        return r == 0 ? nft_batch_commit(&batch, err) : r;
}
