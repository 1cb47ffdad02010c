/* Names and secrets for registries, as Docker, Podman and `banger registry login` keep them (docker config.json). */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

#define OCI_DOCKER_CONFIG_MAX ((size_t) 1 << 20)

/* All owned; all NULL: there are none. */
struct oci_credentials {
        char *user, *secret;
        char *identity_token; /* instead of both: an OAuth 2 refresh token */
};

void oci_credentials_done(struct oci_credentials *credentials);

/* What a document says of a registry. All owned. */
struct oci_docker_login {
        struct oci_credentials credentials;
        char *helper; /* or the word behind "docker-credential-" of the program to ask */
        char *server; /* the name to ask it for */
};

/* EBADMSG: an entry that is not what it should be. */
int oci_docker_config_find(const json_t *document, const char *registry, const char *repository,
                           struct oci_docker_login *ret_login, struct err *err);
void oci_docker_login_done(struct oci_docker_login *login);

/*
 * Looks into each of the files (NULL-terminated, most important first; missing ones are passed over), and asks a helper
 * when one says so, for at most 30 s. 0 also when there are none.
 */
int oci_credentials_find(const char *const *paths, const char *registry, const char *repository,
                         struct oci_credentials *ret_credentials, struct err *err);

/* As the file has them: {"auth"} or {"identitytoken"}. The caller owns it. */
json_t *oci_credentials_entry(const struct oci_credentials *credentials);

/* Keeps them in the file, mode 0600, beside what is there; NULL credentials: takes the entry out. ENOENT: there is none. */
int oci_credentials_store(const char *path, const char *registry, const struct oci_credentials *credentials,
                          struct err *err);

static inline void oci_credentials_done_at_scope_end(struct oci_credentials *credentials)
{
        oci_credentials_done(credentials);
}
static inline void oci_docker_login_done_at_scope_end(struct oci_docker_login *login)
{
        oci_docker_login_done(login);
}
