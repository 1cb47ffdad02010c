/* Folder blocks out of the tree of names: linear, in order of appearance, each with its checksum. Internal to ext4/. */
#pragma once

#include "ext4/ext4_fs.h"
#include "ext4/ext4_map.h"
#include "ext4/ext4_names.h"

/* Writes the blocks of the folder `node`, at least min_blocks, and finishes its inode. map is scratch. */
int ext4_folder_write(struct ext4_fs *fs, struct ext4_names *names, uint32_t node, uint32_t min_blocks,
                      struct ext4_map *map, struct err *err);
