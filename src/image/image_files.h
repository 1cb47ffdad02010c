/* The names inside an image's folder. Internal to image/. */
#pragma once

#define IMAGE_MANIFEST  "manifest.json"
#define IMAGE_ROOTFS    "rootfs.ext4"
#define IMAGE_WORK_SEED "work-seed.ext4"
