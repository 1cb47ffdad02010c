/* Manifests and indexes: documents of strangers that say which blobs make an image. OCI's and Docker's forms alike. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/oci/oci_layers.h"
#include "image/oci/oci_reference.h"

/* OCI distribution-spec, "Pushing Manifests": registries take at least this much, and no real one is near it. */
#define OCI_MANIFEST_MAX   ((size_t) 4 << 20)
#define OCI_INDEX_MAX      1024U
#define OCI_LAYER_SIZE_MAX (UINT64_C(64) << 30)

/* What a request says it takes: the Accept header of both protocols' manifests and indexes. */
extern const char oci_manifest_accept[];

/* The one platform that guests have. */
#define OCI_PLATFORM_OS           "linux"
#define OCI_PLATFORM_ARCHITECTURE "amd64"

struct oci_descriptor {
        char digest[OCI_DIGEST_MAX];
        uint64_t size;
        enum oci_compression compression; /* of a layer */
};

struct oci_manifest {
        bool is_index;
        struct oci_descriptor chosen;  /* an index: the manifest for our platform */
        struct oci_descriptor config;  /* a manifest: both below */
        struct oci_descriptor *layers; /* owned; bottom first */
        unsigned n_layers;
};

/*
 * Reads either. `what` names it in errors: EBADMSG (no such document, lying sizes), ENOTSUP (schema 1, layers that are not
 * distributed or encrypted), ENOENT (an index without our platform, whose platforms are named), E2BIG.
 */
int oci_manifest_parse(const char *text, size_t n, const char *what, struct oci_manifest *ret_manifest,
                       struct err *err);
void oci_manifest_done(struct oci_manifest *manifest);

/* "sha256:<hex>" of the bytes. */
void oci_digest_of(const void *data, size_t n, char ret_digest[OCI_DIGEST_MAX]);

static inline void oci_manifest_done_at_scope_end(struct oci_manifest *manifest)
{
        oci_manifest_done(manifest);
}
