/* Bodies of requests: JSON text -> the struct of a shape, refused as serde_json refuses. */
#pragma once

#include "base/err.h"
#include "vmm/contract/vmm_api.h"

/* Strings of a body borrow from its document; both live and die together. */
struct vmm_document {
        json_t *json; /* owned */
};
void vmm_document_done(struct vmm_document *document);

/*
 * ret_body: shape->size bytes, filled whole (absent fields get their fallback). On failure *ret_body is of no use and
 * err says what serde would: "missing field `drive_id` at line 1 column 2" (EINVAL).
 */
int vmm_decode(const struct vmm_shape *shape, const char *text, size_t n, void *ret_body,
               struct vmm_document *ret_document, struct err *err);

/* Any JSON value (MMDS data), refused in the same words. */
int vmm_decode_any(const char *text, size_t n, struct vmm_document *ret_document, struct err *err);

/* "missing field `x` at line L column C" for a rule that the shape does not carry. */
int vmm_refuse_missing(const char *text, size_t n, const char *field, struct err *err);
