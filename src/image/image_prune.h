/*
 * The cache of blobs of registries, <cache>/oci: it spares downloads and nothing else, so all of it may go at any time
 * (S-251).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct image_pruned {
        uint64_t bytes;
        uint64_t blobs;
};

/*
 * Counts the blobs and, unless it is a dry run, removes them: the cache is set aside in one rename, made anew and empty, and only then
 * taken apart, so that a pull under way keeps its open files. A missing cache is an empty one.
 */
int image_cache_prune(const char *oci_folder, bool dry_run, struct image_pruned *ret_pruned, struct err *err);
