/*
 * HTTP for registries, by libcurl: limits, retries, redirects that carry no secret to another host. One process, no
 * threads of ours. Internal to image/oci.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"

#define OCI_HTTP_TRIES 5U

/* All borrowed. */
struct oci_http_request {
        const char *url;
        const char *method;        /* "HEAD"; NULL: GET, or POST with a form */
        const char *accept;        /* a whole header line; NULL: none */
        const char *bearer;        /* a token; NULL: none */
        const char *user, *secret; /* NULL: none */
        const char *form;          /* body of a POST, urlencoded; NULL: none */
        const char *ca_path;       /* authorities beside those of this machine; NULL: none */
        bool no_verify;            /* any certificate will do */
        size_t max;                /* bytes of the body: E2BIG beyond */
        unsigned tries;            /* 0: OCI_HTTP_TRIES */
        bool asks_once;            /* without an answer: there is another way to ask */
};

/* Of the last response, behind all redirects. All owned. */
struct oci_http_headers {
        char *content_type;
        char *digest;       /* Docker-Content-Digest */
        char *authenticate; /* WWW-Authenticate; several are joined by newlines */
        char *range;        /* Content-Range */
        uint64_t retry_after_ms;
        size_t n; /* bytes of header lines seen: they are limited too */
};

struct oci_http_answer {
        long status;
        struct text body;
        struct oci_http_headers headers;
};

struct oci_http {
        CURL *easy; /* owned: its connections are used again */
};

int oci_http_init(struct oci_http *http, struct err *err);
void oci_http_done(struct oci_http *http);
/*
 * 0 with any HTTP status; -code when there is no answer. What may pass (cut connections, 429, 5xx) is tried again, with
 * growing pauses or those that the server asks for.
 */
int oci_http_ask(struct oci_http *http, const struct oci_http_request *request,
                 struct oci_http_answer *ret_answer, struct err *err);
void oci_http_answer_done(struct oci_http_answer *answer);

/* For transfers that are driven elsewhere: everything but where the body goes. *ret_list is the caller's to free after it. */
int oci_http_prepare(CURL *easy, const struct oci_http_request *request, struct oci_http_headers *headers,
                     struct curl_slist **ret_list, struct err *err);
void oci_http_headers_done(struct oci_http_headers *headers);
/* What the transfer's failure means, in words; EACCES for a certificate that nobody vouches for. */
int oci_http_error(CURL *easy, CURLcode code, const char *url, const char *detail, struct err *err);
bool oci_http_may_pass(CURLcode code, long status);
/* How long to wait before try number `attempt` (1: the first repetition). */
uint64_t oci_http_pause_ms(unsigned attempt, uint64_t retry_after_ms);
/* A stranger's text as one line that can be shown: controls become '?', cut at n - 1 bytes. */
void oci_http_show(const char *text, char *out, size_t n);

static inline void oci_http_answer_done_at_scope_end(struct oci_http_answer *answer)
{
        oci_http_answer_done(answer);
}
static inline void oci_http_done_at_scope_end(struct oci_http *http)
{
        oci_http_done(http);
}
