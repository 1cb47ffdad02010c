/*
 * registry.*: logins for registries of images. They are kept in the daemon's state folder, mode 0600, and never shown; registry.access
 * gives one to a build.
 */
#pragma once

#include "rpc/rpc_table.h"

struct registry_login_params {
        const char *registry;
        const char *username;
        const char *secret;
};

struct registry_logout_params {
        const char *registry;
};

struct registry_access_params {
        const char *image;
};

extern const struct rpc_method api_registry_login;  /* streams; {"registry"}: the registry takes it */
extern const struct rpc_method api_registry_logout; /* {"registry"} */
extern const struct rpc_method api_registry_access; /* image/image_access.h; it holds a secret */
