/*
 * privileged/: what the daemon may ask of root. contract/ is the words, client/ the near side, helper/ the root process.
 *
 * This file is the gate: every kind of value has one function here, the client calls it to fail early and the helper
 * calls it again, because it takes the daemon for hostile. Nothing here has side effects. All return 0 or -EINVAL.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define PRIV_BRIDGE_DEFAULT "br-fc"
#define PRIV_MAC_BYTES      6

/* The triple that every request about a network carries (spec S-131). All borrowed. */
struct priv_network {
        const char *bridge;    /* "br-fc" */
        const char *bridge_ip; /* "172.16.0.1" */
        uint32_t cidr;         /* prefix length in bits */
};

/* The shape the kernel gives an interface name, less the '%' that it would take for a template (S-128). */
int priv_check_interface(const char *name, struct err *err);
/* "br-fc" or "br-fc-...": never an interface of the host (S-127). */
int priv_check_bridge(const char *name, struct err *err);
/* "tap-fc-..." or "tap-pool-..." (S-133). */
int priv_check_tap(const char *name, struct err *err);
/* 8 - 32; wider would swallow the subnets of others (S-129). */
int priv_check_cidr(uint32_t cidr, struct err *err);
/* Dotted quad (S-130). what names the field; *ret_address is in host byte order. */
int priv_check_ipv4(const char *text, const char *what, uint32_t *ret_address, struct err *err);
/*
 * All three of the triple, and that the address is one an own network may have: private (RFC 1918 or RFC 6598), and
 * a host's address in its subnet. Otherwise a lie about the range would pull the host's traffic to it.
 */
int priv_check_network(const struct priv_network *network, struct err *err);
/* A guest's address: in the bridge's subnet, and neither the bridge nor the subnet's first or last. network was checked. */
int priv_check_guest_ip(const struct priv_network *network, const char *guest_ip, uint32_t *ret_address,
                        struct err *err);
/* "06:00:ac:10:00:02": unicast and locally administered, so never one of a real card (IEEE 802, U/L bit). */
int priv_check_mac(const char *text, uint8_t ret_mac[PRIV_MAC_BYTES], struct err *err);
/* A process that is neither 0, init nor beyond what the kernel gives (proc(5), pid_max: 2^22). */
int priv_check_pid(uint32_t pid, struct err *err);
/* TERM KILL INT HUP QUIT USR1 USR2 ABRT, any case, SIG or not (S-138). */
int priv_check_signal(const char *name, int *ret_signal, struct err *err);
