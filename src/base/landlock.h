/* Landlock, landlock(7): what a process may still open when it has given up everything else. Returns 0 or -errno, never speaks. */
#pragma once

#include <linux/landlock.h>
#include <stdbool.h>
#include <stdint.h>

/* Newer than the headers of Debian 12. landlock_allow() leaves out what the running kernel does not know. */
#define LANDLOCK_FS_TRUNCATE  (UINT64_C(1) << 14) /* ABI 3 */
#define LANDLOCK_FS_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */

/*
 * A ruleset that forbids every file access and all TCP that this kernel can forbid; with scoped also signals to processes
 * outside and their abstract UNIX sockets. A descriptor, owned by the caller, or -errno: -ENOSYS and -EOPNOTSUPP when the
 * kernel has no Landlock.
 */
int landlock_forbid_all(bool scoped);
/* Except this access (LANDLOCK_ACCESS_FS_*, and those above) to what lies at or below the open file or folder. */
int landlock_allow(int ruleset, int fd, uint64_t access);
/* From now on, for this process and its children. Needs no_new_privs. */
int landlock_enter(int ruleset);
