/*
 * A message: four bytes of length (little endian), then that many bytes of JSON, one object. Descriptors travel with
 * the first byte. A request is {"version":1,"method":...,"params":{...},"op_id":...}; answers are any number of
 * {"event":{...}} and then {"ok":true,"result":{...}} or {"ok":false,"error":{"code","message","op_id"}}.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"

#define RPC_VERSION     1
#define RPC_MESSAGE_MAX (1U << 20)  /* bytes of JSON in a request */
#define RPC_ANSWER_MAX  (64U << 20) /* in an answer: lists of thousands */
#define RPC_OP_ID_MAX   40

/* "op-" and 12 hex digits (S-096). */
void rpc_op_id_new(char ret_op_id[RPC_OP_ID_MAX]);
bool rpc_op_id_is_valid(const char *op_id);

/* Receives without blocking. Start with { 0 }. */
struct rpc_reader {
        uint32_t max; /* bytes of a message; 0: RPC_MESSAGE_MAX */
        unsigned char length[4];
        size_t n_length;
        struct text body;
        int fds[FD_PASS_MAX]; /* owned until taken */
        size_t n_fds;
};

/*
 * Reads what is there. 1: *ret_message is whole (owned by the caller; its descriptors are in reader->fds until
 * rpc_reader_take_fds or the next message); 0: more must come; -ENODATA: the peer closed between messages; other
 * -code: broken.
 */
int rpc_reader_read(struct rpc_reader *reader, int sock, json_t **ret_message, struct err *err);
size_t rpc_reader_take_fds(struct rpc_reader *reader, int ret_fds[FD_PASS_MAX]);
void rpc_reader_done(struct rpc_reader *reader);

/* Blocking, whole. The descriptors are borrowed. */
int rpc_send(int sock, const json_t *message, const int *fds, size_t n_fds, struct err *err);
/* The bytes of a message, for those who queue. Owned by the caller. */
int rpc_encode(const json_t *message, struct text *ret_bytes, struct err *err);

/* Blocking until a whole message or the monotonic deadline (UINT64_MAX: none). ret_fds are owned by the caller. */
int rpc_receive(int sock, uint64_t deadline_ms, json_t **ret_message, int ret_fds[FD_PASS_MAX],
                size_t *ret_n_fds, struct err *err);

json_t *rpc_error_message(const struct err *err, const char *op_id);
