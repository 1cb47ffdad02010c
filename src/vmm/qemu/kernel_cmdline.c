#include "vmm/qemu/kernel_cmdline.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"

/* Firecracker 1.14 without its `pci=off`, which is about a bus that -M microvm,pcie=off does not have either. */
#define DEFAULT_BOOT_ARGS \
        "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce"

/*
 * Without KVM the guest has nothing to calibrate the time stamp counter against and spins for ever; QEMU passes rdtsc
 * through, so the host's rate is the guest's.
 */
static void append_machine(struct text *line, const struct kernel_cmdline *wish)
{
        if (wish->has_root) {
                if (wish->root_partuuid)
                        text_appendf(line, " root=PARTUUID=%s", wish->root_partuuid);
                else
                        text_append(line, " root=/dev/vda");
                text_append(line, wish->root_read_only ? " ro" : " rw");
        }
        if (wish->tsc_khz > 0)
                text_appendf(line, " tsc=reliable tsc_early_khz=%" PRIu64, wish->tsc_khz);
}

int kernel_cmdline_build(const struct kernel_cmdline *wish, char **ret_line, struct err *err)
{
        const char *args = wish->boot_args ? wish->boot_args : DEFAULT_BOOT_ARGS;
        const char *for_init = strstr(args, " -- ");
        scoped_text struct text line = { 0 };

        text_append_bytes(&line, args, for_init ? (size_t) (for_init - args) : strlen(args));
        append_machine(&line, wish);
        text_append(&line, for_init ? for_init : "");
        if (line.n >= KERNEL_CMDLINE_MAX)
                return err_set(err, EINVAL, "vmm.start",
                               "Cannot start microvm: the kernel command line of %zu bytes exceeds the %d "
                               "bytes allowed",
                               line.n, KERNEL_CMDLINE_MAX - 1);
        *ret_line = text_take(&line);
        return 0;
}
