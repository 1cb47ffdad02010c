/* How a registry wants to be asked: its challenge (RFC 9110 §11, distribution docs "Token Authentication"), and the token. */
#pragma once

#include "base/err.h"
#include "image/oci/oci_docker_config.h"
#include "image/oci/oci_http.h"

#define OCI_TOKEN_MAX ((size_t) 256 << 10)

enum oci_auth_scheme {
        OCI_AUTH_NONE, /* nothing that we can do */
        OCI_AUTH_BASIC,
        OCI_AUTH_BEARER,
        OCI_N_AUTH_SCHEMES
};

/* All owned. */
struct oci_challenge {
        enum oci_auth_scheme scheme;
        char *realm, *service, *scope; /* of BEARER; NULL when absent */
};

/* Never fails: what is no challenge is NONE. header holds one challenge a line; a bearer's goes before a basic one. */
void oci_challenge_parse(const char *header, struct oci_challenge *ret_challenge);
void oci_challenge_done(struct oci_challenge *challenge);

/*
 * Asks the realm for a token. TLS settings are those of like. EACCES: refused; EINVAL: a realm without TLS, although the
 * registry has it. The token is the caller's to free.
 */
int oci_token_get(struct oci_http *http, const struct oci_challenge *challenge,
                  const struct oci_credentials *credentials, const struct oci_http_request *like,
                  char **ret_token, struct err *err);

static inline void oci_challenge_done_at_scope_end(struct oci_challenge *challenge)
{
        oci_challenge_done(challenge);
}
