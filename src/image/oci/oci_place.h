/*
 * An image that lies on this machine: a folder in OCI's layout, an archive of one, or one of `docker save` and `podman
 * save`. Nothing is unpacked: layers are read where they are. Internal to image/oci.
 */
#pragma once

#include "image/oci/oci_cache.h"
#include "image/oci/oci_fetch.h"
#include "image/oci/oci_reference.h"

struct oci_place;

/* stdin_fd (borrowed) and its name in messages are of the reference "-". cache takes the copy (without a name) of what cannot be read where it is: standard input, and compressed archives. */
int oci_place_open(const struct oci_reference *reference, const struct oci_cache *cache, int stdin_fd,
                   const char *stdin_name, struct oci_place **ret_place, struct err *err);
void oci_place_close(struct oci_place *place);

/* As oci_registry_manifest(): of the image that the reference's tag chooses, or of a digest. */
int oci_place_manifest(struct oci_place *place, const char *digest, struct text *ret_text,
                       char ret_digest[OCI_DIGEST_MAX], struct err *err);
int oci_place_blob(struct oci_place *place, const struct oci_descriptor *descriptor, struct text *ret_text,
                   struct err *err);
/* Sets the blob's fd, which is the caller's, and offset. */
int oci_place_layer(struct oci_place *place, struct oci_fetch_blob *blob, struct err *err);

static inline void oci_place_close_at_scope_end(struct oci_place **place)
{
        oci_place_close(*place);
}
