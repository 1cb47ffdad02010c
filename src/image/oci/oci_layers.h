/*
 * The layers of an OCI image become one ext4 root disk, in one pass: without root, mounts or a tree on the host. The
 * bytes of strangers are read by processes that can do nothing but read, compute and write that one file (Landlock,
 * seccomp, limits). Names are resolved inside the image alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define OCI_LAYERS_MAX 512U

enum oci_compression {
        OCI_COMPRESSION_NONE,
        OCI_COMPRESSION_GZIP,
        OCI_COMPRESSION_ZSTD,
        OCI_N_COMPRESSIONS
};

/* One layer. They come bottom first, as in the manifest. All borrowed. */
struct oci_layer {
        /* The blob's bytes from its start: a file, or a pipe that a download feeds. A file is read with its own offset. */
        int fd;
        enum oci_compression compression;
        /* "sha256:<hex>" of the blob as transported. Whoever fetched the blob verifies it; here it names the layer in
         * messages, and is verified when diff_id is NULL. */
        const char *digest;
        /* "sha256:<hex>" of the uncompressed tar: verified here, before the image counts. */
        const char *diff_id;
        uint64_t size; /* bytes of the blob: a longer or shorter one is refused */
};

struct oci_layers_options {
        /* Must not exist; removed again on failure. Nothing is synced: whoever publishes it does that. */
        const char *image_path;
        /* Bytes of the file system. 0: content x 1.5, at least 1 GiB, sparse. */
        uint64_t size;
        /* "sha256:<hex>" of the image's manifest: UUID and hash seed come from it, so the same image gives the same bytes. */
        const char *image_digest;
        uint64_t time;     /* of creation, seconds since 1970, as the image's configuration has it; 0: 1970 */
        const char *label; /* at most 16 bytes; NULL: none */
        /* Refused beyond: bytes of all layers unpacked, 0: 64 GiB; bytes unpacked for one byte of blob, 0: 400 (above
         * 1 GiB of a layer, so that small and empty ones may compress as they like). */
        uint64_t unpacked_max;
        uint32_t ratio_max;
        /* Called now and then, in the caller's process, with what was read of the blobs so far; < 0 stops with ECANCELED. */
        int (*progress)(void *userdata, uint64_t bytes_read, uint64_t n_entries);
        void *userdata;
};

struct oci_layers_result {
        uint64_t content_bytes;  /* of regular files that are in the image */
        uint64_t unpacked_bytes; /* of all layers */
        uint64_t n_entries;      /* of all layers */
        uint64_t n_names;        /* in the image */
        uint64_t size;           /* of the file system, bytes */
        uint64_t peak_kib;       /* resident, of the processes that read together */
};

/*
 * Blocks until the image is whole. Errors: EBADMSG (damaged or lying archive, wrong digest, an entry through a symbolic
 * link, a name with ..; the message names layer and entry), E2BIG (more names, attributes or bytes than allowed), ENOSPC,
 * EEXIST, ECANCELED, EPERM (a reader did what its confinement forbids, or was killed). ESPIPE: a layer that came through a
 * pipe has to be read a second time, for a hard link to a name that a later layer replaced: call again with the file.
 * On failure nothing is left. The layers are read from the top one down; each is read once as a rule.
 */
int oci_layers_write(const struct oci_layer *layers, unsigned n_layers,
                     const struct oci_layers_options *options, struct oci_layers_result *ret_result,
                     struct err *err);
