/* Archives that the agent unpacks into an empty folder. Whatever an archive says, nothing appears beside that folder. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "tar/tar_unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
        const uint8_t *data;
        size_t n, at;
};

static int bytes_read(void *context, void *buffer, size_t n)
{
        struct bytes *bytes = context;

        if (bytes->at == bytes->n)
                return -ENODATA;
        if (n > bytes->n - bytes->at)
                return -EBADMSG;
        memcpy(buffer, bytes->data + bytes->at, n);
        bytes->at += n;
        return 0;
}

/* Archives of a fuzzer rarely have a true checksum: it is made so for every block that looks like a header. */
static void mend_checksums(uint8_t *data, size_t size)
{
        for (size_t at = 0; at + TAR_BLOCK <= size; at += TAR_BLOCK) {
                unsigned sum = tar_checksum(data + at);
                char octal[8];

                if (memcmp(data + at + 257, "ustar", 5) != 0)
                        continue;
                (void) snprintf(octal, sizeof(octal), "%06o", sum & 0777777U);
                memcpy(data + at + 148, octal, 7);
                data[at + 155] = ' ';
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char folder[] = "/tmp/banger-fuzz-tar-XXXXXX";
        scoped_free uint8_t *copy = xmalloc(size);
        struct bytes bytes = { copy, size, 0 };
        struct tar_source source = { bytes_read, &bytes };
        struct err err = { 0 }, cleaning = { 0 };
        scoped_free char *root = NULL;
        scoped_close int fd = FD_NONE;

        if (size > 0)
                memcpy(copy, data, size);
        mend_checksums(copy, size);
        if (!mkdtemp(folder))
                abort();
        root = xasprintf("%s/root", folder);
        if (mkdir(root, 0755) < 0 || (fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
                abort();
        struct tar_unpack unpack = { .root_fd = fd };
        scoped_free char *inside = NULL;

        /* Both ends: the agent's way, and the host's for what a guest sends. */
        if (size % 2 == 1) {
                static const char *const asked[] = { "/srv/x", "a*", NULL };

                inside = xasprintf("%s/root/copy", folder);
                unpack = (struct tar_unpack){ .destination = inside,
                                              .root_fd = FD_NONE,
                                              .asked = size % 4 == 1 ? asked : NULL,
                                              .guarded = true,
                                              .bytes_max = 1U << 20,
                                              .entries_max = 1000 };
        }
        (void) tar_unpack(&source, &unpack, &err);
        /* Anything beside the folder would keep this one from going. */
        if (file_remove_tree(root, &cleaning) < 0 || rmdir(folder) < 0)
                abort();
        return 0;
}
