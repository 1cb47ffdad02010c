/* A bundle of a stranger's: whatever is in it, nothing is written outside the folder, and no more than the cap. */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "bundle/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const struct bundle_entry entries[] = {
                {"manifest.json", true },
                { "rootfs.ext4",  true },
                { "modules/",     false},
                { NULL,           false}
        };
        char folder[] = "/tmp/banger-fuzz-bundle.XXXXXX";
        scoped_close int fd = memfd_create("bundle", MFD_CLOEXEC);
        struct err err = { 0 };
        int r;

        if (fd < 0 || !mkdtemp(folder) || fd_write_full(fd, data, n) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                abort();
        r = bundle_unpack(fd, folder, entries, 1 << 20, &(struct bundle_progress){ 0 }, &err);
        assert((r < 0) == (err.code != 0));
        err = (struct err){ 0 };
        if (file_remove_tree(folder, &err) < 0)
                abort();
        return 0;
}
