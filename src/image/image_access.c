#include "image/image_access.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "image/oci/oci_docker_config.h"
#include "image/oci/oci_reference.h"

#define OP     "registry.access"
#define CA_MAX ((size_t) 256 << 10)

static int add_login(json_t *found, const struct oci_reference *reference, const char *const *files,
                     struct err *err)
{
        struct oci_credentials credentials = { 0 };
        int r = oci_credentials_find(files, reference->registry, reference->repository, &credentials, err);

        if (r == 0 && (credentials.user || credentials.identity_token))
                (void) json_object_set_new(found, "login", oci_credentials_entry(&credentials));
        oci_credentials_done(&credentials);
        return r;
}

static int add_settings(json_t *found, const char *registries, const char *registry, struct err *err)
{
        json_auto_t *tables = NULL;
        scoped_free char *pem = NULL;
        json_t *settings, *mirrors;
        int r = json_parse(registries, strlen(registries), "the [registry] table", &tables, err);

        if (r < 0)
                return r;
        settings = json_object_get(tables, registry);
        mirrors = json_object_get(settings, "mirrors");
        if (json_flag(settings, "insecure"))
                (void) json_object_set_new(found, "insecure", json_true());
        if (mirrors)
                (void) json_object_set(found, "mirrors", mirrors);
        if (*json_text(settings, "ca") == '\0')
                return 0;
        r = file_read(json_text(settings, "ca"), CA_MAX, &pem, NULL, err);
        if (r == 0 && json_object_set_new(found, "ca", json_string(pem)) < 0)
                r = err_set(err, EINVAL, OP, "'%s' is no file of certificates in PEM",
                            json_text(settings, "ca"));
        return r < 0 ? err_wrap(err, "the authority of %s", registry) : 0;
}

int image_access_find(const struct image_access *access, json_t **ret_found, struct err *err)
{
        scoped(oci_reference_done) struct oci_reference reference = { 0 };
        scoped_free char *image = NULL;
        json_auto_t *found = NULL;
        int r = oci_reference_parse(access->image, &reference, err);

        if (r == 0 && reference.transport != OCI_TRANSPORT_REGISTRY)
                r = err_set(err, EINVAL, OP, "'%s' is no image of a registry", access->image);
        if (r < 0)
                return r;
        image = oci_reference_format(&reference);
        found = json_pack("{s:s, s:s, s:s, s:b}", "image", image, "registry", reference.registry,
                          "repository", reference.repository, "insecure", 0);
        r = add_login(found, &reference, access->credential_files, err);
        if (r == 0 && access->registries)
                r = add_settings(found, access->registries, reference.registry, err);
        if (r == 0)
                *ret_found = json_incref(found);
        return r;
}
