#include "image/oci/oci_manifest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"

#define OP              "image.manifest"
#define CONFIG_SIZE_MAX (UINT64_C(8) << 20)
#define SHOWN_PLATFORMS 8

/* image-spec media-types.md; distribution docs "Image Manifest Version 2, Schema 2". */
#define OCI_INDEX       "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define DOCKER_INDEX    "application/vnd.docker.distribution.manifest.list.v2+json"
#define DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"

const char oci_manifest_accept[] =
        "Accept: " OCI_INDEX ", " OCI_MANIFEST ", " DOCKER_INDEX ", " DOCKER_MANIFEST;

static const struct {
        const char *media_type;
        enum oci_compression compression;
} layer_types[] = {
        {"application/vnd.oci.image.layer.v1.tar",             OCI_COMPRESSION_NONE},
        { "application/vnd.oci.image.layer.v1.tar+gzip",       OCI_COMPRESSION_GZIP},
        { "application/vnd.oci.image.layer.v1.tar+zstd",       OCI_COMPRESSION_ZSTD},
        { "application/vnd.docker.image.rootfs.diff.tar",      OCI_COMPRESSION_NONE},
        { "application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_COMPRESSION_GZIP},
        { "application/vnd.docker.image.rootfs.diff.tar.zstd", OCI_COMPRESSION_ZSTD},
};

void oci_digest_of(const void *data, size_t n, char ret_digest[OCI_DIGEST_MAX])
{
        unsigned char sum[EVP_MAX_MD_SIZE];

        memset(sum, 0, sizeof(sum));
        if (EVP_Digest(data, n, sum, NULL, EVP_sha256(), NULL) != 1)
                abort(); /* a libcrypto without SHA-256 is none */
        (void) snprintf(ret_digest, OCI_DIGEST_MAX, "sha256:");
        text_hex(sum, 32, ret_digest + strlen("sha256:"));
}

static int read_descriptor(const json_t *object, const char *what, const char *part, uint64_t max,
                           struct oci_descriptor *ret, struct err *err)
{
        const char *digest = json_text(object, "digest");

        *ret = (struct oci_descriptor){ .size = json_u64(object, "size", UINT64_MAX) };
        if (!oci_digest_is_valid(digest))
                return err_set(err, EBADMSG, OP, "%s: %s has no sha256 digest but '%.80s'", what, part,
                               digest);
        if (ret->size > max)
                return err_set(err, ret->size == UINT64_MAX ? EBADMSG : E2BIG, OP,
                               "%s: %s %s has no size, or one beyond the limit of %llu bytes", what, part,
                               digest, (unsigned long long) max);
        (void) snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
        return 0;
}

static int read_layer(const json_t *object, const char *what, struct oci_descriptor *ret, struct err *err)
{
        const char *type = json_text(object, "mediaType");
        int r = read_descriptor(object, what, "a layer", OCI_LAYER_SIZE_MAX, ret, err);

        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof(layer_types) / sizeof(layer_types[0]); i++)
                if (strcmp(type, layer_types[i].media_type) == 0) {
                        ret->compression = layer_types[i].compression;
                        return 0;
                }
        if (strstr(type, "nondistributable") || strstr(type, "foreign"))
                return err_set(err, ENOTSUP, OP, "%s: layer %s is not distributed with the image (%.100s)",
                               what, ret->digest, type);
        return err_set(err, ENOTSUP, OP, "%s: layer %s is of the type '%.100s', which is no file system's",
                       what, ret->digest, type);
}

static int read_manifest(const json_t *document, const char *what, struct oci_manifest *manifest,
                         struct err *err)
{
        const json_t *layers = json_object_get(document, "layers");
        size_t n = json_array_size(layers);
        int r = read_descriptor(json_object_get(document, "config"), what, "the configuration",
                                CONFIG_SIZE_MAX, &manifest->config, err);

        if (r < 0)
                return r;
        if (n == 0)
                return err_set(err, EBADMSG, OP, "%s has no layers", what);
        if (n > OCI_LAYERS_MAX)
                return err_set(err, E2BIG, OP, "%s has %zu layers; at most %u make an image", what, n,
                               OCI_LAYERS_MAX);
        manifest->layers = xcalloc(n, sizeof(*manifest->layers));
        for (; manifest->n_layers < n; manifest->n_layers++) {
                r = read_layer(json_array_get(layers, manifest->n_layers), what,
                               &manifest->layers[manifest->n_layers], err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_ours(const json_t *entry)
{
        const json_t *platform = json_object_get(entry, "platform");
        const char *type = json_text(entry, "mediaType");

        /* what is no image: attestations have the platform unknown/unknown, signatures and the like other types */
        return (*type == '\0' || strcmp(type, OCI_MANIFEST) == 0 || strcmp(type, DOCKER_MANIFEST) == 0) &&
               strcmp(json_text(platform, "os"), OCI_PLATFORM_OS) == 0 &&
               strcmp(json_text(platform, "architecture"), OCI_PLATFORM_ARCHITECTURE) == 0;
}

static void list_platforms(const json_t *entries, struct text *list)
{
        const json_t *entry = NULL;
        size_t i, shown = 0;

        json_array_foreach (entries, i, entry) {
                const json_t *platform = json_object_get(entry, "platform");
                const char *os = json_text(platform, "os");

                if (*os != '\0' && strcmp(os, "unknown") != 0 && shown++ < SHOWN_PLATFORMS)
                        text_appendf(list, "%s%.20s/%.20s", list->n ? ", " : "", os,
                                     json_text(platform, "architecture"));
        }
}

/* An index of one image that says no platform (an oci: folder has such) means that one. */
static const json_t *choose(const json_t *entries)
{
        const json_t *entry = NULL;
        size_t i;

        json_array_foreach (entries, i, entry)
                if (is_ours(entry))
                        return entry;
        entry = json_array_get(entries, 0);
        return json_array_size(entries) == 1 && !json_object_get(entry, "platform") ? entry : NULL;
}

static int read_index(const json_t *document, const char *what, struct oci_manifest *manifest,
                      struct err *err)
{
        const json_t *entries = json_object_get(document, "manifests"), *chosen;
        scoped_text struct text others = { 0 };

        manifest->is_index = true;
        if (json_array_size(entries) > OCI_INDEX_MAX)
                return err_set(err, E2BIG, OP, "%s lists more than %u manifests", what, OCI_INDEX_MAX);
        chosen = choose(entries);
        if (chosen)
                return read_descriptor(chosen, what, "a manifest", OCI_MANIFEST_MAX, &manifest->chosen, err);
        list_platforms(entries, &others);
        return err_set(err, ENOENT, OP, "%s is not made for %s/%s%s%s", what, OCI_PLATFORM_OS,
                       OCI_PLATFORM_ARCHITECTURE, others.n ? ", only for " : "", others.n ? others.s : "");
}

/*
 * A document that could be read as both kinds is refused: two readers would see two images (CVE-2021-41190).
 */
static int read_document(const json_t *document, const char *what, struct oci_manifest *manifest,
                         struct err *err)
{
        const char *type = json_text(document, "mediaType");
        bool has_manifests = json_is_array(json_object_get(document, "manifests"));
        bool has_layers = json_is_array(json_object_get(document, "layers"));
        bool says_index = strcmp(type, OCI_INDEX) == 0 || strcmp(type, DOCKER_INDEX) == 0;
        bool says_manifest = strcmp(type, OCI_MANIFEST) == 0 || strcmp(type, DOCKER_MANIFEST) == 0;

        if (json_u64(document, "schemaVersion", 2) == 1)
                return err_set(err, ENOTSUP, OP,
                               "%s is in Docker's old format (schema 1); it has to be pushed again by a "
                               "current tool",
                               what);
        if (*type != '\0' && !says_index && !says_manifest)
                return err_set(err, ENOTSUP, OP, "%s is no image but '%.100s'", what, type);
        if (has_manifests == has_layers || (says_index && has_layers) || (says_manifest && has_manifests))
                return err_set(err, EBADMSG, OP, "%s is neither a manifest nor an index of manifests", what);
        return has_layers ? read_manifest(document, what, manifest, err)
                          : read_index(document, what, manifest, err);
}

int oci_manifest_parse(const char *text, size_t n, const char *what, struct oci_manifest *ret_manifest,
                       struct err *err)
{
        struct oci_manifest manifest = { 0 };
        json_auto_t *document = NULL;
        int r;

        if (n > OCI_MANIFEST_MAX)
                return err_set(err, E2BIG, OP, "%s is larger than %zu bytes", what, OCI_MANIFEST_MAX);
        r = json_parse(text, n, what, &document, err);
        if (r == 0)
                r = read_document(document, what, &manifest, err);
        if (r < 0) {
                oci_manifest_done(&manifest);
                return r;
        }
        *ret_manifest = manifest;
        return 0;
}

void oci_manifest_done(struct oci_manifest *manifest)
{
        free(manifest->layers);
        *manifest = (struct oci_manifest){ 0 };
}
