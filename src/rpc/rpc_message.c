#include "rpc/rpc_message.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

#define OP_ID_DIGITS 12

void rpc_op_id_new(char ret_op_id[RPC_OP_ID_MAX])
{
        unsigned char random[OP_ID_DIGITS / 2];

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                abort();
        memcpy(ret_op_id, "op-", 3);
        text_hex(random, sizeof(random), ret_op_id + 3);
}

bool rpc_op_id_is_valid(const char *op_id)
{
        return text_starts_with(op_id, "op-") && strspn(op_id + 3, "0123456789abcdef") == OP_ID_DIGITS &&
               op_id[3 + OP_ID_DIGITS] == '\0';
}

static void close_fds(struct rpc_reader *reader)
{
        for (size_t i = 0; i < reader->n_fds; i++)
                (void) close(reader->fds[i]);
        reader->n_fds = 0;
}

size_t rpc_reader_take_fds(struct rpc_reader *reader, int ret_fds[FD_PASS_MAX])
{
        size_t n = reader->n_fds;

        memcpy(ret_fds, reader->fds, n * sizeof(int));
        reader->n_fds = 0;
        return n;
}

void rpc_reader_done(struct rpc_reader *reader)
{
        close_fds(reader);
        text_done(&reader->body);
        *reader = (struct rpc_reader){ 0 };
}

static uint32_t body_length(const struct rpc_reader *reader)
{
        return (uint32_t) reader->length[0] | (uint32_t) reader->length[1] << 8 |
               (uint32_t) reader->length[2] << 16 | (uint32_t) reader->length[3] << 24;
}

/* Never asks for more than the current message, so that nothing of the next one is taken. */
static ssize_t receive_some(struct rpc_reader *reader, int sock, void *buffer, size_t n)
{
        int fds[FD_PASS_MAX];
        size_t n_fds = 0;
        ssize_t got = fd_receive_with(sock, buffer, n, fds, &n_fds);

        for (size_t i = 0; i < n_fds; i++) {
                if (reader->n_fds < FD_PASS_MAX)
                        reader->fds[reader->n_fds++] = fds[i];
                else
                        (void) close(fds[i]);
        }
        return got;
}

static uint32_t max_of(const struct rpc_reader *reader)
{
        return reader->max != 0 ? reader->max : RPC_MESSAGE_MAX;
}

/* 1: more bytes came; 0: none are there now. */
static int read_part(struct rpc_reader *reader, int sock, struct err *err)
{
        bool in_length = reader->n_length < sizeof(reader->length);
        size_t missing =
                in_length ? sizeof(reader->length) - reader->n_length : body_length(reader) - reader->body.n;
        void *place = in_length ? (void *) (reader->length + reader->n_length)
                                : text_reserve(&reader->body, missing);
        ssize_t got = receive_some(reader, sock, place, missing);

        if (got == -EAGAIN)
                return 0;
        if (got == 0 && reader->n_length == 0)
                return -ENODATA;
        if (got == 0)
                return err_set(err, ECONNRESET, "rpc.receive",
                               "the peer closed the connection within a message");
        if (got < 0)
                return err_set(err, (int) -got, "rpc.receive", "receive: %s", strerror((int) -got));
        if (in_length) {
                reader->n_length += (size_t) got;
                if (reader->n_length == sizeof(reader->length) &&
                    (body_length(reader) == 0 || body_length(reader) > max_of(reader)))
                        return err_set(err, EINVAL, "rpc.receive", "a message of %u bytes (at most %u)",
                                       body_length(reader), max_of(reader));
        } else {
                text_grow(&reader->body, (size_t) got);
        }
        return 1;
}

/* What is not JSON is a bad request, not damage of ours. */
static int parse_body(const struct text *body, json_t **ret_message, struct err *err)
{
        int r = json_parse(body->s, body->n, "the message", ret_message, err);

        if (r < 0)
                err->code = EINVAL;
        return r < 0 ? -EINVAL : 0;
}

int rpc_reader_read(struct rpc_reader *reader, int sock, json_t **ret_message, struct err *err)
{
        json_t *message = NULL;
        int r;

        if (reader->n_length == 0)
                close_fds(reader);
        do {
                r = read_part(reader, sock, err);
                if (r <= 0)
                        return r;
        } while (reader->n_length < sizeof(reader->length) || reader->body.n < body_length(reader));

        r = parse_body(&reader->body, &message, err);
        text_done(&reader->body);
        reader->n_length = 0;
        if (r < 0)
                return r;
        *ret_message = message;
        return 1;
}

static int add_bytes(const char *data, size_t n, void *userdata)
{
        text_append_bytes(userdata, data, n);
        return 0;
}

/* Dumped where it is sent from, behind its length: an answer may be megabytes, and every copy of it costs. */
int rpc_encode(const json_t *message, struct text *ret_bytes, struct err *err)
{
        size_t start = ret_bytes->n, n;
        unsigned char length[4] = { 0 };
        bool is_whole;

        text_append_bytes(ret_bytes, length, sizeof(length));
        is_whole = json_dump_callback(message, add_bytes, ret_bytes, JSON_COMPACT) == 0;
        n = ret_bytes->n - start - sizeof(length);
        if (!is_whole || n > RPC_ANSWER_MAX) {
                ret_bytes->n = start;
                return err_set(err, EMSGSIZE, "rpc.send", "a message of %zu bytes (at most %u)", n,
                               RPC_ANSWER_MAX);
        }
        for (unsigned i = 0; i < sizeof(length); i++)
                ret_bytes->s[start + i] = (char) (unsigned char) (n >> (8 * i));
        return 0;
}

int rpc_send(int sock, const json_t *message, const int *fds, size_t n_fds, struct err *err)
{
        scoped_text struct text bytes = { 0 };
        int r = rpc_encode(message, &bytes, err);

        if (r < 0)
                return r;
        r = fd_send_with(sock, bytes.s, bytes.n, fds, n_fds);
        return r < 0 ? err_set(err, -r, "rpc.send", "send: %s", strerror(-r)) : 0;
}

static void rpc_reader_done_at_scope_end(struct rpc_reader *reader)
{
        rpc_reader_done(reader);
}

int rpc_receive(int sock, uint64_t deadline_ms, json_t **ret_message, int ret_fds[FD_PASS_MAX],
                size_t *ret_n_fds, struct err *err)
{
        scoped(rpc_reader_done) struct rpc_reader reader = { 0 };

        for (;;) {
                int r = fd_wait(sock, POLLIN, deadline_ms == UINT64_MAX ? -1 : clock_left_ms(deadline_ms));

                if (r < 0)
                        return err_set(err, -r, "rpc.receive", "no answer: %s", strerror(-r));
                r = read_part(&reader, sock, err);
                if (r == -ENODATA)
                        return err_set(err, ECONNRESET, "rpc.receive", "the peer closed the connection");
                if (r < 0)
                        return r;
                if (reader.n_length < sizeof(reader.length) || reader.body.n < body_length(&reader))
                        continue;
                r = parse_body(&reader.body, ret_message, err);
                if (r < 0)
                        return r;
                *ret_n_fds = rpc_reader_take_fds(&reader, ret_fds);
                return 0;
        }
}

json_t *rpc_error_message(const struct err *err, const char *op_id)
{
        json_t *error = json_pack("{s:s, s:s%}", "code", err_code_to_name(err->code), "message", err->message,
                                  strlen(err->message));

        if (!error) /* not UTF-8: a name of a stranger's; the reader gets it with its odd bytes replaced */
                error = json_pack("{s:s, s:s}", "code", err_code_to_name(err->code), "message",
                                  "failed (the message holds bytes that are not UTF-8)");
        if (op_id && op_id[0] != '\0')
                (void) json_object_set_new(error, "op_id", json_string(op_id));
        return json_pack("{s:b, s:o}", "ok", 0, "error", error);
}
