#include "cli/cli_signals.h"

#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scoped.h"

static const int stops[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
#define N_STOPS (sizeof(stops) / sizeof(stops[0]))

static volatile sig_atomic_t guarded_fd = FD_NONE;
static volatile sig_atomic_t caught;
static bool is_held;

static void fill_set(sigset_t *set, bool with_window)
{
        (void) sigemptyset(set);
        for (size_t i = 0; i < N_STOPS; i++)
                (void) sigaddset(set, stops[i]);
        if (with_window)
                (void) sigaddset(set, SIGWINCH);
}

int signals_begin(bool with_window)
{
        sigset_t set;
        int fd;

        fill_set(&set, with_window);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                signals_end(FD_NONE);
        return fd < 0 ? FD_NONE : fd;
}

int signals_take(int fd)
{
        struct signalfd_siginfo info;

        if (fd < 0 || read(fd, &info, sizeof(info)) != (ssize_t) sizeof(info))
                return 0;
        return (int) info.ssi_signo;
}

void signals_end(int fd)
{
        sigset_t set;

        fill_set(&set, true);
        if (fd >= 0)
                (void) close(fd);
        if (!is_held)
                (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void signals_hold(void)
{
        sigset_t set;

        fill_set(&set, false);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        is_held = true;
}

void signals_release(void)
{
        is_held = false;
        signals_end(FD_NONE);
}

int signals_waiting(void)
{
        sigset_t set;

        (void) sigpending(&set);
        for (size_t i = 0; is_held && i < N_STOPS; i++)
                if (sigismember(&set, stops[i]) == 1)
                        return stops[i];
        return 0;
}

static void cut_connection(int signal)
{
        int saved_errno = errno;

        caught = signal;
        if (guarded_fd >= 0)
                (void) shutdown(guarded_fd, SHUT_RDWR); /* async-signal-safe: signal-safety(7) */
        errno = saved_errno;
}

void signals_guard(int fd)
{
        struct sigaction action = { .sa_handler = cut_connection, .sa_flags = SA_RESTART };
        sigset_t set;

        caught = 0;
        guarded_fd = fd;
        for (size_t i = 0; i < N_STOPS; i++)
                (void) sigaction(stops[i], &action, NULL);
        fill_set(&set, false);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int signals_unguard(void)
{
        struct sigaction action = { .sa_handler = SIG_DFL };

        if (is_held)
                signals_hold();
        for (size_t i = 0; i < N_STOPS; i++)
                (void) sigaction(stops[i], &action, NULL);
        guarded_fd = FD_NONE;
        return caught;
}

void signals_die(int signal)
{
        struct sigaction action = { .sa_handler = SIG_DFL };
        sigset_t set;

        (void) sigaction(signal, &action, NULL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, signal);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        (void) raise(signal);
        _exit(128 + signal);
}
