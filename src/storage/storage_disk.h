/*
 * storage/: the disks of a VM as files of the owner. Root disk = clone of an image; work disk = /root, made from the
 * image's work-seed. It never parses what a guest has written.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

enum disk_driver {
        DISK_REFLINK,
        DISK_COPY,
        DISK_N_DRIVERS
};

const char *disk_driver_name(enum disk_driver driver); /* "reflink", "copy" */

/* What the file system of folder can do, found by trying it on a small file (removed again). */
int disk_driver_find(const char *folder, enum disk_driver *ret_driver, struct err *err);

/*
 * The same in two steps, so that a VM can boot up to its disks while they are being copied. disk_reserve makes disk_path (0600,
 * must not exist) as large as image_path and without content; ENOSPC when the content would not fit. disk_fill gives it
 * the content; what has opened the file in between sees it. Neither undoes the other.
 */
int disk_reserve(const char *image_path, const char *disk_path, struct err *err);
int disk_fill(const char *image_path, const char *disk_path, enum disk_driver *ret_driver, struct err *err);

/*
 * disk_path becomes a private, writable copy (0600) of image_path: FICLONE where the file system has it, else a
 * sparse copy by SEEK_DATA and copy_file_range. Must not exist; removed again on failure. ENOSPC names the missing space
 * before anything is copied.
 */
int disk_clone(const char *image_path, const char *disk_path, enum disk_driver *ret_driver, struct err *err);

/*
 * The image of a work disk of size bytes with the content of seed_path, kept beside the seed as <seed>.<size>: made once,
 * safe against parallel callers, so that a work disk is only a clone of it. The caller frees *ret_path.
 */
int disk_make_empty(uint64_t size, const char *disk_path, struct err *err); /* a work disk without a seed */
int disk_grow_seed(const char *seed_path, uint64_t size, char **ret_path, struct err *err);
