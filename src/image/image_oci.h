/* Images of registries and of archives: image/oci writes the root disk, this makes an image of it. Internal to image/. */
#pragma once

#include "image/image_store.h"

/* pull->reference is set. An image that is here and has not changed there is left as it is. */
int image_pull_oci(const struct image_pull *pull, struct image *ret_image, struct err *err);
