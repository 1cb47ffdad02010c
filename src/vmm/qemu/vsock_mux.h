/*
 * The connections of one guest: listens where Firecracker does, understands `CONNECT <port>`, finds the connection of a
 * packet, hands out room for packets in turn, and ends what took too long. It knows nothing of rings; it never blocks
 * and never holds more than VSOCK_CONNECTIONS_MAX connections.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/scoped.h"
#include "vmm/qemu/vsock_packet.h"

/* As Firecracker: further host connections are closed, further requests of the guest answered with RST. */
#define VSOCK_CONNECTIONS_MAX 1023
/* Host ports are given out from here (inclusive) to twice here (exclusive), in turn. */
#define VSOCK_FIRST_PORT (UINT32_C(1) << 30)
/* Longest line `CONNECT <port>\n`. */
#define VSOCK_LINE_MAX 32

struct vsock_mux;

/* Binds and listens; EADDRINUSE when the path exists. Nobody is accepted before the first run. */
int vsock_mux_new(const char *uds_path, uint64_t guest_cid, struct vsock_mux **ret_mux, struct err *err);
void vsock_mux_free(struct vsock_mux *mux);
SCOPED_FUNC(struct vsock_mux *, vsock_mux_free);

/* Readable when run has something to do. Borrowed. */
int vsock_mux_fd(const struct vsock_mux *mux);
/* The host's side: new connections, data, room, ends, and deadlines. */
void vsock_mux_run(struct vsock_mux *mux);

/* A packet of the guest. parts: the whole chain, of length bytes. Too short or lying ones are dropped. */
void vsock_mux_receive(struct vsock_mux *mux, const struct iovec *parts, size_t n_parts, size_t length);
/* There may be packets for the guest. */
bool vsock_mux_is_ready(const struct vsock_mux *mux);
/* Makes packets in slots[0 .. n), in order; the number of slots used, 0 when there is nothing to say after all. */
size_t vsock_mux_fill(struct vsock_mux *mux, struct vsock_slot *slots, size_t n);

/* Closes every connection without a word to the guest, who does not know of them any more. */
void vsock_mux_drop_all(struct vsock_mux *mux);
size_t vsock_mux_count(const struct vsock_mux *mux);

/* The port of "connect 52\n": any case, words apart by white space, the rest ignored. -EINVAL for what is none. */
int vsock_mux_parse_line(const char *line, size_t n, uint32_t *ret_port);
