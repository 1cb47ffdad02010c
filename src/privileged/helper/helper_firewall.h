/*
 * What a guest may send, as two nftables tables of ours, both named banger:
 *
 * bridge banger, before a frame enters the bridge: from a tap of ours only ARP and IPv4 pass, and only with the link
 * address and the IPv4 address pinned to that tap. Everything else is dropped, IPv6 and VLAN tags included.
 *
 * On its way to another port it is dropped when that is a guest's, unless both are in the set peers.
 *
 * ip banger: a guest reaches other networks only while its address is in the set nat (and is masqueraded then), another
 * guest only when both are in the set peers, and on the host itself only ICMP echo; answers always pass. From other
 * networks nobody reaches a guest.
 *
 * A VM is an element in a set, so the number of rules does not grow with VMs. Each change restores all rules in the
 * same transaction: whoever flushed them, the next request mends it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "privileged/contract/priv_check.h"

struct firewall_guest {
        const char *tap;
        const uint8_t *mac; /* NULL: nothing passes from tap */
        uint32_t guest_ip;
        bool nat, peers;
        bool is_first; /* refused when something is pinned to the tap already; seen under the lock of the change */
};

/* Makes the limits hold for a bridge; before it is set up. */
int firewall_add_bridge(const char *bridge, struct err *err);
/*
 * The same, and all that a guest on the bridge may, in one transaction. What was pinned to the tap before, or allowed to
 * it or to the address, goes. With nat: see firewall_set_nat(). EEXIST: is_first, and it is not.
 */
int firewall_admit(const char *bridge, const struct firewall_guest *guest, struct err *err);
/* Nothing passes from tap any more, and what its guest was allowed ends. guest_ip 0: only what pins tell of it. */
int firewall_forget(const char *tap, uint32_t guest_ip, struct err *err);
/*
 * Lets a guest out, with forwarding switched on and past a foreign forward policy of drop; or not. ENOENT: it is to be
 * let out, and guest_ip is not pinned to tap.
 */
int firewall_set_nat(const char *tap, uint32_t guest_ip, bool enable, struct err *err);

/* Calls see() with every guest that is pinned to a tap; nat is not told. The first failure of see() ends it. */
int firewall_each_guest(int (*see)(const struct firewall_guest *guest, void *userdata, struct err *err),
                        void *userdata, struct err *err);

/* Before the first fork: changes of concurrent requests follow one another. */
int firewall_init(struct err *err);
