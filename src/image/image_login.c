#include "image/image_login.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"
#include "image/oci/oci_docker_config.h"
#include "image/oci/oci_reference.h"
#include "image/oci/oci_registry.h"

/* A registry's name is what may stand before the first slash of an image's. */
static int check_registry(const char *registry, struct err *err)
{
        scoped(oci_reference_done) struct oci_reference reference = { 0 };
        scoped_free char *image = xasprintf("%s/x", registry);
        struct err ignored = { 0 };

        if (!strchr(registry, '/') && oci_reference_parse(image, &reference, &ignored) == 0 &&
            strcmp(reference.registry, registry) == 0)
                return 0;
        return err_set(err, EINVAL, "registry.login",
                       "'%.100s' is not a registry: a host, perhaps ':' and a port", registry);
}

int image_login_keep(const struct image_login *login, struct err *err)
{
        const struct oci_credentials credentials = { .user = (char *) (uintptr_t) login->user,
                                                     .secret = (char *) (uintptr_t) login->secret };
        struct oci_registry_settings settings = { 0 };
        json_auto_t *registries = NULL;
        int r = check_registry(login->registry, err);

        if (r == 0 && login->registries)
                r = json_parse(login->registries, strlen(login->registries), "the [registry] table",
                               &registries, err);
        settings.registries = registries;
        if (r == 0 && strchr(login->user, ':'))
                r = err_set(err, EINVAL, "registry.login", "a user's name has no ':'");
        if (r == 0)
                r = oci_registry_login(login->registry, &settings, &credentials, err);
        return r < 0 ? r : oci_credentials_store(login->path, login->registry, &credentials, err);
}

int image_login_forget(const struct image_login *login, struct err *err)
{
        int r = check_registry(login->registry, err);

        return r < 0 ? r : oci_credentials_store(login->path, login->registry, NULL, err);
}
