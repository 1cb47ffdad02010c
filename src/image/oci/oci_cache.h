/*
 * Blobs by their digest: <cache>/oci/blobs/sha256/<hex>. A file of that name is whole and was verified; what is under way
 * has no name yet, so a process that is killed leaves nothing behind.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"
#include "image/oci/oci_manifest.h"

struct oci_cache {
        char *folder; /* owned; of the blobs */
};

/* Folders are made when missing. */
int oci_cache_open(const char *cache_folder, struct oci_cache *ret_cache, struct err *err);
void oci_cache_done(struct oci_cache *cache);

/* A descriptor for reading (owned by the caller), or -ENOENT: it is not there, or not of that size. Never speaks. */
int oci_cache_find(const struct oci_cache *cache, const struct oci_descriptor *blob);
/* The same, whole in memory, verified. -ENOENT. */
int oci_cache_read(const struct oci_cache *cache, const struct oci_descriptor *blob, struct text *ret_text);

/* A file without a name for a blob to come; read and write. The caller owns the descriptor. */
int oci_cache_begin(const struct oci_cache *cache, struct err *err);
/* The blob is whole and verified: now it has its name. One that is there already stays. */
int oci_cache_publish(const struct oci_cache *cache, int fd, const char *digest, struct err *err);
/* Keeps a small document: best effort, what cannot be kept is asked for again next time. */
void oci_cache_keep(const struct oci_cache *cache, const char *digest, const void *data, size_t n);
/* One that turned out to be damaged. */
void oci_cache_drop(const struct oci_cache *cache, const char *digest);

static inline void oci_cache_done_at_scope_end(struct oci_cache *cache)
{
        oci_cache_done(cache);
}
