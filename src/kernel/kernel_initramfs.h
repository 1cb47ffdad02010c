/*
 * The initramfs: the agent as /init, the modules in loading order, and the few nodes the kernel wants before /init has mounted
 * anything. newc cpio (Linux Documentation/driver-api/early-userspace/buffer-format.rst), the same bytes for the same input.
 */
#pragma once

#include "base/err.h"
#include "kernel/kernel_modules.h"

/*
 * Makes path anew (it must not exist), synced. ENOENT and EACCES name the agent.
 *   /init                  the agent, 0755
 *   /modules/NN-name.ko    in loading order
 *   /modules/call, disk, rest   the file names of each stage (kernel_modules_stages()), one a line, in loading order
 *   /dev/console, empty folders /dev /proc /sys /newroot
 */
int kernel_initramfs_write(const char *path, const char *agent_path, const struct kernel_modules *modules,
                           struct err *err);

/* "03-virtio_blk.ko": the name of module number index; the caller owns it. */
char *kernel_initramfs_module_name(unsigned index, const char *name);
