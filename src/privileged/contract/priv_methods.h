/*
 * The closed list of requests to the root helper: names and parameters. Both ends read the same table; a method
 * that is not in it does not exist.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "rpc/rpc_table.h"

enum priv_method {
        PRIV_PING,
        PRIV_ENSURE_BRIDGE,
        PRIV_CREATE_TAP,
        PRIV_PIN_TAP,
        PRIV_DELETE_TAP,
        PRIV_ENSURE_NAT,
        PRIV_KILL_PROCESS,
        PRIV_SIGNAL_PROCESS,
        PRIV_N_METHODS,
};

/* Indexed by enum priv_method. */
extern const struct rpc_method priv_methods[PRIV_N_METHODS];

struct priv_ping_params {
        bool unused; /* C has no empty struct */
};

struct priv_ensure_bridge_params {
        const char *bridge;
        const char *bridge_ip;
        uint32_t cidr;
};

/* Without guest_ip and mac (both or neither) nothing is pinned to the tap, and no frame from it passes. */
struct priv_create_tap_params {
        const char *tap;
        const char *bridge;
        const char *bridge_ip;
        uint32_t cidr;
        const char *guest_ip;
        const char *mac;
        bool nat;   /* the guest may go out at once; false: what its address was allowed before ends */
        bool peers; /* it may talk to other guests that may, too */
};

/* The second half of create_tap, for a tap that waited in the pool and has no pin yet. */
struct priv_pin_tap_params {
        const char *tap;
        const char *bridge;
        const char *bridge_ip;
        uint32_t cidr;
        const char *guest_ip;
        const char *mac;
        bool nat;
        bool peers;
};

struct priv_delete_tap_params {
        const char *tap;
        const char *guest_ip; /* what it was allowed goes also when nothing is pinned any more */
};

struct priv_ensure_nat_params {
        const char *guest_ip;
        const char *tap;
        bool enable;
};

struct priv_kill_process_params {
        uint32_t pid;
};

struct priv_signal_process_params {
        uint32_t pid;
        const char *signal;
};
