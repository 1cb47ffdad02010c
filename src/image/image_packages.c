#include "image/image_packages.h"

#include <openssl/sha.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

void image_packages_hash(const char *const *packages, char ret_hash[IMAGE_PACKAGES_HASH_MAX])
{
        unsigned char digest[SHA256_DIGEST_LENGTH];
        scoped_text struct text joined = { 0 };

        text_append(&joined, "");
        for (; *packages; packages++)
                text_appendf(&joined, "%s\n", *packages);
        (void) SHA256((const unsigned char *) joined.s, joined.n, digest);
        text_hex(digest, sizeof(digest), ret_hash);
}

int image_packages_write(const char *rootfs_path, const char *const *packages, struct err *err)
{
        char hash[IMAGE_PACKAGES_HASH_MAX];
        scoped_free char *path = NULL, *line = NULL;

        if (text_is_blank(rootfs_path) || !packages || !packages[0])
                return 0;
        image_packages_hash(packages, hash);
        path = xasprintf("%s" IMAGE_PACKAGES_SUFFIX, rootfs_path);
        line = xasprintf("%s\n", hash);
        return file_replace(path, line, strlen(line), 0644, err);
}

char *image_stage_optional(const char *folder, const char *source, const char *name)
{
        return text_is_blank(source) ? xstrdup("") : xasprintf("%s/%s", folder, name);
}
