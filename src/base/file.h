/* Files by path: read whole, replace atomically, make and remove trees. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* The whole file, NUL-terminated, at most max bytes (-EFBIG beyond). The caller frees it. */
int file_read(const char *path, size_t max, char **ret_text, size_t *ret_n, struct err *err);
/* The same of a file that may be of any length: the last max bytes at most. */
int file_read_end(const char *path, size_t max, char **ret_text, struct err *err);

/* Temp file beside it, fsync, rename, fsync of the folder: readers see the old or the new content, never a part. */
int file_replace(const char *path, const void *data, size_t n, mode_t mode, struct err *err);

/* What a replacement of path that was killed left beside it. Only where nobody else may be replacing it just now. */
int file_remove_unfinished(const char *path, struct err *err);

/* The same without fsync: every process sees the old or the new content, but a power failure may leave it empty. */
int file_replace_unsynced(const char *path, const void *data, size_t n, mode_t mode, struct err *err);

/* mkdir -p; existing folders are accepted and left as they are, new ones get `mode`. */
int file_make_folders(const char *path, mode_t mode, struct err *err);

/*
 * Removes a file or a tree below dir_fd without following symbolic links and without leaving the
 * file system. A missing name is success. Depth is bounded (256).
 */
int file_remove_tree_at(int dir_fd, const char *name, struct err *err);
int file_remove_tree(const char *path, struct err *err);

/* Nothing of that name exists (a dangling symbolic link does). */
bool file_is_missing(const char *path);

/* unlink; a missing file is success. */
int file_remove(const char *path, struct err *err);
