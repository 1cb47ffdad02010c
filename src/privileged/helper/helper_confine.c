#include "privileged/helper/helper_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/text.h"

#define OP "priv.confine"

#define BIT(n) (1U << (n))
/* Both are below 32, so the second half of the sets is empty. */
#define KEPT (BIT(CAP_NET_ADMIN) | BIT(CAP_KILL))

/* Compiled once, by the listener; compiling anew would be most of the cost of a small request. Lives as long as the program. */
static struct sock_fprog filter;

static int drop_capabilities(struct err *err)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {
                {.effective = KEPT, .permitted = KEPT}
        };

        /* Asked only as far as the kernel knows capabilities (EINVAL); without CAP_SETPCAP (EPERM) no_new_privs does it. */
        for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
                if (capability != CAP_NET_ADMIN && capability != CAP_KILL &&
                    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL && errno != EPERM)
                        return err_errno(err, OP, "drop capability %d", capability);
        (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if (syscall(SYS_capset, &header, sets) < 0)
                return err_errno(err, OP, "keep only CAP_NET_ADMIN and CAP_KILL");
        return 0;
}

/* What glibc, jansson, libmnl and our own code need to answer one request. */
static const int allowed_calls[] = {
        SCMP_SYS(read),         SCMP_SYS(write),
        SCMP_SYS(writev),       SCMP_SYS(pread64),
        SCMP_SYS(pwrite64),     SCMP_SYS(close),
        SCMP_SYS(openat),       SCMP_SYS(fstat),
        SCMP_SYS(newfstatat),   SCMP_SYS(lseek),
        SCMP_SYS(fcntl),        SCMP_SYS(poll),
        SCMP_SYS(ppoll),        SCMP_SYS(recvmsg),
        SCMP_SYS(recvfrom),     SCMP_SYS(sendmsg),
        SCMP_SYS(sendto),       SCMP_SYS(bind),
        SCMP_SYS(getsockname),  SCMP_SYS(getsockopt),
        SCMP_SYS(ioctl),        SCMP_SYS(pidfd_open),
        SCMP_SYS(brk),          SCMP_SYS(pidfd_send_signal),
        SCMP_SYS(mmap),         SCMP_SYS(munmap),
        SCMP_SYS(mremap),       SCMP_SYS(madvise),
        SCMP_SYS(mprotect),     SCMP_SYS(futex),
        SCMP_SYS(getrandom),    SCMP_SYS(clock_gettime),
        SCMP_SYS(getpid),       SCMP_SYS(gettid),
        SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall),
        SCMP_SYS(tgkill),       SCMP_SYS(exit),
        SCMP_SYS(exit_group),   SCMP_SYS(sched_yield),
#ifdef __SANITIZE_ADDRESS__ /* what the sanitizers' own runtime asks for when it reports */
        SCMP_SYS(sigaltstack),  SCMP_SYS(readlink),
        SCMP_SYS(getrlimit),    SCMP_SYS(prlimit64),
        SCMP_SYS(getuid),       SCMP_SYS(geteuid),
        SCMP_SYS(uname),        SCMP_SYS(access),
#endif
};

static int add_rules(scmp_filter_ctx context)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(allowed_calls) / sizeof(allowed_calls[0]); i++)
                r = seccomp_rule_add(context, SCMP_ACT_ALLOW, allowed_calls[i], 0);
        if (r == 0)
                r = seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                     SCMP_A0(SCMP_CMP_EQ, AF_NETLINK));
        return r;
}

/* libseccomp 2.5 writes what it compiled to a descriptor. */
static int compile(scmp_filter_ctx context)
{
        scoped_close int fd = memfd_create("banger-filter", MFD_CLOEXEC);
        struct stat st;
        int r;

        if (fd < 0)
                return -errno;
        r = seccomp_export_bpf(context, fd);
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        filter.filter = xmalloc((size_t) st.st_size);
        filter.len = (unsigned short) ((size_t) st.st_size / sizeof(struct sock_filter));
        return pread(fd, filter.filter, (size_t) st.st_size, 0) == st.st_size ? 0 : -EIO;
}

static int build_filter(struct err *err)
{
        scmp_filter_ctx context = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r = context ? add_rules(context) : -ENOMEM;

        if (r == 0)
                r = compile(context);
        seccomp_release(context);
        return r < 0 ? err_set(err, -r, OP, "prepare the system call filter: %s", strerror(-r)) : 0;
}

int confine_listener(struct err *err)
{
        int r = build_filter(err);

        if (r < 0)
                return r;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return err_errno(err, OP, "set no_new_privs");
        return drop_capabilities(err);
}

/* Access below path; a path that is not there needs no rule. */
static int allow_path(int ruleset, const char *path, uint64_t access, struct err *err)
{
        scoped_close int fd = open(path, O_PATH | O_CLOEXEC);
        struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };

        if (fd < 0)
                return 0;
        if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                return err_errno(err, OP, "allow '%s'", path);
        return 0;
}

/* The first version of the interface (Linux 5.13) has all that is needed. Kernels without it leave seccomp. */
static int restrict_files(struct err *err)
{
        const uint64_t read_write = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
        struct landlock_ruleset_attr handled = { .handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1 };
        scoped_close int ruleset = (int) syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0);
        int r;

        if (ruleset < 0)
                return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : err_errno(err, OP, "prepare Landlock");
        r = allow_path(ruleset, "/proc", LANDLOCK_ACCESS_FS_READ_FILE, err);
        if (r == 0)
                r = allow_path(ruleset, "/proc/sys/net/ipv4/ip_forward", read_write, err);
        if (r == 0)
                r = allow_path(ruleset, "/dev/net/tun", read_write, err);
        if (r < 0)
                return r;
        return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? err_errno(err, OP, "enter Landlock") : 0;
}

int confine_request(unsigned limit_seconds, struct err *err)
{
        int r = restrict_files(err);

        if (r < 0)
                return r;
        (void) alarm(limit_seconds);
        /* no_new_privs is set since the listener began */
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0
                       ? err_errno(err, OP, "load the system call filter")
                       : 0;
}
