/* What an inode says about its file: mode, owner, times, attributes. Internal to ext4/. */
#pragma once

#include "ext4/ext4_builder.h"
#include "ext4/ext4_fs.h"

/* Everything but size, blocks and links (1). */
void ext4_inode_fill(struct ext2_inode_large *ret_inode, const struct ext4_entry *entry);
/* EXT2_FT_*, or -1 for a type that ext4 has not. */
int ext4_inode_file_type(mode_t mode);
/* number is written already. Names of other file systems' namespaces are left out, as the kernel could not show them. */
int ext4_inode_store_xattrs(struct ext4_fs *fs, ext2_ino_t number, const struct ext4_xattr *xattrs, size_t n,
                            const char *path, struct err *err);
