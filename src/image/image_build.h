/* Runs a recipe: mmdebstrap(1) makes the tree in a user namespace, its tar goes straight into an ext4. Internal to image/. */
#pragma once

#include "base/err.h"
#include "image/image_recipe.h"

/*
 * Writes rootfs_path (size bytes). cache_folder takes the temporary tree when the user's subordinate ids can reach
 * it, else /var/tmp; nothing stays in either. ENOTSUP: a program or the user's subordinate ids are missing, and the
 * message says how to get them.
 */
int image_build(const struct image_recipe *recipe, const char *rootfs_path, uint64_t size,
                const char *cache_folder, const struct image_progress *progress, struct err *err);
/* Removes what builds that were killed have left. The number of those that still run. */
unsigned image_build_sweep(const char *cache_folder);
