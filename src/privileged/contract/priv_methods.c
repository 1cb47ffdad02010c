#include "privileged/contract/priv_methods.h"

static const struct rpc_field nothing[] = { RPC_END };

static const struct rpc_field ensure_bridge_params[] = {
        RPC_FIELD(struct priv_ensure_bridge_params, bridge, "br-fc or br-fc-...", .required = true),
        RPC_FIELD(struct priv_ensure_bridge_params, bridge_ip, "the host's address on it", .required = true),
        RPC_FIELD(struct priv_ensure_bridge_params, cidr, "prefix length, 8 to 32", .required = true),
        RPC_END,
};

static const struct rpc_field create_tap_params[] = {
        RPC_FIELD(struct priv_create_tap_params, tap, "tap-fc-... or tap-pool-...", .required = true),
        RPC_FIELD(struct priv_create_tap_params, bridge, "br-fc or br-fc-...", .required = true),
        RPC_FIELD(struct priv_create_tap_params, bridge_ip, "the host's address on it", .required = true),
        RPC_FIELD(struct priv_create_tap_params, cidr, "prefix length, 8 to 32", .required = true),
        RPC_FIELD(struct priv_create_tap_params, guest_ip, "the only IPv4 address the guest may use"),
        RPC_FIELD(struct priv_create_tap_params, mac, "the only link address the guest may use"),
        RPC_FIELD(struct priv_create_tap_params, nat, "whether the guest may go out"),
        RPC_FIELD(struct priv_create_tap_params, peers, "whether it may talk to other guests that may"),
        RPC_END,
};

static const struct rpc_field pin_tap_params[] = {
        RPC_FIELD(struct priv_pin_tap_params, tap, "tap-fc-... or tap-pool-...", .required = true),
        RPC_FIELD(struct priv_pin_tap_params, bridge, "br-fc or br-fc-...", .required = true),
        RPC_FIELD(struct priv_pin_tap_params, bridge_ip, "the host's address on it", .required = true),
        RPC_FIELD(struct priv_pin_tap_params, cidr, "prefix length, 8 to 32", .required = true),
        RPC_FIELD(struct priv_pin_tap_params, guest_ip, "the only IPv4 address the guest may use",
                  .required = true),
        RPC_FIELD(struct priv_pin_tap_params, mac, "the only link address the guest may use",
                  .required = true),
        RPC_FIELD(struct priv_pin_tap_params, nat, "whether the guest may go out"),
        RPC_FIELD(struct priv_pin_tap_params, peers, "whether it may talk to other guests that may"),
        RPC_END,
};

static const struct rpc_field delete_tap_params[] = {
        RPC_FIELD(struct priv_delete_tap_params, tap, "tap-fc-... or tap-pool-...", .required = true),
        RPC_FIELD(struct priv_delete_tap_params, guest_ip, "the address its guest had"),
        RPC_END,
};

static const struct rpc_field ensure_nat_params[] = {
        RPC_FIELD(struct priv_ensure_nat_params, guest_ip, "the guest's address", .required = true),
        RPC_FIELD(struct priv_ensure_nat_params, tap, "the guest's tap", .required = true),
        RPC_FIELD(struct priv_ensure_nat_params, enable, "whether the guest may go out", .required = true),
        RPC_END,
};

static const struct rpc_field kill_process_params[] = {
        RPC_FIELD(struct priv_kill_process_params, pid, "a VMM of banger", .required = true),
        RPC_END,
};

static const struct rpc_field signal_process_params[] = {
        RPC_FIELD(struct priv_signal_process_params, pid, "a VMM of banger", .required = true),
        RPC_FIELD(struct priv_signal_process_params, signal, "TERM, KILL, INT, HUP, QUIT, USR1, USR2 or ABRT",
                  .required = true),
        RPC_END,
};

/* clang-format off */
#define METHOD(word, text, fields, ...) \
        { .name = "priv." #word, .doc = (text), .params_size = sizeof(struct priv_##word##_params), \
          .params = (fields), __VA_ARGS__ }

const struct rpc_method priv_methods[PRIV_N_METHODS] = {
        [PRIV_PING]           = METHOD(ping, "Answer with the helper's version.", nothing, .is_quiet = true),
        [PRIV_ENSURE_BRIDGE]  = METHOD(ensure_bridge, "Create the bridge, set it up, put guests' taps back into it.",
                                       ensure_bridge_params, .is_quiet = true),
        [PRIV_CREATE_TAP]     = METHOD(create_tap, "Create a tap in the bridge and pass it back open.",
                                       create_tap_params, .n_fds_out = 1, .is_quiet = true),
        [PRIV_PIN_TAP]        = METHOD(pin_tap, "Give a tap of the pool to a guest.", pin_tap_params, .is_quiet = true),
        [PRIV_DELETE_TAP]     = METHOD(delete_tap, "Remove a tap and what was allowed to its guest.",
                                       delete_tap_params, .is_quiet = true),
        [PRIV_ENSURE_NAT]     = METHOD(ensure_nat, "Let a guest out to other networks, or not.",
                                       ensure_nat_params, .is_quiet = true),
        [PRIV_KILL_PROCESS]   = METHOD(kill_process, "Send KILL to a VMM.", kill_process_params, .is_quiet = true),
        [PRIV_SIGNAL_PROCESS] = METHOD(signal_process, "Send a signal to a VMM.", signal_process_params,
                                       .is_quiet = true),
};
/* clang-format on */
