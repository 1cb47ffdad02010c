/*
 * One repository of one registry (OCI distribution-spec): its manifests, and what a transfer of a blob needs. Knows how the
 * registry is reached: mirrors, TLS or not, credentials.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/text.h"
#include "image/oci/oci_docker_config.h"
#include "image/oci/oci_http.h"
#include "image/oci/oci_manifest.h"
#include "image/oci/oci_reference.h"

/* All borrowed. */
struct oci_registry_settings {
        /* config.toml's [registry] table: {"host": {"insecure": bool, "ca": "path", "mirrors": ["https://..."]}}; NULL: none */
        const json_t *registries;
        const char *const *credential_files; /* oci_credentials_find() */
};

struct oci_registry;

/* reference must outlive it. */
int oci_registry_new(const struct oci_reference *reference, const struct oci_registry_settings *settings,
                     struct oci_registry **ret_registry, struct err *err);
void oci_registry_free(struct oci_registry *registry);

/*
 * The manifest or index behind the reference's digest or tag, or behind another digest (NULL: the reference's). Its
 * digest is verified when one was asked for. ENOENT: there is none; EACCES: not without (another) login.
 */
int oci_registry_manifest(struct oci_registry *registry, const char *digest, struct text *ret_text,
                          char ret_digest[OCI_DIGEST_MAX], struct err *err);
/* The digest that the reference has now, in one round trip as a rule; "" when the registry does not say without sending it. */
int oci_registry_resolve(struct oci_registry *registry, char ret_digest[OCI_DIGEST_MAX], struct err *err);
/* A small blob, whole and verified. */
int oci_registry_blob(struct oci_registry *registry, const struct oci_descriptor *descriptor,
                      struct text *ret_text, struct err *err);

/*
 * For transfers that are driven elsewhere. A registry's endpoints, mirrors before itself, have numbers: a blob is asked for at
 * the first, and at the next where that has failed and there is one.
 */
unsigned oci_registry_first(const struct oci_registry *registry);
/* After a failure there: true when the next is to be asked, whose number *at then is. is_answer: the answer came, whole. status: of it, 0: none. */
bool oci_registry_goes_on(struct oci_registry *registry, unsigned *at, bool is_answer, long status);
/* From now on mirrors are asked for nothing. False when they were not before. */
bool oci_registry_leave_mirrors(struct oci_registry *registry);
/* The request for a blob; *ret_url is the caller's. Good until the next oci_registry_authenticate(). */
void oci_registry_blob_request(const struct oci_registry *registry, unsigned at, const char *digest,
                               struct oci_http_request *ret_request, char **ret_url);
/* Answers an endpoint's challenge: what it is asked from now on carries what it wants. EACCES when there is nothing to answer with. */
int oci_registry_authenticate(struct oci_registry *registry, unsigned at, const char *header,
                              struct err *err);
/* What a status that is no success means, in words. */
int oci_registry_refusal(const struct oci_registry *registry, long status, const char *body, const char *what,
                         struct err *err);

/*
 * Whether the registry takes these credentials: EACCES when not. Its mirrors are not asked, since the secret is not for them,
 * and a token server is asked for a token of no repository.
 */
int oci_registry_login(const char *host, const struct oci_registry_settings *settings,
                       const struct oci_credentials *credentials, struct err *err);

static inline void oci_registry_free_at_scope_end(struct oci_registry **registry)
{
        oci_registry_free(*registry);
}
