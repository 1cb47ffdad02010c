/* SHA-256 of kernels and agents. A file of its own, so that reading the store needs no libcrypto. */
#include <errno.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "kernel/kernel_manifest.h"

#define AGENT_MAX ((size_t) 64 << 20)

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
