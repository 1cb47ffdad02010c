/*
 * guest/contract: what may be said between the host and the agent of a guest. A connection carries frames both ways: eight
 * bytes of header, then at most what guest_frame_max() allows for the type. It owns no descriptor and starts nothing;
 * both sides of the wall include it, and neither includes the other.
 *
 * At boot the guest calls the host: HELLO, then CONFIG back, then READY or ERROR. Later the host calls the guest, one
 * connection a request: REQUEST, then ANSWER or ERROR, or, for exec, the frames of the streams and at last EXIT.
 *
 * The end of a stream is an empty frame and never a shutdown(2): Firecracker's vsock takes a half-close by the host
 * for a close (vsock/csm/connection.rs), and the answer would be lost.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/scoped.h"

#define GUEST_PROTOCOL   1U
#define GUEST_HOST_CID   2U /* VMADDR_CID_HOST, vsock(7) */
#define GUEST_BOOT_PORT  1024U
#define GUEST_AGENT_PORT 42070U

enum guest_frame_type {
        GUEST_FRAME_HELLO = 1, /* guest: JSON boot_id, version, protocol */
        GUEST_FRAME_CONFIG,    /* host: JSON, fields of struct guest_config */
        GUEST_FRAME_READY,     /* guest: empty */
        GUEST_FRAME_REQUEST,   /* host: guest_request.h */
        GUEST_FRAME_ANSWER,    /* guest: JSON object; the request succeeded */
        GUEST_FRAME_ERROR,     /* guest: JSON code (errno), message; the request failed */
        GUEST_FRAME_DATA,      /* both: bytes of a tar stream; empty: its end */
        GUEST_FRAME_STDIN,     /* host: bytes; empty: end of input */
        GUEST_FRAME_STDOUT,    /* guest: bytes */
        GUEST_FRAME_STDERR,    /* guest: bytes */
        GUEST_FRAME_CREDIT,    /* both: u8 enum guest_stream, u32 bytes that may be sent in addition */
        GUEST_FRAME_CLOSE,     /* both: u8 enum guest_stream whose reader has gone */
        GUEST_FRAME_RESIZE,    /* host: u16 rows, u16 columns */
        GUEST_FRAME_SIGNAL,    /* host: u8 number */
        GUEST_FRAME_EXIT,      /* guest: u8 enum guest_end; u8 status or signal, 0 for a timeout */
        GUEST_N_FRAMES
};

enum guest_end {
        GUEST_END_EXITED,
        GUEST_END_KILLED,
        GUEST_END_TIMEOUT, /* only where the request has one */
        GUEST_N_ENDS
};

enum guest_stream {
        GUEST_STREAM_STDIN,
        GUEST_STREAM_STDOUT,
        GUEST_STREAM_STDERR,
        GUEST_N_STREAMS
};

#define GUEST_FRAME_HEADER 8U
#define GUEST_DATA_MAX     65536U
#define GUEST_CONTROL_MAX  (2U << 20)
/*
 * Each stream of an exec may have this much under way before its reader has said (CREDIT) that it wants more. So both
 * ends can always read the connection: a reader that does not read its stream stops neither the others nor signals.
 */
#define GUEST_WINDOW (256U << 10)

struct guest_frame {
        enum guest_frame_type type;
        uint32_t n;
        const uint8_t *body; /* borrowed */
};

/* The largest body of a type; 0 for types that carry none. */
uint32_t guest_frame_max(enum guest_frame_type type);

/* Header: u8 type, three zero bytes, u32 length, little-endian. */
void guest_frame_pack(uint8_t header[GUEST_FRAME_HEADER], enum guest_frame_type type, uint32_t n);
/* -EBADMSG for an unknown type, a length beyond its type's or bytes that are not zero. body is left alone. */
int guest_frame_unpack(const uint8_t header[GUEST_FRAME_HEADER], struct guest_frame *ret_frame);

/* Blocking: one frame, until the monotonic deadline (UINT64_MAX: none). 0 or -errno. */
int guest_frame_send(int fd, enum guest_frame_type type, const void *body, size_t n, uint64_t deadline_ms);
/* The frame with its body, NUL-terminated, owned by the caller. -ENODATA: end before a frame; -EBADMSG, -ETIMEDOUT. */
int guest_frame_receive(int fd, uint64_t deadline_ms, struct guest_frame *ret_frame, uint8_t **ret_body);

void guest_put_u16(uint8_t *out, uint16_t value);
void guest_put_u32(uint8_t *out, uint32_t value);
uint16_t guest_get_u16(const uint8_t *in);
uint32_t guest_get_u32(const uint8_t *in);
