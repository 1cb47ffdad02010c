/* POSIX ACLs of a tar entry (pax SCHILY.acl.*) in the form of their extended attributes. Internal to ext4/. */
#pragma once

#include <archive_entry.h>

#include "ext4/ext4_builder.h"

#define EXT4_TAR_N_ACLS 2U

struct ext4_tar_acls {
        struct ext4_xattr xattrs[EXT4_TAR_N_ACLS]; /* values owned */
        size_t n;
};

int ext4_tar_acls_read(struct archive_entry *entry, struct ext4_tar_acls *ret_acls, struct err *err);
void ext4_tar_acls_done(struct ext4_tar_acls *acls);
