#include "guest/agent/agent_spawn.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <unistd.h>

#include "base/scoped.h"

/* What agent_serve() ignores, and what whoever started the agent may have: a shell cannot trap what it inherits ignored. */
static const int inherited[] = { SIGPIPE, SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                                 SIGUSR2, SIGCHLD, SIGTSTP, SIGTTIN, SIGTTOU };

/* In the child, which shares the parent's memory: system calls only. Returns the errno of the one that failed. */
static int become(const struct agent_spawn *spawn)
{
        sigset_t none;

        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        for (size_t i = 0; i < sizeof(inherited) / sizeof(inherited[0]); i++)
                (void) signal(inherited[i], SIG_DFL);
        if (setsid() < 0)
                return errno;
        for (int i = 0; i < 3; i++)
                if (dup2(spawn->fds[i], i) < 0)
                        return errno;
        if (spawn->fixed_layout)
                (void) personality(ADDR_NO_RANDOMIZE); /* 0 besides: PER_LINUX */
        if (spawn->terminal && ioctl(0, TIOCSCTTY, 0) < 0)
                return errno;
        if (spawn->user && (setgroups(spawn->user->n_groups, spawn->user->groups) < 0 ||
                            setresgid(spawn->user->gid, spawn->user->gid, spawn->user->gid) < 0 ||
                            setresuid(spawn->user->uid, spawn->user->uid, spawn->user->uid) < 0))
                return errno;
        (void) execve(spawn->file, (char *const *) (uintptr_t) spawn->argv,
                      (char *const *) (uintptr_t) spawn->env);
        return errno;
}

bool agent_is_emulated(void)
{
#if defined(__x86_64__)
        unsigned eax, ebx, ecx, edx;
        char name[13] = "";

        /* QEMU target/i386/cpu.c, "hypervisor CPUID": what its emulator calls itself; KVM has another name */
        __cpuid(0x40000000U, eax, ebx, ecx, edx);
        memcpy(name, &ebx, 4);
        memcpy(name + 4, &ecx, 4);
        memcpy(name + 8, &edx, 4);
        (void) eax;
        return strcmp(name, "TCGTCGTCGTCG") == 0;
#else
        return false;
#endif
}

/*
 * vfork(2): the page tables are not copied, which under emulation is a good part of what starting a command costs, and
 * the parent learns of a failed exec from memory, without a pipe.
 */
pid_t agent_spawn(const struct agent_spawn *spawn)
{
        volatile int error = 0;
        pid_t pid =
                vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): become() keeps to its rules */

        if (pid < 0)
                return -errno;
        if (pid == 0) {
                error = become(spawn);
                _exit(127); /* NOLINT(clang-analyzer-unix.Vfork): ends the child only */
        }
        return error != 0 ? -error : pid;
}

int agent_resize_terminal(int master, uint16_t rows, uint16_t columns)
{
        struct winsize size = { .ws_row = rows, .ws_col = columns };

        return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int agent_open_terminal(uint16_t rows, uint16_t columns, int *ret_master, int *ret_slave)
{
        scoped_close int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        int slave, r;

        if (master < 0 || unlockpt(master) < 0)
                return -errno;
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave < 0)
                return -errno;
        r = rows > 0 && columns > 0 ? agent_resize_terminal(master, rows, columns) : 0;
        if (r < 0) {
                (void) close(slave);
                return r;
        }
        *ret_master = take_fd(&master);
        *ret_slave = slave;
        return 0;
}
