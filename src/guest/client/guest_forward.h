/* Connections of this host that end in a guest, and of a guest that end here. Addresses as in base/address.h. */
#pragma once

#include "base/err.h"
#include "guest/contract/guest_channel.h"

/* On a fresh connection: the guest connects to the address; then guest_carry() with it. */
int guest_dial(int fd, const char *address, struct err *err);
/* guest_relay(): the bytes of both directions, until both have ended. */
int guest_carry(int fd, int sock);

/* The guest listens for as long as the connection lives. */
struct guest_listener {
        struct guest_channel channel;
        unsigned port; /* that was bound; 0 for a path */
};

int guest_listen(int fd, const char *address, struct guest_listener *ret_listener, struct err *err);
/* When fd is readable: 1 with the vsock port at which a connection is to be taken, 0: none yet, -code: it listens no more. */
int guest_listener_next(struct guest_listener *listener, unsigned *ret_port, struct err *err);
void guest_listener_done(struct guest_listener *listener);
