/*
 * The three processes that make an image of layers, and what they share. Internal to image/oci.
 *
 *   inflater  reads the blobs, top layer first, and fills the ring with what they unpack to
 *   checker   computes the digest of each unpacked layer
 *   writer    reads the tar and writes the ext4
 *
 * Each gives up its rights before the first byte of a blob (oci_confine.h). They tell how it went through shared memory, which
 * whoever started them reads as something that a stranger wrote.
 */
#pragma once

#include <semaphore.h>
#include <stdatomic.h>

#include "image/oci/oci_child.h"
#include "image/oci/oci_layers.h"
#include "image/oci/oci_ring.h"

#define OCI_DIGEST_BYTES 32U
#define OCI_LAYER_NONE   UINT32_MAX
#define OCI_UNPACKED_MAX (UINT64_C(64) << 30) /* where the caller does not say */
#define OCI_RATIO_MAX    400U
#define OCI_RATIO_FREE   (UINT64_C(1) << 30) /* unpacked bytes that the ratio does not concern */

enum oci_role {
        OCI_INFLATER,
        OCI_CHECKER,
        OCI_WRITER,
        OCI_N_ROLES
};

struct oci_shared {
        _Atomic uint64_t bytes_read, unpacked_bytes, n_entries;
        /* After the last layer: the writer asks for one to be read again, or OCI_LAYER_NONE for the end. */
        sem_t asked;
        _Atomic uint32_t wanted;
        struct oci_layers_result result; /* of the writer: content_bytes, n_names, size */
        struct oci_failure failures[OCI_N_ROLES];
        struct oci_ring ring;
};

/* What the processes inherit; nothing of it changes. */
struct oci_job {
        const struct oci_layer *layers;
        unsigned n_layers;
        const struct oci_layers_options *options;
        uint64_t unpacked_max;
        uint32_t ratio_max;
        uint8_t uuid[16], hash_seed[16];
        uint8_t (*digests)[OCI_DIGEST_BYTES]; /* a layer's diff_id, or digest where it has none */
        struct oci_shared *shared;
};

/* "sha256:<64 hex digits>"; what names it in the error. EBADMSG. */
int oci_digest_parse(const char *text, const char *what, uint8_t ret_digest[OCI_DIGEST_BYTES],
                     struct err *err);

/* "layer 3 of 12 (sha256:0123456789ab): " before the message. */
int oci_layers_wrap(const struct oci_job *job, unsigned layer, struct err *err);

/* In the child of a fork: does it all, and 0 or -code. */
int oci_layers_inflate(const struct oci_job *job, pid_t parent, struct err *err);
int oci_layers_check(const struct oci_job *job, pid_t parent, struct err *err);
int oci_layers_make(const struct oci_job *job, pid_t parent, struct err *err);
