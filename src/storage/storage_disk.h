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
 * disk_path becomes a private, writable copy (0600) of image_path: FICLONE where the file system has it, else a
 * sparse copy by SEEK_DATA and copy_file_range. Must not exist; removed again on failure. ENOSPC names the missing space
 * before anything is copied.
 */
int disk_clone(const char *image_path, const char *disk_path, enum disk_driver *ret_driver, struct err *err);

/*
 * disk_path becomes a work disk of size bytes with the content of seed_path (NULL: empty). The grown seed is kept
 * beside the seed as <seed>.<size>, made once and safe against parallel callers, so that the next one is only a clone.
 */
int disk_make_work(const char *seed_path, uint64_t size, const char *disk_path, struct err *err);
