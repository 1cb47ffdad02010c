/* A kernel file of a stranger's: what is accepted lies within the bytes that were given. */
#include <assert.h>
#include <stdint.h>

#include "kernel/kernel_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        scoped_text struct text vmlinux = { 0 };
        char version[KERNEL_VERSION_TEXT_MAX];
        struct kernel_payload payload;
        struct kernel_elf elf;
        struct err payload_err = { 0 }, elf_err = { 0 }, unwrap_err = { 0 };

        if (kernel_image_find_payload(data, n, &payload, &payload_err) == 0)
                assert(payload.offset <= n && payload.n <= n - payload.offset);
        if (kernel_image_check_elf(data, n, &elf, &elf_err) == 0)
                assert(elf.n <= n);
        if (kernel_image_unwrap(data, n, &vmlinux, &elf, version, &unwrap_err) == 0)
                assert(vmlinux.n == elf.n);
        return 0;
}
