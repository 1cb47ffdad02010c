/*
 * The guest's memory as a file that QEMU and the vsock back end both map, in huge pages where the kernel gives them.
 *
 * A memfd would do, but the kernel's own tmpfs, on which it lies, has no huge pages unless the administrator turned them on
 * for everybody (shmem_enabled), and then every 4 KiB that a booting guest touches are a fault of their own: 0.4 s of a
 * boot of 1.5 s under emulation. A tmpfs of our own may have them (tmpfs(5), huge=), and making one needs no privilege in
 * a user namespace. It is attached nowhere and goes with its last user.
 */
#pragma once

#include <stdint.h>

/*
 * An empty file, mib MiB long, owned by the caller; to be mapped at a multiple of 2 MiB. -errno where namespaces of users
 * or huge pages are not to be had: a memfd has to do then.
 */
int guest_memory_open(uint64_t mib);
