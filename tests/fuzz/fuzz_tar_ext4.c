/* Archives of strangers: any bytes become a file system, or an error and no file. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/size.h"
#include "base/text.h"
#include "ext4/ext4_image.h"

#define INPUT_MAX (256U << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        const struct ext4_options options = { .size = 8 * MIB, .time = 1700000000 };
        scoped_free char *path = xasprintf("/dev/shm/banger-fuzz-%d", (int) getpid());
        scoped_close int fd = memfd_create("tar", MFD_CLOEXEC);
        struct ext4_report report = { 0 };
        struct err err = { 0 };
        int r;

        if (n > INPUT_MAX)
                return 0;
        assert(fd >= 0 && fd_write_full(fd, data, n) == 0 && lseek(fd, 0, SEEK_SET) == 0);
        r = ext4_from_tar(fd, path, &options, &report, &err);
        assert(r == 0 || (r < 0 && err.code > 0 && err.message[0] != '\0'));
        assert(access(path, F_OK) == (r == 0 ? 0 : -1));
        assert(r < 0 || report.size == options.size);
        (void) unlink(path);
        return 0;
}
