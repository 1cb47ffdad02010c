#include "api/api_registry.h"

static const struct rpc_field login_params[] = {
        RPC_FIELD(struct registry_login_params, registry, "host of the registry, such as ghcr.io",
                  .required = true),
        RPC_FIELD(struct registry_login_params, username, "user there", .required = true,
                  .short_option = 'u'),
        RPC_FIELD(struct registry_login_params, secret, "password or token", .required = true),
        RPC_END,
};

static const struct rpc_field logout_params[] = {
        RPC_FIELD(struct registry_logout_params, registry, "host of the registry", .required = true),
        RPC_END,
};

static const struct rpc_field access_params[] = {
        RPC_FIELD(struct registry_access_params, image, "image of a registry", .required = true),
        RPC_END,
};

const struct rpc_method api_registry_login = {
        .name = "registry.login",
        .doc = "Keep a login for a registry, once the registry has taken it.",
        .params_size = sizeof(struct registry_login_params),
        .params = login_params,
        .streams = true,
};
const struct rpc_method api_registry_logout = {
        .name = "registry.logout",
        .doc = "Forget the login for a registry.",
        .params_size = sizeof(struct registry_logout_params),
        .params = logout_params,
        .streams = true,
};
const struct rpc_method api_registry_access = {
        .name = "registry.access",
        .doc = "How an image is fetched from its registry by a build: settings, and the login that is for "
               "it.",
        .params_size = sizeof(struct registry_access_params),
        .params = access_params,
        .streams = true,
};
