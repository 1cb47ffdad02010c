/*
 * Folder blocks out of the tree of names, each with its checksum. What fits into one block stands there in order of
 * appearance; more is a hash tree as the kernel makes it, for a folder of 100,000 names is not to be searched one by one.
 * Internal to ext4/.
 */
#pragma once

#include "ext4/ext4_fs.h"
#include "ext4/ext4_map.h"
#include "ext4/ext4_names.h"

/* Writes the blocks of the folder `node`, at least min_blocks, and finishes its inode. map is scratch. */
int ext4_folder_write(struct ext4_fs *fs, struct ext4_names *names, uint32_t node, uint32_t min_blocks,
                      struct ext4_map *map, struct err *err);
