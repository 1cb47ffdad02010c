/*
 * One stream between a socket of the host and a socket of the guest: its state, its credit both ways and up to 64 KiB
 * that the host has not taken yet. Firecracker's rules (its vsock/csm/connection.rs; virtio 1.2 §5.10.6).
 *
 * It is passive: the mux hands it packets and events and then reads its wishes from the fields (is it dead, has it
 * something for the guest, when must it end, does it wait to write).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "vmm/qemu/vsock_packet.h"

#define VSOCK_BUFFER_SIZE 65536 /* what we tell the guest in buf_alloc */
#define VSOCK_TIMEOUT_MS \
        2000 /* for an answer to REQUEST, for the guest's part of a close, for the CONNECT line */

enum vsock_state {
        VSOCK_HANDSHAKE,  /* host connected, its CONNECT line is not there yet */
        VSOCK_LOCAL_INIT, /* REQUEST to be sent or sent */
        VSOCK_PEER_INIT,  /* RESPONSE to be sent */
        VSOCK_ESTABLISHED,
        VSOCK_PEER_CLOSED,  /* the guest sent SHUTDOWN; peer_shutdown says which halves */
        VSOCK_LOCAL_CLOSED, /* the host closed: SHUTDOWN of both halves sent */
        VSOCK_KILLED,       /* RST to be sent */
        VSOCK_DEAD,         /* to be removed without a word */
        VSOCK_N_STATES
};

struct vsock_connection {
        enum vsock_state state;
        int fd; /* owned; the host's socket */
        uint64_t guest_cid;
        uint32_t local_port, peer_port;
        uint32_t pending;       /* packets to be made, enum in vsock_connection.c */
        uint32_t peer_shutdown; /* VIRTIO_VSOCK_SHUTDOWN_* */
        bool has_asked_credit;
        uint64_t deadline_ms; /* monotonic; 0: none */

        uint32_t peer_buf_alloc, peer_fwd_cnt; /* the guest's, of its last packet */
        uint32_t rx_cnt;                       /* bytes sent to the guest */
        uint32_t fwd_cnt, told_fwd_cnt;        /* bytes the host took; the count the guest knows */

        uint8_t *buffer; /* owned; VSOCK_BUFFER_SIZE bytes, NULL while empty */
        size_t buffer_start, n_buffer;

        /* The mux's. */
        TAILQ_ENTRY(vsock_connection) ready_link, deadline_link;
        LIST_ENTRY(vsock_connection) hash_link;
        uint64_t armed_ms; /* the deadline it is queued for; 0: not queued */
        bool is_ready, waits_to_write;
};

/* state: VSOCK_HANDSHAKE, or VSOCK_PEER_INIT for the guest's REQUEST. The ports are the caller's to set. */
struct vsock_connection *vsock_connection_new(int owned_fd, uint64_t guest_cid, enum vsock_state state);
void vsock_connection_free(struct vsock_connection *connection);

/* The host asked for peer_port (set by the caller): REQUEST is due. */
void vsock_connection_request(struct vsock_connection *connection);
/* A packet of the guest for this connection, n_data parts of header->len bytes in guest memory. */
void vsock_connection_receive(struct vsock_connection *connection, const struct virtio_vsock_hdr *header,
                              struct iovec *data, size_t n_data);
/* The host's socket has these epoll(7) events. */
void vsock_connection_notify(struct vsock_connection *connection, uint32_t events);
void vsock_connection_expire(struct vsock_connection *connection);

/* Makes packets for the guest in slots[0 .. n), n > 0; the number of those used, 0 when it turned out to have none. */
size_t vsock_connection_fill(struct vsock_connection *connection, struct vsock_slot *slots, size_t n);
