/* The first process of a guest whose image has no init. */
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "guest/agent/agent_image.h"
#include "guest/agent/agent_init.h"
#include "guest/agent/agent_pool.h"
#include "guest/agent/agent_serve.h"

#define GRACE_MS 2000

static bool is_init;

bool agent_is_init(void)
{
        return is_init;
}

/* Until nobody is left or the time is over. */
static void reap_for(uint64_t ms)
{
        const struct timespec step = { .tv_nsec = 5000000 };
        uint64_t deadline_ms = clock_monotonic_ms() + ms;
        pid_t pid;

        while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && clock_left_ms(deadline_ms) > 0)
                if (pid == 0)
                        (void) nanosleep(&step, NULL);
}

__attribute__((noreturn)) static void end(void)
{
        (void) kill(-1, agent_image_stop_signal());
        (void) kill(-1, SIGCONT);
        reap_for(GRACE_MS);
        (void) kill(-1, SIGKILL);
        reap_for(GRACE_MS);
        sync();
        (void) umount2("/root", 0);
        (void) mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
        (void) reboot(agent_can_power_off() ? RB_POWER_OFF : RB_AUTOBOOT);
        for (;;)
                (void) pause();
}

static pid_t start_pool(int listener, const sigset_t *mask)
{
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        (void) sigprocmask(SIG_UNBLOCK, mask, NULL);
        (void) setsid();
        agent_pool_run(listener);
}

void agent_stay_init(int listener)
{
        sigset_t mask;
        pid_t pool = 0, ended;

        is_init = true;
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGCHLD);
        (void) sigaddset(&mask, SIGTERM); /* agent_power_off() */
        (void) sigaddset(&mask, SIGINT);  /* ctrl-alt-del, once the kernel was told to ask */
        (void) sigaddset(&mask, SIGPWR);
        (void) sigprocmask(SIG_BLOCK, &mask, NULL);
        (void) reboot(RB_DISABLE_CAD);
        for (;;) {
                const struct timespec second = { .tv_sec = 1 };
                int number;

                if (pool <= 0)
                        pool = start_pool(listener, &mask);
                number = sigtimedwait(&mask, NULL, pool <= 0 ? &second : NULL);
                if (number == SIGTERM || number == SIGINT || number == SIGPWR)
                        end();
                while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
                        if (ended == pool)
                                pool = 0;
        }
}
