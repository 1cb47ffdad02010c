/*
 * Archives that the agent unpacks, into a folder in memory-backed /tmp that each run finds empty. Whatever the archive says, a file
 * beside that folder keeps its content.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "guest/agent/agent_tar.h"

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

static char *base_folder(void)
{
        static char folder[] = "/tmp/banger-fuzz-tar-XXXXXX";
        static bool made;

        if (!made && !mkdtemp(folder))
                abort();
        made = true;
        return folder;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        scoped_free char *root = xasprintf("%s/root", base_folder()),
                         *beside = xasprintf("%s/beside", base_folder());
        scoped_free uint8_t *copy = xmalloc(size);
        struct bytes bytes = { copy, size, 0 };
        struct tar_source source = { bytes_read, &bytes };
        struct err err = { 0 }, cleaning = { 0 };
        scoped_close int fd = FD_NONE;
        struct stat st;

        if (size > 0)
                memcpy(copy, data, size);
        mend_checksums(copy, size);
        if (mkdir(root, 0755) < 0 || (fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
                abort();
        (void) tar_unpack(&source, fd, &err);
        if (file_remove_tree(root, &cleaning) < 0 || lstat(beside, &st) == 0)
                abort();
        (void) rmdir(base_folder());
        (void) mkdir(base_folder(), 0700);
        return 0;
}
