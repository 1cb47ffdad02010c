/* A kernel module of a stranger's: two strings or an error. */
#include <assert.h>
#include <stdint.h>

#include "kernel/kernel_modinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        scoped_kernel_modinfo struct kernel_modinfo info = { 0 };
        struct err err = { 0 };

        if (kernel_modinfo_parse(data, n, &info, &err) == 0)
                assert(info.depends && info.softdep);
        else
                assert(err.code > 0 && !info.depends && !info.softdep);
        return 0;
}
