#include <stdlib.h>

#include "base/text.h"
#include "daemon/job.h"
#include "image/image_access.h"
#include "image/image_login.h"

static const struct rpc_field registry_params[] = {
        RPC_FIELD(struct job_registry_params, registry, "host of the registry", .required = true),
        RPC_FIELD(struct job_registry_params, path, "where logins are kept", .required = true),
        RPC_FIELD(struct job_registry_params, user, "user there"),
        RPC_FIELD(struct job_registry_params, secret, "password or token"),
        RPC_FIELD(struct job_registry_params, registries, "how registries are reached, as JSON"),
        RPC_END,
};

static const struct rpc_field access_params[] = {
        RPC_FIELD(struct job_registry_access_params, image, "as typed", .required = true),
        RPC_FIELD(struct job_registry_access_params, registries, "how registries are reached, as JSON"),
        RPC_FIELD(struct job_registry_access_params, auth_file, "where logins are kept"),
        RPC_FIELD(struct job_registry_access_params, home, "where Docker's may be"),
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

const struct rpc_method job_registry_access = {
        .name = "job.registry.access",
        .doc = "How an image is fetched from its registry.",
        .params_size = sizeof(struct job_registry_access_params),
        .params = access_params,
};

/* Ours, Docker's, Podman's (containers-auth.json(5)). */
void job_credential_files_init(struct job_credential_files *files, const char *auth_file, const char *home)
{
        const char *docker = getenv("DOCKER_CONFIG"), *runtime = getenv("XDG_RUNTIME_DIR");
        size_t n = 0;

        *files = (struct job_credential_files){ 0 };
        if (auth_file)
                text_append(&files->paths[0], auth_file);
        if (docker && *docker != '\0')
                text_appendf(&files->paths[1], "%s/config.json", docker);
        else if (home)
                text_appendf(&files->paths[1], "%s/.docker/config.json", home);
        if (runtime && *runtime != '\0')
                text_appendf(&files->paths[2], "%s/containers/auth.json", runtime);
        for (size_t i = 0; i < 3; i++)
                if (files->paths[i].n > 0)
                        files->list[n++] = files->paths[i].s;
}

void job_credential_files_done(struct job_credential_files *files)
{
        for (size_t i = 0; i < 3; i++)
                text_done(&files->paths[i]);
}

int job_registry_access_run(struct rpc_call *call, const void *params, json_t **ret_result, struct err *err)
{
        const struct job_registry_access_params *p = params;
        struct job_credential_files files;
        struct image_access access = { .image = p->image, .registries = p->registries };
        int r;

        (void) call;
        job_credential_files_init(&files, p->auth_file, p->home);
        access.credential_files = files.list;
        r = image_access_find(&access, ret_result, err);
        job_credential_files_done(&files);
        return r;
}
