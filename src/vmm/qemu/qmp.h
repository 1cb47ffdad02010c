/*
 * QMP, the near side: lines from QEMU -> messages, commands -> lines. No input or output happens here. QEMU runs the
 * guest, so what it says is foreign: lines are bounded and nothing is believed beyond its type.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/text.h"

#define QMP_LINE_MAX (256 * 1024)

enum qmp_kind {
        QMP_GREETING,
        QMP_RETURN,
        QMP_ERROR,
        QMP_EVENT,
        QMP_N_KINDS
};

struct qmp_message {
        enum qmp_kind kind;
        json_t *line;     /* owned; everything below borrows from it */
        json_t *value;    /* RETURN: the value; EVENT: its data or NULL; GREETING: NULL */
        const char *name; /* EVENT: "SHUTDOWN"; ERROR: the description */
};
void qmp_message_done(struct qmp_message *message);

/* One line without its end. EPROTO when it is none of the four. */
int qmp_parse_line(const char *line, size_t n, struct qmp_message *ret_message, struct err *err);

/* {"execute": ..., "arguments": ...} and a newline, owned by the caller. owned_arguments may be NULL. */
char *qmp_command_line(const char *execute, json_t *owned_arguments);

/* Bytes as they come; lines as they are whole. */
struct qmp_buffer {
        struct text text;
};
void qmp_buffer_done(struct qmp_buffer *buffer);
/* EFBIG when a line exceeds QMP_LINE_MAX. */
int qmp_buffer_add(struct qmp_buffer *buffer, const char *bytes, size_t n, struct err *err);
/* 1 with a message, 0 when no line is whole, or an error. */
int qmp_buffer_take(struct qmp_buffer *buffer, struct qmp_message *ret_message, struct err *err);
