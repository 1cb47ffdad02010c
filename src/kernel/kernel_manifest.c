#include "kernel/kernel_manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define MANIFEST_MAX ((size_t) 64 << 10)
#define AGENT_MAX    ((size_t) 64 << 20)

int kernel_manifest_read(const char *kernels_folder, const char *name, json_t **ret_manifest, struct err *err)
{
        scoped_free char *path = xasprintf("%s/%s/" KERNEL_MANIFEST, kernels_folder, name);
        int r;

        if (!kernel_name_is_valid(name))
                return err_set(err, EINVAL, "kernel.read", "'%.100s' is not a kernel name", name);
        r = json_read_file(path, MANIFEST_MAX, ret_manifest, err);
        if (r == -ENOENT) {
                *err = (struct err){ 0 };
                return err_set(
                        err, ENOENT, "kernel.read",
                        "no kernel named '%s': see 'banger kernel list', or get it with 'banger kernel pull'",
                        name);
        }
        if (r < 0)
                return r;
        if (json_is_object(*ret_manifest))
                return 0;
        json_decref(take_ptr(*ret_manifest));
        return err_set(err, EBADMSG, "kernel.read",
                       "'%s' is not a manifest: delete kernel '%s' and get it again", path, name);
}

int kernel_manifest_write(const char *kernel_folder, const json_t *manifest, struct err *err)
{
        scoped_free char *path = xasprintf("%s/" KERNEL_MANIFEST, kernel_folder);

        return json_write_file(path, manifest, 0644, err);
}

void kernel_sha256(const void *data, size_t n, char out[KERNEL_SHA256_TEXT_MAX])
{
        unsigned char digest[SHA256_DIGEST_LENGTH];

        (void) SHA256(data, n, digest);
        text_hex(digest, sizeof(digest), out);
}

int kernel_agent_describe(const char *path, json_t **ret_agent, struct err *err)
{
        char sha256[KERNEL_SHA256_TEXT_MAX];
        scoped_free char *data = NULL;
        struct stat st;
        size_t n;
        int r;

        if (stat(path, &st) < 0)
                return err_errno(err, "kernel.agent", "the guest's agent '%s'", path);
        r = file_read(path, AGENT_MAX, &data, &n, err);
        if (r < 0)
                return err_wrap(err, "the guest's agent");
        kernel_sha256(data, n, sha256);
        *ret_agent = json_pack("{s:I, s:I, s:I, s:s}", "size", (json_int_t) st.st_size, "mtime_ns",
                               (json_int_t) st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec, "inode",
                               (json_int_t) st.st_ino, "sha256", sha256);
        return *ret_agent ? 0 : err_set(err, ENOMEM, "kernel.agent", "out of memory");
}
