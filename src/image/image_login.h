/* Logins for registries, kept in a file of ours. */
#pragma once

#include "base/err.h"

/* All borrowed. */
struct image_login {
        const char *registry;      /* "ghcr.io"; "docker.io" is Docker Hub */
        const char *user, *secret; /* of a login */
        const char *registries;    /* the [registry] tables as JSON; NULL: none */
        const char *path;          /* of the file */
};

/* Asks the registry, then keeps it (mode 0600). EACCES: the registry does not take it. */
int image_login_keep(const struct image_login *login, struct err *err);
/* ENOENT: there is none. */
int image_login_forget(const struct image_login *login, struct err *err);
