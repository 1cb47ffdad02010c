/*
 * Forward chains of others. In netfilter every base chain at a hook must let a packet pass, so an accept in our table
 * does not undo `policy drop` in another's: as Docker and ufw leave `ip filter FORWARD`, and as hand-written rule sets
 * have it in `inet filter forward`. For each guest that may go out, two rules are appended to each such chain: from and to
 * its /32, on banger's bridges only. At the end, so that whatever the owner of the chain refuses by a rule stays
 * refused; only his default is answered. They are written as iptables-nft writes its own, so that iptables goes on
 * showing them, and carry the comment `banger:<address>`, by which they are found and removed again.
 *
 * The old iptables (ip_tables, not nf_tables) is not reached by this.
 */
#pragma once

#include <stdint.h>

#include "privileged/helper/helper_nft.h"

/* guest_ip in network byte order. The changes go into batch. */
/* The same without looking for earlier ones: after forward_forbid() in the same batch. */
int forward_add(struct nft_batch *batch, uint32_t guest_ip, struct err *err);
int forward_allow(struct nft_batch *batch, uint32_t guest_ip, struct err *err);
int forward_forbid(struct nft_batch *batch, uint32_t guest_ip, struct err *err);
