/* A bundle of a catalog becomes the files of an image. Internal to image/. */
#pragma once

#include "image/image_store.h"

/* rootfs.ext4 and a work seed of its /root into folder, which is staged; its size in bytes. */
int image_bundle_unpack(const struct image_bundle *bundle, const char *folder,
                        const struct image_progress *progress, uint64_t *ret_rootfs_size, struct err *err);
