/*
 * nftables spoken directly: rules as arrays of terms, changes in batches that the kernel takes whole or not at all
 * (nf_tables uapi: linux/netfilter/nf_tables.h). No text is parsed anywhere.
 */
#pragma once

/* glibc's in.h first, so that the kernel's gives way to it (linux/libc-compat.h). */
/* clang-format off */
#include <netinet/in.h>
#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format on */

#include "privileged/helper/helper_netlink.h"

/* A register holds 16 bytes; the second half of a concatenated key goes into the next (NFT_REG32_00 ff. are its quarters). */
enum nft_term_kind {
        NFT_TERM_END,
        NFT_TERM_META,       /* load meta `key` into reg */
        NFT_TERM_PAYLOAD,    /* load size bytes at offset from base `key` into reg */
        NFT_TERM_KNOWN,      /* the packet is of a connection that exists, or related to one */
        NFT_TERM_CMP,        /* the first size bytes of reg are data */
        NFT_TERM_IN,         /* reg is in set `name` */
        NFT_TERM_NOT_IN,     /* it is not */
        NFT_TERM_COUNTER,    /* as iptables puts one into each of its rules */
        NFT_TERM_MASQUERADE, /* the packet takes the address of the interface it leaves by */
        NFT_TERM_VERDICT,    /* key: NF_ACCEPT, NF_DROP, NFT_JUMP to chain `name` */
        NFT_N_TERMS,
};

struct nft_term {
        enum nft_term_kind kind;
        uint32_t key;
        uint32_t offset;
        uint32_t size;
        uint32_t reg;     /* 0: the first */
        const void *data; /* borrowed */
        const char *name; /* borrowed */
};

#define NFT_RULE_TERMS 12

struct nft_chain {
        const char *name;
        const char *type; /* "filter", "nat"; NULL: reached by jumps only */
        uint32_t hook;
        int32_t priority;
};

struct nft_rule {
        const char *chain;
        struct nft_term terms[NFT_RULE_TERMS]; /* ends with NFT_TERM_END */
};

struct nft_set {
        const char *name;
        uint32_t type; /* nft's own number, only for the eyes of `nft list` */
        uint32_t key_size;
        uint32_t byte_order; /* for the same eyes: 1 the host's, 2 the network's */
};

/* Where a change goes. */
struct nft_place {
        uint32_t family; /* NFPROTO_* */
        const char *table;
};

/* Changes under way. Start with nft_batch_begin(); nothing happens before nft_batch_commit(). */
struct nft_batch {
        struct mnl_nlmsg_batch *messages; /* owned */
        char *bytes;                      /* owned */
        uint32_t seq;
        bool is_full; /* a message did not fit; commit says so */
};

void nft_batch_begin(struct nft_batch *batch);
void nft_batch_done(struct nft_batch *batch);
int nft_batch_commit(struct nft_batch *batch, struct err *err);

static inline void nft_batch_done_at_scope_end(struct nft_batch *batch)
{
        nft_batch_done(batch);
}

/* What exists stays, with its rules and elements. */
void nft_add_table(struct nft_batch *batch, const struct nft_place *place);
void nft_add_chain(struct nft_batch *batch, const struct nft_place *place, const struct nft_chain *chain);
void nft_add_set(struct nft_batch *batch, const struct nft_place *place, const struct nft_set *set);
void nft_flush_chain(struct nft_batch *batch, const struct nft_place *place, const char *chain);
/* At the end of its chain. comment may be NULL; iptables and nft show it. */
void nft_add_rule(struct nft_batch *batch, const struct nft_place *place, const struct nft_rule *rule,
                  const char *comment);
void nft_delete_rule(struct nft_batch *batch, const struct nft_place *place, const char *chain,
                     uint64_t handle);
void nft_add_element(struct nft_batch *batch, const struct nft_place *place, const struct nft_set *set,
                     const void *key);
void nft_delete_element(struct nft_batch *batch, const struct nft_place *place, const struct nft_set *set,
                        const void *key);

/* The keys of a set, key_size bytes each. */
struct nft_keys {
        uint8_t *bytes; /* owned */
        size_t n;
        size_t key_size;
};
void nft_keys_done(struct nft_keys *keys);
static inline void nft_keys_done_at_scope_end(struct nft_keys *keys)
{
        nft_keys_done(keys);
}
/* None when there is no such table or set. */
int nft_list_keys(const struct nft_place *place, const struct nft_set *set, struct nft_keys *ret_keys,
                  struct err *err);

/* Every chain and rule of a family goes to see(). */
int nft_each_chain(uint32_t family, void (*see)(const struct nftnl_chain *chain, void *userdata),
                   void *userdata, struct err *err);
int nft_each_rule(uint32_t family, void (*see)(const struct nftnl_rule *rule, void *userdata), void *userdata,
                  struct err *err);
