/* The geometry of a file system: how it begins, and where it ends when its content decides that. Internal to ext4/. */
#pragma once

#include "ext4/ext4_fs.h"

int ext4_format_check(const struct ext4_options *options, struct err *err);
/* Fills fs->ext2 and what goes with it; fs->fd is empty. */
int ext4_format(struct ext4_fs *fs, const struct ext4_options *options, struct err *err);
/* All blocks are taken that will be: cuts what the content does not need, when the size follows it. */
int ext4_format_finish(struct ext4_fs *fs, struct err *err);
