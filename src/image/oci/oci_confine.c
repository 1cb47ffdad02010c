#include "image/oci/oci_confine.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/landlock.h"
#include "base/scoped.h"

#define OP "image.confine"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

static int compare(const void *a, const void *b)
{
        const int *left = a, *right = b;

        return *left < *right ? -1 : *left > *right;
}

int oci_confine_begin(int *keep_fds, unsigned n, pid_t parent, struct err *err)
{
        unsigned first = STDERR_FILENO + 1;

        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return err_errno(err, OP, "die with the parent");
        if (getppid() != parent)
                _exit(1);
        if (n > 0)
                qsort(keep_fds, n, sizeof(*keep_fds), compare);
        for (unsigned i = 0; i < n; i++) {
                unsigned kept = (unsigned) keep_fds[i];

                if (kept > first && close_range(first, kept - 1, 0) < 0)
                        return err_errno(err, OP, "close descriptors");
                first = kept >= first ? kept + 1 : first;
        }
        return close_range(first, ~0U, 0) < 0 ? err_errno(err, OP, "close descriptors") : 0;
}

/* Everything that the kernel can forbid, and no exception. */
static int restrict_files(struct err *err)
{
        scoped_close int ruleset = landlock_forbid_all(true);
        int r = ruleset < 0 ? ruleset : landlock_enter(ruleset);

        if (ruleset == -ENOSYS || ruleset == -EOPNOTSUPP)
                return 0; /* no such kernel; seccomp allows no file to be opened */
        return r < 0 ? err_set(err, -r, OP, "restrict file access: %s", strerror(-r)) : 0;
}

static int set_limit(__rlimit_resource_t which, uint64_t value, struct err *err)
{
        const struct rlimit limit = { .rlim_cur = value, .rlim_max = value };

        return setrlimit(which, &limit) < 0 ? err_errno(err, OP, "set a limit") : 0;
}

static int set_limits(const struct oci_confine *confine, struct err *err)
{
        int r = set_limit(RLIMIT_CORE, 0, err);

        if (r == 0)
                r = set_limit(RLIMIT_FSIZE, confine->may_write ? confine->file_max : 0, err);
        /* a sanitizer's shadow memory counts as data */
        if (r == 0 && confine->memory_max > 0 && !HAS_SANITIZER)
                r = set_limit(RLIMIT_DATA, confine->memory_max, err);
        return r;
}

static const int always_allowed[] = {
        SCMP_SYS(futex),
        /* memory; executable mappings are refused below */
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        /* of glibc: malloc's secrets, abort(3) */
        SCMP_SYS(getrandom),
        SCMP_SYS(sysinfo), /* qsort(3) */
        SCMP_SYS(clock_gettime),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(getpid),
        SCMP_SYS(gettid),
        SCMP_SYS(tgkill),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
};

static const int reading[] = { SCMP_SYS(read), SCMP_SYS(lseek) };

/* libext2fs and the image */
static const int writing[] = {
        SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(ftruncate), SCMP_SYS(lseek),
        SCMP_SYS(fsync),   SCMP_SYS(close),    SCMP_SYS(fstat),     SCMP_SYS(getuid),
        SCMP_SYS(geteuid), SCMP_SYS(getgid),   SCMP_SYS(getegid), /* it looks whether it may trust the environment */
};

/* What a library may ask for on its way (a translation, a table of characters) and must live without. */
static const int refused[] = {
        SCMP_SYS(openat), SCMP_SYS(newfstatat), SCMP_SYS(readlink),
        SCMP_SYS(access), SCMP_SYS(uname),      SCMP_SYS(prctl),
};

/* What the sanitizers' own runtime asks for. */
static const int sanitizing[] = { SCMP_SYS(write), SCMP_SYS(sigaltstack), SCMP_SYS(sched_yield),
                                  SCMP_SYS(prlimit64), SCMP_SYS(rt_sigaction) };

static int add_calls(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t n)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < n; i++)
                r = seccomp_rule_add(filter, action, calls[i], 0);
        return r;
}

#define ADD(filter, action, calls) add_calls(filter, action, calls, sizeof(calls) / sizeof((calls)[0]))

static int add_rules(scmp_filter_ctx filter, const struct oci_confine *confine)
{
        int r = ADD(filter, SCMP_ACT_ALLOW, always_allowed);

        if (r == 0)
                r = ADD(filter, SCMP_ACT_ERRNO(EACCES), refused);
        if (r == 0 && confine->may_read)
                r = ADD(filter, SCMP_ACT_ALLOW, reading);
        if (r == 0 && confine->may_write)
                r = ADD(filter, SCMP_ACT_ALLOW, writing);
        if (r == 0 && HAS_SANITIZER)
                r = ADD(filter, SCMP_ACT_ALLOW, sanitizing);
        if (r == 0)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                     SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        if (r == 0)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                     SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        return r;
}

static int restrict_calls(const struct oci_confine *confine, struct err *err)
{
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r = filter ? add_rules(filter, confine) : -ENOMEM;

        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r < 0 ? err_set(err, -r, OP, "restrict system calls: %s", strerror(-r)) : 0;
}

int oci_confine_enter(const struct oci_confine *confine, struct err *err)
{
        int r = set_limits(confine, err);

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return err_errno(err, OP, "give up privileges");
        if (r == 0)
                r = restrict_files(err);
        return r < 0 ? r : restrict_calls(confine, err);
}
