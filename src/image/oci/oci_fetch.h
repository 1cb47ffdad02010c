/*
 * Blobs come in, several at a time, each verified, and are handed on while they come: whoever unpacks them reads from pipes
 * what has arrived, and never waits for the whole. Internal to image/oci.
 */
#pragma once

#include "image/oci/oci_cache.h"
#include "image/oci/oci_registry.h"

struct oci_fetch_blob {
        const struct oci_descriptor *descriptor; /* borrowed */
        /* The file it is in, or comes into, from offset on. Owned by the caller; set by the fetch for what it downloads, as is_here. */
        int fd;
        uint64_t offset;
        bool is_here; /* whole and verified: nothing to download */
        int feed; /* owned: the end of a pipe to write the blob into; FD_NONE: none. Closed behind the last byte. */
};

struct oci_fetch {
        struct oci_registry *registry; /* NULL: everything is here */
        const struct oci_cache *cache;
        struct oci_fetch_blob *blobs; /* bottom first; those on top are fetched first, as they are read */
        unsigned n_blobs;
        /* When it becomes readable (FD_NONE: never) is_stopped is asked: does that mean that nobody wants the rest? ECANCELED. */
        int stop_fd;
        bool (*is_stopped)(void *stop_userdata);
        void *stop_userdata;
        /* Now and then, for each that is under way; < 0 stops with ECANCELED. */
        int (*report)(void *userdata, const char *digest, uint64_t done, uint64_t total);
        void *userdata;
};

/* All blobs are here, verified and handed on. Else -code; what came whole is in the cache nevertheless. */
int oci_fetch_run(struct oci_fetch *fetch, struct err *err);
