#include "daemon/job.h"
#include "image/image_login.h"

static const struct rpc_field registry_params[] = {
        RPC_FIELD(struct job_registry_params, registry, "host of the registry", .required = true),
        RPC_FIELD(struct job_registry_params, path, "where logins are kept", .required = true),
        RPC_FIELD(struct job_registry_params, user, "user there"),
        RPC_FIELD(struct job_registry_params, secret, "password or token"),
        RPC_FIELD(struct job_registry_params, registries, "how registries are reached, as JSON"),
        RPC_END,
};

const struct rpc_method job_registry_login = {
        .name = "job.registry.login",
        .doc = "Keep a login.",
        .params_size = sizeof(struct job_registry_params),
        .params = registry_params,
};
const struct rpc_method job_registry_logout = {
        .name = "job.registry.logout",
        .doc = "Forget a login.",
        .params_size = sizeof(struct job_registry_params),
        .params = registry_params,
};

static struct image_login login_of(const struct job_registry_params *p)
{
        return (struct image_login){ .registry = p->registry,
                                     .user = p->user ? p->user : "",
                                     .secret = p->secret ? p->secret : "",
                                     .registries = p->registries,
                                     .path = p->path };
}

int job_registry_login_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_registry_params *p = params;
        const struct image_login login = login_of(p);

        (void) call;
        *ret_result = json_pack("{s:s}", "registry", p->registry);
        return image_login_keep(&login, err);
}

int job_registry_logout_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_registry_params *p = params;
        const struct image_login login = login_of(p);

        (void) call;
        *ret_result = json_pack("{s:s}", "registry", p->registry);
        return image_login_forget(&login, err);
}
