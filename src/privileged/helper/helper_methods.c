#include "privileged/helper/helper_methods.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/version.h"
#include "privileged/contract/priv_check.h"
#include "privileged/contract/priv_methods.h"
#include "privileged/helper/helper_firewall.h"
#include "privileged/helper/helper_link.h"
#include "privileged/helper/helper_process.h"
#include "privileged/helper/helper_tap.h"

static int ping(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        (void) call;
        (void) params;
        (void) err;
        *ret_result = json_pack("{s:s}", "version", BANGER_VERSION);
        return 0;
}

/*
 * A guest whose tap is in no bridge: somebody removed the one it was in. What the tap's port is like follows from our
 * own pins, so nothing that a caller says is needed or taken.
 */
static int attach_again(const struct firewall_guest *guest, void *userdata, struct err *err)
{
        const struct priv_network *network = userdata;
        const struct link_port port = { guest->tap, network->bridge, guest->mac, guest->peers, false };
        const struct in_addr raw = { htonl(guest->guest_ip) };
        char text[INET_ADDRSTRLEN] = "";
        struct err not_here = { 0 };
        struct link_state state;
        uint32_t address;
        int r;

        (void) inet_ntop(AF_INET, &raw, text, sizeof(text));
        if (priv_check_tap(guest->tap, &not_here) < 0 ||
            priv_check_guest_ip(network, text, &address, &not_here) < 0)
                return 0; /* of another bridge */
        r = link_find(guest->tap, &state, err);
        if (r < 0 || state.index == 0 || state.master != 0 || strcmp(state.kind, "tun") != 0)
                return r;
        return link_attach_port(&port, err);
}

/* The firewall first: an address that is up is a host that can be reached. */
static int ensure_bridge(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct priv_ensure_bridge_params *p = params;
        struct priv_network network = { p->bridge, p->bridge_ip, p->cidr };
        int r = priv_check_network(&network, err);

        (void) call;
        (void) ret_result;
        if (r == 0)
                r = firewall_add_bridge(network.bridge, err);
        if (r == 0)
                r = link_ensure_bridge(&network, err);
        return r == 0 ? firewall_each_guest(attach_again, &network, err) : r;
}

/* What a create_tap asks for, checked. */
struct tap_wish {
        const char *name;
        struct priv_network network;
        uint8_t mac_bytes[PRIV_MAC_BYTES];
        const uint8_t *mac; /* NULL: a tap for the pool, with nothing pinned */
        uint32_t guest_ip;
        bool nat, peers;
};

static int check_tap_wish(const struct priv_create_tap_params *p, struct tap_wish *ret_wish, struct err *err)
{
        int r;

        *ret_wish = (struct tap_wish){
                .name = p->tap,
                .network = {p->bridge, p->bridge_ip, p->cidr},
                .nat = p->nat,
                .peers = p->peers
        };
        r = priv_check_tap(p->tap, err);
        if (r == 0)
                r = priv_check_network(&ret_wish->network, err);
        if (r < 0 || (!p->guest_ip && !p->mac && !p->nat && !p->peers))
                return r;
        if (!p->guest_ip || !p->mac)
                return err_set(err, EINVAL, "priv.create_tap",
                               "guest_ip and mac come together, and nat and peers only with them");
        r = priv_check_guest_ip(&ret_wish->network, p->guest_ip, &ret_wish->guest_ip, err);
        if (r == 0)
                r = priv_check_mac(p->mac, ret_wish->mac_bytes, err);
        ret_wish->mac = ret_wish->mac_bytes;
        return r;
}

/* The limits stand before the bridge is up and before the tap is a port, so no frame passes unchecked. */
static int connect_tap(const struct tap_wish *wish, bool is_fresh, struct err *err)
{
        const struct firewall_guest guest = { wish->name, wish->mac,   wish->guest_ip,
                                              wish->nat,  wish->peers, is_fresh };
        const struct link_port port = { wish->name, wish->network.bridge, wish->mac, wish->peers, is_fresh };
        struct err other = { 0 };
        int r = firewall_admit(wish->network.bridge, &guest, err);

        if (r < 0)
                return r;
        r = link_ensure_bridge(&wish->network, err);
        if (r == 0)
                r = link_attach_port(&port, err);
        if (r < 0 && firewall_forget(wish->name, wish->guest_ip, &other) < 0)
                err_join(err, &other);
        return r;
}

static int create_tap(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct helper_config *config = call->context;
        scoped_close int fd = FD_NONE;
        struct tap_wish wish;
        int r = check_tap_wish(params, &wish, err);

        (void) ret_result;
        if (r == 0)
                r = tap_open(wish.name, config->owner_uid, config->owner_gid, &fd, err);
        if (r < 0)
                return r;
        r = connect_tap(&wish, false, err);
        if (r < 0) {
                (void) ioctl(fd, TUNSETPERSIST, 0UL); /* it goes with its descriptor */
                return r;
        }
        call->reply_fds[call->n_reply_fds++] = take_fd(&fd);
        return 0;
}

/* The parameters are a create_tap's with nothing optional but what is allowed. */
static int pin_tap(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct priv_pin_tap_params *p = params;
        const struct priv_create_tap_params asked = { p->tap,      p->bridge, p->bridge_ip, p->cidr,
                                                      p->guest_ip, p->mac,    p->nat,       p->peers };
        struct link_state state = { 0 };
        struct tap_wish wish;
        int r = check_tap_wish(&asked, &wish, err);

        (void) call;
        (void) ret_result;
        if (r == 0)
                r = link_find(wish.name, &state, err);
        if (r < 0)
                return r;
        if (state.index == 0 || strcmp(state.kind, "tun") != 0)
                return err_set(err, ENODEV, "priv.pin_tap", "there is no tap '%s'", wish.name);
        return connect_tap(&wish, true, err);
}

static int delete_tap(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct priv_delete_tap_params *p = params;
        uint32_t guest_ip = 0;
        int r = priv_check_tap(p->tap, err);

        (void) call;
        (void) ret_result;
        if (r == 0 && p->guest_ip)
                r = priv_check_ipv4(p->guest_ip, "guest_ip", &guest_ip, err);
        if (r == 0)
                r = link_delete_tap(p->tap, err);
        return r == 0 ? firewall_forget(p->tap, guest_ip, err) : r;
}

static int ensure_nat(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct priv_ensure_nat_params *p = params;
        uint32_t guest_ip = 0;
        int r = priv_check_tap(p->tap, err);

        (void) call;
        (void) ret_result;
        if (r == 0)
                r = priv_check_ipv4(p->guest_ip, "guest_ip", &guest_ip, err);
        return r == 0 ? firewall_set_nat(p->tap, guest_ip, p->enable, err) : r;
}

static int send_signal(const struct rpc_call *call, uint32_t pid, int signal, struct err *err)
{
        const struct helper_config *config = call->context;
        const struct process_rules rules = { config->owner_uid, config->runtime_dir };
        scoped_close int pidfd = FD_NONE;
        int r = priv_check_pid(pid, err);

        if (r == 0)
                r = process_open_vmm((pid_t) pid, &rules, &pidfd, err);
        if (r < 0)
                return r;
        r = fd_pidfd_signal(pidfd, signal);
        if (r == -ESRCH)
                return err_set(err, ENOENT, "priv.signal", "process %u is gone", pid);
        return r < 0 ? err_set(err, -r, "priv.signal", "signal process %u: %s", pid, strerror(-r)) : 0;
}

static int kill_process(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct priv_kill_process_params *p = params;

        (void) ret_result;
        return send_signal(call, p->pid, SIGKILL, err);
}

static int signal_process(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct priv_signal_process_params *p = params;
        int signal = 0;
        int r = priv_check_signal(p->signal, &signal, err);

        (void) ret_result;
        return r == 0 ? send_signal(call, p->pid, signal, err) : r;
}

const struct rpc_binding helper_bindings[] = {
        {&priv_methods[PRIV_PING],            ping          },
        { &priv_methods[PRIV_ENSURE_BRIDGE],  ensure_bridge },
        { &priv_methods[PRIV_CREATE_TAP],     create_tap    },
        { &priv_methods[PRIV_PIN_TAP],        pin_tap       },
        { &priv_methods[PRIV_DELETE_TAP],     delete_tap    },
        { &priv_methods[PRIV_ENSURE_NAT],     ensure_nat    },
        { &priv_methods[PRIV_KILL_PROCESS],   kill_process  },
        { &priv_methods[PRIV_SIGNAL_PROCESS], signal_process},
        { NULL,                               NULL          },
};
