/*
 * network/: addresses, taps, NAT policy. One bridge, an address a VM, a tap a VM; the kernel work is done by the root
 * helper. It never runs programs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct network_settings {
        const char *helper_socket;
        const char *bridge;    /* "br-fc" */
        const char *bridge_ip; /* "172.16.0.1" */
        unsigned prefix;       /* 24 */
};

#define NETWORK_ADDRESS_MAX 16
#define NETWORK_MAC_MAX     18
#define NETWORK_TAP_MAX     16

/*
 * The lowest free guest address of the range after the bridge's own, not in taken (n strings). ENOSPC
 * "address range ... used up" names the range and the key to change.
 */
int network_pick_address(const struct network_settings *settings, const char *const *taken, unsigned n,
                         char ret_address[NETWORK_ADDRESS_MAX], struct err *err);
/* 06:00:<address>: locally administered, unicast. */
int network_mac_of(const char *address, char ret_mac[NETWORK_MAC_MAX], struct err *err);
/* "tap-fc-" + 8 hex digits of the VM's id. */
void network_tap_of(const char *vm_id, char ret_tap[NETWORK_TAP_MAX]);

/* All borrowed. */
struct network_guest {
        const char *tap;
        const char *address;
        bool nat;   /* out to other networks */
        bool peers; /* to other guests that have it too */
};

/*
 * Bridge, tap in it (MAC and address pinned; the port isolated, but from peers), NAT as wanted, in one exchange with the
 * helper. *ret_tap_fd is the open tap, owned by the caller.
 */
int network_attach(const struct network_settings *settings, const struct network_guest *guest,
                   int *ret_tap_fd, struct err *err);
/*
 * The same for a tap of the pool, which is there and open in tap_fd (borrowed): it is pinned, and what came for it before is
 * thrown away. The helper works while the caller does something else, but sends and reads nothing through the tap; an adoption
 * that was begun must be ended, also to give it up.
 */
struct network_adoption;
int network_adopt_begin(const struct network_settings *settings, const struct network_guest *guest,
                        int tap_fd, struct network_adoption **ret_adoption, struct err *err);
int network_adopt_end(struct network_adoption *owned_adoption, struct err *err);
/* "" does not exist. */
bool network_tap_exists(const char *tap);
/* Tap and NAT go; missing ones are success. */
int network_detach(const struct network_settings *settings, const char *tap, const char *address,
                   struct err *err);
/* Lets a guest with a tap out from now on, or not; its connections of before end with it. */
int network_set_nat(const struct network_settings *settings, const struct network_guest *guest,
                    struct err *err);
