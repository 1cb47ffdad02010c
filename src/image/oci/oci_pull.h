/*
 * image/oci: images of registries, and of folders and archives in their formats, become ext4 root disks. It owns the cache of
 * blobs below <cache>/oci and nothing else; it does not know what an image is called here, nor what else it needs.
 */
#pragma once

#include "base/err.h"
#include "image/oci/oci_config.h"
#include "image/oci/oci_layers.h"
#include "image/oci/oci_manifest.h"
#include "image/oci/oci_reference.h"
#include "image/oci/oci_registry.h"

struct oci_progress {
        /* stage: "resolve", "layers", "write"; total 0: unknown. < 0 cancels. */
        int (*stage)(void *userdata, const char *stage, uint64_t done, uint64_t total);
        /* One layer of the stage "layers", named by its digest. */
        int (*layer)(void *userdata, const char *digest, uint64_t done, uint64_t total);
        void *userdata;
};

/* All borrowed. */
struct oci_pull {
        const struct oci_reference *reference;
        struct oci_registry_settings settings;
        const char *cache_folder;
        const char *image_path; /* the ext4 to write; its folder exists */
        uint64_t size;          /* of the file system; 0: by its content */
        int stdin_fd;           /* for "-"; FD_NONE */
        const char *stdin_name; /* of it, for messages */
        struct oci_progress progress;
};

struct oci_pulled {
        char digest[OCI_DIGEST_MAX];   /* what the reference meant: of the index where there is one */
        char manifest[OCI_DIGEST_MAX]; /* of the manifest for our platform */
        struct oci_config config;
        struct oci_layers_result layers;
};

/*
 * Fetches what is not in the cache and writes the root disk while it comes. Errors, besides those of its parts: ENOSPC,
 * before anything is fetched, when the disks cannot hold it; the message says how much is missing. On failure
 * nothing is left but whole blobs in the cache.
 */
int oci_pull(const struct oci_pull *pull, struct oci_pulled *ret_pulled, struct err *err);
void oci_pulled_done(struct oci_pulled *pulled);

/* Only asks what the reference means now, in one round trip as a rule. "": it cannot be told without pulling. */
int oci_pull_resolve(const struct oci_pull *pull, char ret_digest[OCI_DIGEST_MAX], struct err *err);

static inline void oci_pulled_done_at_scope_end(struct oci_pulled *pulled)
{
        oci_pulled_done(pulled);
}
