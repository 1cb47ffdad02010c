/* What the files of guest/client share. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "guest/contract/guest_frame.h"
#include "guest/contract/guest_request.h"

/* How long a guest that owes us something may be silent in the middle of a tar stream. */
#define GUEST_SILENCE_MS UINT64_C(120000)

/* Turns the body of an ERROR frame into *err: its text is the guest's, so what is not printable is replaced. */
int guest_error_take(const struct guest_frame *frame, const char *op, struct err *err);
/* -code of base or contract, told with what was being done. ENODATA, ECONNRESET and EPIPE become ECONNRESET. */
int guest_transport_error(int r, const char *op, const char *what, struct err *err);
/* A request and its one answer, an object (NULL: not wanted) that the caller owns then; the guest's error is ours. */
int guest_ask(int fd, const struct guest_request *request, uint64_t timeout_ms, json_t **ret_answer,
              struct err *err);
/* A tar stream of tar_fd for a request that takes one, and the stream of one that gives it. */
int guest_tar_send(int fd, const struct guest_request *request, int tar_fd, struct err *err);
int guest_tar_fetch(int fd, const struct guest_request *request, int tar_fd, struct err *err);
