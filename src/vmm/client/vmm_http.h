/*
 * The little of HTTP/1.1 that Firecracker's API needs, over its UNIX socket. Not libcurl: loading it with its three
 * dozen libraries costs a process more than the whole configuration of a VM. Inside of vmm/client.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/scoped.h"

#define VMM_HTTP_HEAD_MAX ((size_t) 16384)
#define VMM_HTTP_BODY_MAX ((size_t) 262144)

/* One connection to an API socket (borrowed path), made by the first request and kept for the next ones. */
struct vmm_http {
        const char *api_path;
        int fd; /* owned */
};
void vmm_http_done(struct vmm_http *http);

static inline void vmm_http_done_at_scope_end(struct vmm_http *http)
{
        vmm_http_done(http);
}

struct vmm_http_request {
        const char *method;
        const char *path;
        const json_t *body; /* borrowed; NULL: none */
        uint64_t timeout_ms;
};
/*
 * One request and its reply (owned by the caller; ret_reply may be NULL). A status that is no success fails with EIO
 * and the VMM's own text; ECONNREFUSED: nobody listens; ECONNRESET: the VMM went away; ETIMEDOUT; EBADMSG: no HTTP.
 */
int vmm_http_ask(struct vmm_http *http, const struct vmm_http_request *request, json_t **ret_reply,
                 struct err *err);

struct vmm_http_head {
        unsigned status;
        size_t head_n, body_n; /* bytes */
        bool closes;           /* the connection ends after this reply */
};
/*
 * The head of a reply at the start of data: 1 with *ret_head, 0 when more bytes are needed, -EBADMSG for what
 * Firecracker never says (chunks, two lengths, a body beyond VMM_HTTP_BODY_MAX).
 */
int vmm_http_head_parse(const char *data, size_t n, struct vmm_http_head *ret_head);

/*
 * The VMM's words in the body of a refusal, as one line without control characters, owned by the caller. Firecracker
 * says {"fault_message": ...}, or {"error": ...} with a raw newline in it, which is no JSON (micro_http).
 */
char *vmm_http_fault(const char *body, size_t n);
