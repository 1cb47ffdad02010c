#include "privileged/helper/helper_nft.h"

#include <errno.h>
#include <libnftnl/expr.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "base/text.h"

#define OP "priv.nft"

/* The whole of our rules is some 4 KiB; a message is at most a page. */
#define BATCH_MAX ((size_t) 128 << 10)
#define PAGE      4096

/* nf_conntrack_tuple_common.h and nft_ct: the state is a bit mask with NF_CT_STATE_BIT(). */
#define STATE_ESTABLISHED (1U << (IP_CT_ESTABLISHED % IP_CT_IS_REPLY + 1))
#define STATE_RELATED     (1U << (IP_CT_RELATED % IP_CT_IS_REPLY + 1))

void nft_batch_begin(struct nft_batch *batch)
{
        *batch = (struct nft_batch){ .bytes = xmalloc(BATCH_MAX + PAGE) };
        batch->messages = mnl_nlmsg_batch_start(batch->bytes, BATCH_MAX);
        if (!batch->messages)
                abort();
        (void) nftnl_batch_begin(mnl_nlmsg_batch_current(batch->messages), batch->seq++);
        (void) mnl_nlmsg_batch_next(batch->messages);
}

void nft_batch_done(struct nft_batch *batch)
{
        if (batch->messages)
                mnl_nlmsg_batch_stop(batch->messages);
        free(batch->bytes);
        *batch = (struct nft_batch){ 0 };
}

static struct nlmsghdr *message_begin(struct nft_batch *batch, uint16_t type, uint32_t family, uint16_t flags)
{
        return nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(batch->messages), type, (uint16_t) family, flags,
                                     batch->seq++);
}

static void message_end(struct nft_batch *batch)
{
        if (!mnl_nlmsg_batch_next(batch->messages))
                batch->is_full = true;
}

int nft_batch_commit(struct nft_batch *batch, struct err *err)
{
        scoped(netlink_close) struct mnl_socket *socket = NULL;
        int r;

        (void) nftnl_batch_end(mnl_nlmsg_batch_current(batch->messages), batch->seq++);
        message_end(batch);
        if (batch->is_full)
                return err_set(err, EMSGSIZE, OP, "too many firewall changes at once");
        socket = netlink_open(NETLINK_NETFILTER, err);
        if (!socket)
                return -err->code;
        r = netlink_send_batch(socket, mnl_nlmsg_batch_head(batch->messages),
                               mnl_nlmsg_batch_size(batch->messages));
        return r < 0 ? err_set(err, -r, OP, "change the firewall (nf_tables): %s", strerror(-r)) : 0;
}

void nft_add_table(struct nft_batch *batch, const struct nft_place *place)
{
        struct nlmsghdr *message = message_begin(batch, NFT_MSG_NEWTABLE, place->family, NLM_F_CREATE);

        mnl_attr_put_strz(message, NFTA_TABLE_NAME, place->table);
        message_end(batch);
}

static struct nftnl_chain *chain_new(const struct nft_place *place, const char *name)
{
        struct nftnl_chain *chain = nftnl_chain_alloc();

        if (!chain)
                abort();
        (void) nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, place->table);
        (void) nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name);
        return chain;
}

void nft_add_chain(struct nft_batch *batch, const struct nft_place *place, const struct nft_chain *chain)
{
        struct nftnl_chain *c = chain_new(place, chain->name);

        if (chain->type) {
                (void) nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, chain->type);
                nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, chain->hook);
                nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, chain->priority);
                nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
        }
        nftnl_chain_nlmsg_build_payload(message_begin(batch, NFT_MSG_NEWCHAIN, place->family, NLM_F_CREATE),
                                        c);
        message_end(batch);
        nftnl_chain_free(c);
}

static struct nftnl_set *set_new(const struct nft_place *place, const struct nft_set *set)
{
        struct nftnl_set *s = nftnl_set_alloc();

        if (!s)
                abort();
        (void) nftnl_set_set_str(s, NFTNL_SET_TABLE, place->table);
        (void) nftnl_set_set_str(s, NFTNL_SET_NAME, set->name);
        return s;
}

void nft_add_set(struct nft_batch *batch, const struct nft_place *place, const struct nft_set *set)
{
        struct nftnl_udata_buf *order = nftnl_udata_buf_alloc(NFTNL_UDATA_COMMENT_MAXLEN);
        struct nftnl_set *s = set_new(place, set);

        if (!order || !nftnl_udata_put_u32(order, NFTNL_UDATA_SET_KEYBYTEORDER, set->byte_order))
                abort();
        (void) nftnl_set_set_data(s, NFTNL_SET_USERDATA, nftnl_udata_buf_data(order),
                                  nftnl_udata_buf_len(order));
        nftnl_udata_buf_free(order);
        nftnl_set_set_u32(s, NFTNL_SET_FAMILY, place->family);
        nftnl_set_set_u32(s, NFTNL_SET_ID, batch->seq);
        nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, set->type);
        nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, set->key_size);
        nftnl_set_nlmsg_build_payload(message_begin(batch, NFT_MSG_NEWSET, place->family, NLM_F_CREATE), s);
        message_end(batch);
        nftnl_set_free(s);
}

static struct nftnl_rule *rule_new(const struct nft_place *place, const char *chain)
{
        struct nftnl_rule *rule = nftnl_rule_alloc();

        if (!rule)
                abort();
        nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, place->family);
        (void) nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, place->table);
        (void) nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
        return rule;
}

/* A message about a rule; the rule is consumed. */
static void send_rule(struct nft_batch *batch, uint16_t type, uint16_t flags, struct nftnl_rule *owned_rule)
{
        uint32_t family = nftnl_rule_get_u32(owned_rule, NFTNL_RULE_FAMILY);

        nftnl_rule_nlmsg_build_payload(message_begin(batch, type, family, flags), owned_rule);
        message_end(batch);
        nftnl_rule_free(owned_rule);
}

void nft_flush_chain(struct nft_batch *batch, const struct nft_place *place, const char *chain)
{
        send_rule(batch, NFT_MSG_DELRULE, 0, rule_new(place, chain));
}

void nft_delete_rule(struct nft_batch *batch, const struct nft_place *place, const char *chain,
                     uint64_t handle)
{
        struct nftnl_rule *rule = rule_new(place, chain);

        nftnl_rule_set_u64(rule, NFTNL_RULE_HANDLE, handle);
        send_rule(batch, NFT_MSG_DELRULE, 0, rule);
}

static struct nftnl_expr *expr_new(struct nftnl_rule *rule, const char *name)
{
        struct nftnl_expr *e = nftnl_expr_alloc(name);

        if (!e)
                abort();
        nftnl_rule_add_expr(rule, e);
        return e;
}

static void add_cmp(struct nftnl_rule *rule, uint32_t reg, uint32_t how, const void *data, uint32_t size)
{
        struct nftnl_expr *e = expr_new(rule, "cmp");

        nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, reg);
        nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, how);
        (void) nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, size);
}

static void add_known(struct nftnl_rule *rule, uint32_t reg)
{
        const uint32_t wanted = STATE_ESTABLISHED | STATE_RELATED, none = 0;
        struct nftnl_expr *e = expr_new(rule, "ct");

        nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, NFT_CT_STATE);
        nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, reg);
        e = expr_new(rule, "bitwise");
        nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, reg);
        nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, reg);
        nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, sizeof(wanted));
        (void) nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, &wanted, sizeof(wanted));
        (void) nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, &none, sizeof(none));
        add_cmp(rule, reg, NFT_CMP_NEQ, &none, sizeof(none));
}

static void add_lookup(struct nftnl_rule *rule, const struct nft_term *term, uint32_t reg)
{
        struct nftnl_expr *e = expr_new(rule, "lookup");

        nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, reg);
        (void) nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, term->name);
        if (term->kind == NFT_TERM_NOT_IN)
                nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
}

static void add_load(struct nftnl_rule *rule, const struct nft_term *term, uint32_t reg)
{
        struct nftnl_expr *e;

        if (term->kind == NFT_TERM_META) {
                e = expr_new(rule, "meta");
                nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, term->key);
                nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, reg);
                return;
        }
        e = expr_new(rule, "payload");
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, term->key);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, term->offset);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, term->size);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, reg);
}

static void add_verdict(struct nftnl_rule *rule, const struct nft_term *term)
{
        struct nftnl_expr *e = expr_new(rule, "immediate");

        nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
        nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, term->key);
        if (term->name)
                (void) nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, term->name);
}

static void add_term(struct nftnl_rule *rule, const struct nft_term *term)
{
        uint32_t reg = term->reg ? term->reg : NFT_REG_1;

        switch (term->kind) {
        case NFT_TERM_META:
        case NFT_TERM_PAYLOAD:
                add_load(rule, term, reg);
                break;
        case NFT_TERM_KNOWN:
                add_known(rule, reg);
                break;
        case NFT_TERM_CMP:
                add_cmp(rule, reg, NFT_CMP_EQ, term->data, term->size);
                break;
        case NFT_TERM_IN:
        case NFT_TERM_NOT_IN:
                add_lookup(rule, term, reg);
                break;
        case NFT_TERM_COUNTER:
                (void) expr_new(rule, "counter");
                break;
        case NFT_TERM_MASQUERADE:
                (void) expr_new(rule, "masq");
                break;
        case NFT_TERM_VERDICT:
                add_verdict(rule, term);
                break;
        case NFT_TERM_END:
        case NFT_N_TERMS:
                break;
        }
}

static void add_comment(struct nftnl_rule *rule, const char *comment)
{
        struct nftnl_udata_buf *buffer = nftnl_udata_buf_alloc(NFTNL_UDATA_COMMENT_MAXLEN);

        if (!buffer || !nftnl_udata_put_strz(buffer, NFTNL_UDATA_RULE_COMMENT, comment))
                abort();
        (void) nftnl_rule_set_data(rule, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(buffer),
                                   nftnl_udata_buf_len(buffer));
        nftnl_udata_buf_free(buffer);
}

void nft_add_rule(struct nft_batch *batch, const struct nft_place *place, const struct nft_rule *rule,
                  const char *comment)
{
        struct nftnl_rule *r = rule_new(place, rule->chain);

        for (const struct nft_term *t = rule->terms; t->kind != NFT_TERM_END; t++)
                add_term(r, t);
        if (comment)
                add_comment(r, comment);
        send_rule(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, r);
}

static void send_element(struct nft_batch *batch, uint16_t type, const struct nft_place *place,
                         const struct nft_set *set, const void *key)
{
        struct nftnl_set_elem *element = nftnl_set_elem_alloc();
        struct nftnl_set *s = set_new(place, set);

        if (!element)
                abort();
        (void) nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, key, set->key_size);
        nftnl_set_elem_add(s, element);
        nftnl_set_elems_nlmsg_build_payload(
                message_begin(batch, type, place->family, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0), s);
        message_end(batch);
        nftnl_set_free(s);
}

void nft_add_element(struct nft_batch *batch, const struct nft_place *place, const struct nft_set *set,
                     const void *key)
{
        send_element(batch, NFT_MSG_NEWSETELEM, place, set, key);
}

void nft_delete_element(struct nft_batch *batch, const struct nft_place *place, const struct nft_set *set,
                        const void *key)
{
        send_element(batch, NFT_MSG_DELSETELEM, place, set, key);
}

void nft_keys_done(struct nft_keys *keys)
{
        free(keys->bytes);
        *keys = (struct nft_keys){ 0 };
}

static int take_key(struct nftnl_set_elem *element, void *userdata)
{
        struct nft_keys *keys = userdata;
        uint32_t size = 0;
        const void *key = nftnl_set_elem_get(element, NFTNL_SET_ELEM_KEY, &size);

        if (!key || size != keys->key_size)
                return 0;
        keys->bytes = xrealloc(keys->bytes, (keys->n + 1) * keys->key_size);
        memcpy(keys->bytes + keys->n * keys->key_size, key, size);
        keys->n++;
        return 0;
}

static int take_elements(const struct nlmsghdr *answer, void *userdata)
{
        struct nftnl_set *set = nftnl_set_alloc();

        if (set && nftnl_set_elems_nlmsg_parse(answer, set) == 0)
                (void) nftnl_set_elem_foreach(set, take_key, userdata);
        if (set)
                nftnl_set_free(set);
        return MNL_CB_OK;
}

/* A dump of one kind of object; ENOENT (no such table) is an empty one. */
static int dump(struct nlmsghdr *question, mnl_cb_t take, void *userdata, struct err *err)
{
        scoped(netlink_close) struct mnl_socket *socket = netlink_open(NETLINK_NETFILTER, err);
        int r;

        if (!socket)
                return -err->code;
        r = netlink_talk(socket, question, take, userdata);
        if (r < 0 && r != -ENOENT)
                return err_set(err, -r, OP, "list the firewall (nf_tables): %s", strerror(-r));
        return 0;
}

int nft_list_keys(const struct nft_place *place, const struct nft_set *set, struct nft_keys *ret_keys,
                  struct err *err)
{
        char bytes[PAGE];
        struct nlmsghdr *question =
                nftnl_nlmsg_build_hdr(bytes, NFT_MSG_GETSETELEM, (uint16_t) place->family, NLM_F_DUMP, 0);
        struct nftnl_set *s = set_new(place, set);

        *ret_keys = (struct nft_keys){ .key_size = set->key_size };
        nftnl_set_elems_nlmsg_build_payload(question, s);
        nftnl_set_free(s);
        return dump(question, take_elements, ret_keys, err);
}

struct see_chain {
        void (*see)(const struct nftnl_chain *chain, void *userdata);
        void *userdata;
};

static int take_chain(const struct nlmsghdr *answer, void *userdata)
{
        const struct see_chain *to = userdata;
        struct nftnl_chain *chain = nftnl_chain_alloc();

        if (chain && nftnl_chain_nlmsg_parse(answer, chain) == 0)
                to->see(chain, to->userdata);
        if (chain)
                nftnl_chain_free(chain);
        return MNL_CB_OK;
}

int nft_each_chain(uint32_t family, void (*see)(const struct nftnl_chain *chain, void *userdata),
                   void *userdata, struct err *err)
{
        struct see_chain to = { see, userdata };
        char bytes[PAGE];

        return dump(nftnl_nlmsg_build_hdr(bytes, NFT_MSG_GETCHAIN, (uint16_t) family, NLM_F_DUMP, 0),
                    take_chain, &to, err);
}

struct see_rule {
        void (*see)(const struct nftnl_rule *rule, void *userdata);
        void *userdata;
};

static int take_rule(const struct nlmsghdr *answer, void *userdata)
{
        const struct see_rule *to = userdata;
        struct nftnl_rule *rule = nftnl_rule_alloc();

        if (rule && nftnl_rule_nlmsg_parse(answer, rule) == 0)
                to->see(rule, to->userdata);
        if (rule)
                nftnl_rule_free(rule);
        return MNL_CB_OK;
}

int nft_each_rule(uint32_t family, void (*see)(const struct nftnl_rule *rule, void *userdata), void *userdata,
                  struct err *err)
{
        struct see_rule to = { see, userdata };
        char bytes[PAGE];

        return dump(nftnl_nlmsg_build_hdr(bytes, NFT_MSG_GETRULE, (uint16_t) family, NLM_F_DUMP, 0),
                    take_rule, &to, err);
}
