/*
 * What a guest may send, as two nftables tables of ours, both named banger:
 *
 * bridge banger, before a frame enters the bridge: from a tap of ours only ARP and IPv4 pass, and only with the link
 * address and the IPv4 address pinned to that tap. Everything else is dropped, IPv6 and VLAN tags included.
 *
 * ip banger: a guest reaches other networks only while its address is in the set nat (and is masqueraded then), never
 * another guest, and on the host itself only ICMP echo; answers always pass. From other networks nobody reaches a guest.
 *
 * A VM is an element in a set, so the number of rules does not grow with VMs. Each change restores all rules in the
 * same transaction: whoever flushed them, the next request mends it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "privileged/contract/priv_check.h"

/* Makes the limits hold for a bridge; before it is set up. */
int firewall_add_bridge(const char *bridge, struct err *err);
/* mac NULL: nothing passes from tap. What was pinned to or allowed for the tap before goes. */
int firewall_pin(const char *tap, const uint8_t *mac, uint32_t guest_ip, struct err *err);
/* Lets a guest out, with forwarding switched on and past a foreign forward policy of drop; or not. */
int firewall_set_nat(uint32_t guest_ip, bool enable, struct err *err);

/* Before the first fork: changes of concurrent requests follow one another. */
int firewall_init(struct err *err);
