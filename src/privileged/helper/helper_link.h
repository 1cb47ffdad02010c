/*
 * Bridges and the ports in them, by rtnetlink(7). Names have passed the gate. Everything may be asked again: what is
 * already so stays.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "privileged/contract/priv_check.h"

#define LINK_KIND_MAX 16

struct link_state {
        int index; /* 0: no such interface */
        int master;
        char kind[LINK_KIND_MAX]; /* "bridge", "tun", ... (IFLA_INFO_KIND) */
};

/* 0 also when there is none. */
int link_find(const char *name, struct link_state *ret_state, struct err *err);

/* ENOTUNIQ when an interface of another's has an address in the range, EEXIST when the name is not a bridge's. */
int link_ensure_bridge(const struct priv_network *network, struct err *err);

/*
 * Makes tap a port of the bridge: learning nothing, reached only for mac (NULL: not at all), cut off from other ports
 * unless it has peers (which of them, the firewall says), and sets it up. In this order, so that no frame passes
 * before its limits stand. When that fails the tap is in no bridge.
 */
struct link_port {
        const char *tap, *bridge;
        const uint8_t *mac;
        bool has_peers;
        bool is_fresh; /* nothing was ever learned or told about the tap */
};
/* A port of this bridge already that never was anybody's is only given what is its guest's: a shorter way. */
int link_attach_port(const struct link_port *wish, struct err *err);

/* A missing one is success; EINVAL when it is not a tap. */
int link_delete_tap(const char *tap, struct err *err);
