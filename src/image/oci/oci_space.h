/* Whether the disks can hold an image, before anything of it is fetched. Internal to image/oci. */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "image/oci/oci_fetch.h"

/* ENOSPC says how much is missing where. */
int oci_space_check(const struct oci_fetch_blob *blobs, unsigned n_blobs, const char *cache_folder,
                    const char *image_folder, struct err *err);
