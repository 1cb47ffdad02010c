/*
 * The fingerprint of an image's package list beside its root file system (spec S-236 - S-239). The lists themselves are the
 * recipes' (image_recipe.h): constants, which nobody who reads them can change, so they are handed out as they are (S-238).
 */
#pragma once

#include "base/err.h"

#define IMAGE_PACKAGES_SUFFIX   ".packages.sha256"
#define IMAGE_PACKAGES_HASH_MAX 65

/* Lower-case SHA-256 of the names joined by newlines with one at the end. The order counts: hashes on disk rest on it. */
void image_packages_hash(const char *const *packages, char ret_hash[IMAGE_PACKAGES_HASH_MAX]);

/* Writes it to <rootfs>.packages.sha256. Nothing is written when rootfs_path or the list is empty. */
int image_packages_write(const char *rootfs_path, const char *const *packages, struct err *err);

/* Where an optional artifact goes: "" when source is blank, else <folder>/<name>. The caller owns it. */
char *image_stage_optional(const char *folder, const char *source, const char *name);
