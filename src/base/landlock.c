#include "base/landlock.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FS_ABI_1  ((UINT64_C(1) << 13) - 1) /* bits 0 ... 12 */
#define NET_ALL   UINT64_C(3)               /* ABI 4: TCP bind and connect */
#define SCOPE_ALL UINT64_C(3)               /* ABI 6: abstract UNIX sockets, signals */

struct ruleset_attr { /* struct landlock_ruleset_attr as of ABI 6 */
        uint64_t handled_access_fs, handled_access_net, scoped;
};

/* -1 with errno: there is none. */
static long kernel_abi(void)
{
        return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static uint64_t known_access(long abi)
{
        uint64_t access = FS_ABI_1;

        if (abi >= 2)
                access |= LANDLOCK_ACCESS_FS_REFER;
        if (abi >= 3)
                access |= LANDLOCK_FS_TRUNCATE;
        if (abi >= 5)
                access |= LANDLOCK_FS_IOCTL_DEV;
        return access;
}

/* An older kernel takes only the fields that it knows. */
static size_t known_size(long abi)
{
        if (abi >= 6)
                return sizeof(struct ruleset_attr);
        return abi >= 4 ? offsetof(struct ruleset_attr, scoped)
                        : offsetof(struct ruleset_attr, handled_access_net);
}

int landlock_forbid_all(bool scoped)
{
        long abi = kernel_abi();
        struct ruleset_attr attr = { .handled_access_fs = known_access(abi),
                                     .handled_access_net = NET_ALL,
                                     .scoped = scoped ? SCOPE_ALL : 0 };
        long ruleset = abi < 0 ? abi : syscall(SYS_landlock_create_ruleset, &attr, known_size(abi), 0);

        return ruleset < 0 ? -errno : (int) ruleset;
}

int landlock_allow(int ruleset, int fd, uint64_t access)
{
        const struct landlock_path_beneath_attr rule = { .allowed_access =
                                                                 access & known_access(kernel_abi()),
                                                         .parent_fd = fd };

        return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

int landlock_enter(int ruleset)
{
        return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}
