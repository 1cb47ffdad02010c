/*
 * What a user types for an image: a name of a registry as Docker takes it, with the defaults filled in, or a place on this
 * machine. Nothing is looked up here.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define OCI_DIGEST_MAX     72U  /* "sha256:" and 64 digits, with its NUL */
#define OCI_REFERENCE_MAX  512U /* bytes of what is typed */
#define OCI_LOCAL_NAME_MAX 64U  /* image_name_is_valid() */

enum oci_transport {
        OCI_TRANSPORT_REGISTRY,
        OCI_TRANSPORT_LAYOUT,         /* oci:DIR */
        OCI_TRANSPORT_OCI_ARCHIVE,    /* oci-archive:FILE */
        OCI_TRANSPORT_DOCKER_ARCHIVE, /* docker-archive:FILE */
        OCI_TRANSPORT_STDIN,          /* "-" */
        OCI_N_TRANSPORTS
};

/* All owned. Of a place on this machine only path is set, and tag when one was given: which of its images is meant. */
struct oci_reference {
        enum oci_transport transport;
        char *path;       /* as typed; NULL for a registry and "-" */
        char *registry;   /* "docker.io", "127.0.0.1:5000" */
        char *repository; /* "library/debian" */
        char *tag;        /* NULL: only a digest was given */
        char *digest;     /* NULL: only a tag; else "sha256:<hex>", which wins over the tag */
};

/* EINVAL says what is wrong with which part. */
int oci_reference_parse(const char *text, struct oci_reference *ret_reference, struct err *err);
void oci_reference_done(struct oci_reference *reference);

/* The whole of it: "docker.io/library/debian:bookworm". The caller owns it. */
char *oci_reference_format(const struct oci_reference *reference);
/* Where the registry answers: Docker Hub's name is not its address. Borrowed. */
const char *oci_reference_host(const struct oci_reference *reference);
/*
 * What an image is called here unless --name says otherwise (spec 11.3): "debian-bookworm", and with the registry and
 * all of the repository when that is taken by another. The caller owns it; "" when there is nothing to derive it from.
 */
char *oci_reference_local_name(const struct oci_reference *reference, bool whole);

bool oci_digest_is_valid(const char *digest); /* sha256 alone: what registries use */

static inline void oci_reference_done_at_scope_end(struct oci_reference *reference)
{
        oci_reference_done(reference);
}
