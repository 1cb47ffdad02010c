/* registry.login, registry.logout. The file is written by a job, as all that reads strangers' words is elsewhere. */
#include "api/api_registry.h"
#include "base/scoped.h"
#include "daemon/daemon_operation.h"
#include "daemon/daemon_stores.h"

/* One after another, whatever the registry: they write one file. */
#define KEY "registries"

static json_t *job_params(const struct daemon *daemon, const char *registry, const char *user,
                          const char *secret)
{
        scoped_free char *path = layout_join(daemon->layout.state, DAEMON_AUTH_FILE, NULL);
        scoped_free char *registries =
                daemon->config.registries ? json_dumps(daemon->config.registries, JSON_COMPACT) : NULL;

        return json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "registry", registry, "path", path, "user", user,
                         "secret", secret, "registries", registries);
}

DAEMON_HANDLER(daemon_registry_login)
{
        const struct registry_login_params *p = params;
        struct daemon *daemon = daemon_of(call);

        (void) ret_result;
        (void) err;
        daemon_operation_job(daemon_operation_new(daemon, call, "registry.login"), KEY, "job.registry.login",
                             job_params(daemon, p->registry, p->username, p->secret), daemon_answer_with_job);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_registry_logout)
{
        const struct registry_logout_params *p = params;
        struct daemon *daemon = daemon_of(call);

        (void) ret_result;
        (void) err;
        daemon_operation_job(daemon_operation_new(daemon, call, "registry.logout"), KEY,
                             "job.registry.logout", job_params(daemon, p->registry, NULL, NULL),
                             daemon_answer_with_job);
        return RPC_LATER;
}

DAEMON_HANDLER(daemon_registry_access)
{
        const struct registry_access_params *p = params;
        struct daemon *daemon = daemon_of(call);
        scoped_free char *auth_file = layout_join(daemon->layout.state, DAEMON_AUTH_FILE, NULL);
        scoped_free char *registries =
                daemon->config.registries ? json_dumps(daemon->config.registries, JSON_COMPACT) : NULL;

        (void) ret_result;
        (void) err;
        daemon_operation_job(daemon_operation_new(daemon, call, "registry.access"), KEY,
                             "job.registry.access",
                             json_pack("{s:s, s:s, s:s, s:s*}", "image", p->image, "auth_file", auth_file,
                                       "home", daemon->layout.owner_home, "registries", registries),
                             daemon_answer_with_job);
        return RPC_LATER;
}
