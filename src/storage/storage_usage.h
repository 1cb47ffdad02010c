/* What files take on a disk, and how much of that they share with others. */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct storage_usage {
        uint64_t n_files;
        uint64_t apparent; /* bytes of content, holes counted */
        uint64_t real;     /* bytes allocated */
        uint64_t
                shareable; /* of these, the bytes that other names or other files hold too: hard links and reflinks */
};

/*
 * Adds up the regular files of a tree, or one file; a missing path is nothing. Symbolic links are not followed, other file
 * systems not entered, and what vanishes meanwhile is passed over. Reflinks are found with FIEMAP, where the file system has it.
 */
int storage_usage_add(const char *path, struct storage_usage *usage, struct err *err);
