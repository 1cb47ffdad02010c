#include "privileged/helper/helper_forward.h"

#include <arpa/inet.h>
#include <libnftnl/udata.h>
#include <stdio.h>
#include <string.h>

#include "privileged/contract/priv_check.h"

#define COMMENT_MAX  32
#define IP_SOURCE    12 /* offsets in the IPv4 header, RFC 791 */
#define IP_TARGET    16
#define OWN_TABLE    "banger"
#define N_DIRECTIONS 2

static const uint32_t families[] = { NFPROTO_IPV4, NFPROTO_INET };
static const uint8_t nfproto_ipv4[] = { NFPROTO_IPV4 };

struct search {
        struct nft_batch *batch;
        uint32_t family;
        uint32_t guest_ip; /* network byte order */
        char comment[COMMENT_MAX];
};

static struct search search_of(struct nft_batch *batch, uint32_t guest_ip)
{
        struct search search = { .batch = batch, .guest_ip = guest_ip };
        const struct in_addr address = { guest_ip };
        char text[INET_ADDRSTRLEN] = "";

        (void) inet_ntop(AF_INET, &address, text, sizeof(text));
        (void) snprintf(search.comment, sizeof(search.comment), "banger:%s", text);
        return search;
}

static int take_comment(const struct nftnl_udata *attribute, void *userdata)
{
        const char **comment = userdata;
        const char *text = nftnl_udata_get(attribute);
        uint8_t n = nftnl_udata_len(attribute);

        if (nftnl_udata_type(attribute) == NFTNL_UDATA_RULE_COMMENT && n > 0 && text[n - 1] == '\0')
                *comment = text;
        return 0;
}

/* Ours by its comment: two rules more or less are not told apart, all of them go. */
static void delete_when_ours(const struct nftnl_rule *rule, void *userdata)
{
        const struct search *search = userdata;
        const char *table = nftnl_rule_get_str(rule, NFTNL_RULE_TABLE);
        const struct nft_place place = { search->family, table };
        const char *comment = NULL;
        uint32_t n = 0;
        const void *data = nftnl_rule_get_data(rule, NFTNL_RULE_USERDATA, &n);

        if (!data || !table || nftnl_udata_parse(data, n, take_comment, &comment) < 0 || !comment)
                return;
        if (strcmp(comment, search->comment) == 0)
                nft_delete_rule(search->batch, &place, nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN),
                                nftnl_rule_get_u64(rule, NFTNL_RULE_HANDLE));
}

static bool drops_by_default(const struct nftnl_chain *chain)
{
        const char *type = nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE);

        return type && strcmp(type, "filter") == 0 && nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM) &&
               nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM) == NF_INET_FORWARD &&
               nftnl_chain_get_u32(chain, NFTNL_CHAIN_POLICY) == NF_DROP &&
               strcmp(nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE), OWN_TABLE) != 0;
}

/* iptables -A FORWARD -i br-fc+ -s <guest>/32 -j ACCEPT, and the same back with -o and -d. */
static void append_when_dropping(const struct nftnl_chain *chain, void *userdata)
{
        static const struct {
                uint32_t interface;
                uint32_t address;
        } directions[N_DIRECTIONS] = {
                {NFT_META_IIFNAME,  IP_SOURCE},
                { NFT_META_OIFNAME, IP_TARGET},
        };
        const struct search *search = userdata;
        const struct nft_place place = { search->family, nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE) };

        if (!drops_by_default(chain))
                return;
        for (size_t i = 0; i < N_DIRECTIONS; i++) {
                struct nft_rule rule = { .chain = nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME) };
                struct nft_term *t = rule.terms;

                if (search->family == NFPROTO_INET) {
                        *t++ = (struct nft_term){ NFT_TERM_META, .key = NFT_META_NFPROTO };
                        *t++ = (struct nft_term){ NFT_TERM_CMP, .data = nfproto_ipv4, .size = 1 };
                }
                *t++ = (struct nft_term){ NFT_TERM_META, .key = directions[i].interface };
                *t++ = (struct nft_term){ NFT_TERM_CMP, .data = PRIV_BRIDGE_DEFAULT,
                                          .size = sizeof(PRIV_BRIDGE_DEFAULT) - 1 };
                *t++ = (struct nft_term){ NFT_TERM_PAYLOAD, .key = NFT_PAYLOAD_NETWORK_HEADER,
                                          .offset = directions[i].address, .size = sizeof(search->guest_ip) };
                *t++ = (struct nft_term){ NFT_TERM_CMP, .data = &search->guest_ip,
                                          .size = sizeof(search->guest_ip) };
                *t++ = (struct nft_term){ NFT_TERM_COUNTER };
                *t++ = (struct nft_term){ NFT_TERM_VERDICT, .key = NF_ACCEPT };
                nft_add_rule(search->batch, &place, &rule, search->comment);
        }
}

int forward_forbid(struct nft_batch *batch, uint32_t guest_ip, struct err *err)
{
        struct search search = search_of(batch, guest_ip);
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(families) / sizeof(families[0]); i++) {
                search.family = families[i];
                r = nft_each_rule(search.family, delete_when_ours, &search, err);
        }
        return r;
}

int forward_add(struct nft_batch *batch, uint32_t guest_ip, struct err *err)
{
        struct search search = search_of(batch, guest_ip);
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(families) / sizeof(families[0]); i++) {
                search.family = families[i];
                r = nft_each_chain(search.family, append_when_dropping, &search, err);
        }
        return r;
}

/* Earlier ones go in the same batch, so asking twice leaves one pair, at the end of the chain as it is now. */
int forward_allow(struct nft_batch *batch, uint32_t guest_ip, struct err *err)
{
        int r = forward_forbid(batch, guest_ip, err);

        return r == 0 ? forward_add(batch, guest_ip, err) : r;
}
