#include "ext4/ext4_tar_acl.h"

#include <archive.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define ENTRIES_MAX 512U
#define ACL_VERSION 2U         /* linux include/uapi/linux/posix_acl_xattr.h */
#define NO_ID       UINT32_MAX /* ACL_UNDEFINED_ID, same file */

/* struct posix_acl_xattr_entry, same file; little endian */
struct acl_entry {
        uint16_t tag;
        uint16_t permissions;
        uint32_t id;
};

struct acl {
        uint32_t version;
        struct acl_entry entries[ENTRIES_MAX];
};

/* linux include/uapi/linux/posix_acl.h; 0: not a POSIX ACL's */
static uint16_t tag_of(int archive_tag)
{
        switch (archive_tag) {
        case ARCHIVE_ENTRY_ACL_USER_OBJ:
                return 0x01;
        case ARCHIVE_ENTRY_ACL_USER:
                return 0x02;
        case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
                return 0x04;
        case ARCHIVE_ENTRY_ACL_GROUP:
                return 0x08;
        case ARCHIVE_ENTRY_ACL_MASK:
                return 0x10;
        case ARCHIVE_ENTRY_ACL_OTHER:
                return 0x20;
        default:
                return 0;
        }
}

/* The kernel wants them by tag; by id as well makes equal lists equal bytes. */
static int compare(const void *a, const void *b)
{
        const struct acl_entry *left = a, *right = b;

        if (left->tag != right->tag)
                return left->tag < right->tag ? -1 : 1;
        return left->id < right->id ? -1 : left->id > right->id;
}

static int read_one(struct archive_entry *from, int type, const char *name, struct ext4_tar_acls *acls,
                    struct err *err)
{
        int got_type, permissions, tag, id;
        const char *who;
        struct acl *acl;
        size_t n = 0;

        if ((archive_entry_acl_types(from) & type) == 0 || archive_entry_acl_reset(from, type) == 0)
                return 0;
        acl = xcalloc(1, sizeof(*acl));
        acl->version = htole32(ACL_VERSION);
        while (archive_entry_acl_next(from, type, &got_type, &permissions, &tag, &id, &who) == ARCHIVE_OK) {
                uint16_t linux_tag = tag_of(tag);
                bool has_id = linux_tag == 0x02 || linux_tag == 0x08;

                if (linux_tag == 0 || (has_id && id < 0)) /* a name without a number means nothing here */
                        continue;
                if (n == ENTRIES_MAX) {
                        free(acl);
                        return err_set(err, E2BIG, "ext4.tar", "an access list of more than %u entries",
                                       ENTRIES_MAX);
                }
                acl->entries[n++] = (struct acl_entry){ .tag = htole16(linux_tag),
                                                        .permissions = htole16((uint16_t) (permissions & 7)),
                                                        .id = htole32(has_id ? (uint32_t) id : NO_ID) };
        }
        qsort(acl->entries, n, sizeof(*acl->entries), compare);
        acls->xattrs[acls->n++] = (struct ext4_xattr){
                .name = name, .value = acl, .n = sizeof(acl->version) + n * sizeof(*acl->entries)
        };
        return 0;
}

int ext4_tar_acls_read(struct archive_entry *entry, struct ext4_tar_acls *ret_acls, struct err *err)
{
        int r = read_one(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access", ret_acls, err);

        if (r == 0)
                r = read_one(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default", ret_acls,
                             err);
        return r;
}

void ext4_tar_acls_done(struct ext4_tar_acls *acls)
{
        for (size_t i = 0; i < acls->n; i++)
                free((void *) (uintptr_t) acls->xattrs[i].value);
        *acls = (struct ext4_tar_acls){ .n = 0 };
}
