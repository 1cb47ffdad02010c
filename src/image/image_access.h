/* How an image of a registry is reached, for somebody else who fetches it: a build in a VM. */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* All borrowed. */
struct image_access {
        const char *image;                   /* as typed */
        const char *registries;              /* the [registry] tables as JSON; NULL: none */
        const char *const *credential_files; /* oci_credentials_find() */
};

/*
 * {"image": with the defaults filled in, "registry", "repository", "insecure", "mirrors"?, "ca"?: PEM, "login"?: an entry as
 * containers-auth.json(5) has them}. It is the caller's, and holds a secret. EINVAL: no image of a registry.
 */
int image_access_find(const struct image_access *access, json_t **ret_found, struct err *err);
