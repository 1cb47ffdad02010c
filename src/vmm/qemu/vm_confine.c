#include "vmm/qemu/vm_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/landlock.h"
#include "base/scoped.h"
#include "base/text.h"
#include "vmm/qemu/vm_log.h"

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

void vm_confine_early(void)
{
        (void) umask(077);
        (void) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/*
 * The folder of a disk: its files may be opened as PATCH /drives asks for a new one. Truncation is asked of QEMU, which
 * has no such rule, but the kernel remembers with a descriptor what its opener was allowed.
 */
static void allow_folder_of(int ruleset, const struct vmm_drive_body *drive)
{
        scoped_free char *copy = xstrdup(drive->path_on_host);
        scoped_close int folder = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
        uint64_t access = LANDLOCK_ACCESS_FS_READ_FILE;

        if (!drive->is_read_only)
                access |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_FS_TRUNCATE;
        if (folder >= 0)
                (void) landlock_allow(ruleset, folder, access);
}

/* Not scoped: QEMU, which it must be able to end, was started before and is outside. */
static int restrict_files(const struct vm_config *config, struct err *err)
{
        scoped_close int ruleset = landlock_forbid_all(false);
        int r;

        if (ruleset < 0) {
                vm_log_warn("Landlock is not available: file access is not restricted");
                return 0;
        }
        for (size_t i = 0; i < config->n_drives; i++)
                allow_folder_of(ruleset, &config->drives[i].body);
        r = landlock_enter(ruleset);
        return r < 0 ? err_set(err, -r, "vmm.confine", "restrict file access: %s", strerror(-r)) : 0;
}

static const int allowed_calls[] = {
        /* descriptors */
        SCMP_SYS(read),
        SCMP_SYS(write),
        SCMP_SYS(readv),
        SCMP_SYS(writev),
        SCMP_SYS(pread64),
        SCMP_SYS(pwrite64),
        SCMP_SYS(close),
        SCMP_SYS(fstat),
        SCMP_SYS(newfstatat),
        SCMP_SYS(lseek),
        SCMP_SYS(ftruncate),
        SCMP_SYS(fcntl),
        SCMP_SYS(dup),
        SCMP_SYS(openat),
        SCMP_SYS(unlink),
        SCMP_SYS(unlinkat),
        SCMP_SYS(umask),
        /* sockets; which kind is decided below */
        SCMP_SYS(accept),
        SCMP_SYS(accept4),
        SCMP_SYS(connect),
        SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendfile),
        SCMP_SYS(shutdown),
        SCMP_SYS(getsockopt),
        SCMP_SYS(setsockopt),
        SCMP_SYS(getsockname),
        SCMP_SYS(getpeername),
        /* waiting */
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(epoll_wait),
        SCMP_SYS(epoll_pwait),
        SCMP_SYS(epoll_ctl),
        SCMP_SYS(epoll_create1),
        SCMP_SYS(eventfd2),
        SCMP_SYS(timerfd_create),
        SCMP_SYS(timerfd_settime),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(nanosleep),
        SCMP_SYS(gettimeofday),
        SCMP_SYS(restart_syscall),
        /* memory; executable mappings are refused below */
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        SCMP_SYS(futex),
        SCMP_SYS(getrandom),
        /* signals, and the end: ours and QEMU's */
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(getpid),
        SCMP_SYS(gettid),
        SCMP_SYS(tgkill),
        SCMP_SYS(wait4),
        SCMP_SYS(pidfd_send_signal),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
};

static int add_rules(scmp_filter_ctx filter)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(allowed_calls) / sizeof(allowed_calls[0]); i++)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0);
        if (r == 0)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                     SCMP_A0_32(SCMP_CMP_EQ, AF_UNIX));
        if (r == 0)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                     SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        if (r == 0)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                     SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        return r;
}

/* Only what is safe in a signal handler. QEMU dies with us. */
static void on_forbidden_call(int signal, siginfo_t *info, void *context)
{
        static const char said[] = "banger-qemu: forbidden system call\n";

        (void) signal;
        (void) info;
        (void) context;
        (void) !write(STDERR_FILENO, said, sizeof(said) - 1);
        _exit(VM_CONFINE_EXIT);
}

static int restrict_calls(struct err *err)
{
        struct sigaction action = { .sa_sigaction = on_forbidden_call, .sa_flags = SA_SIGINFO };
        scmp_filter_ctx filter;
        int r;

        if (HAS_SANITIZER) {
                vm_log_warn("Built with a sanitizer: system calls are not restricted");
                return 0;
        }
        (void) sigaction(SIGSYS, &action, NULL);
        filter = seccomp_init(SCMP_ACT_TRAP);
        r = filter ? add_rules(filter) : -ENOMEM;
        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r < 0 ? err_set(err, -r, "vmm.confine", "restrict system calls: %s", strerror(-r)) : 0;
}

int vm_confine(const struct vm_config *config, struct err *err)
{
        int r = restrict_files(config, err);

        return r < 0 ? r : restrict_calls(err);
}
