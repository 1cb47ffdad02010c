/* How a guest ends. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "base/file.h"
#include "guest/agent/agent_hold.h"
#include "guest/agent/agent_init.h"
#include "guest/agent/agent_serve.h"
#include "guest/agent/agent_spawn.h"

#define DSDT_MAX (1U << 20)

/*
 * ACPI 6.4 §7.4.2: a machine that can be switched off has an object _S5_. Without (Firecracker has none) a power-off
 * would only halt the CPU; a restart ends the VM in both VMMs.
 */
bool agent_can_power_off(void)
{
        scoped_free char *dsdt = NULL;
        struct err err = { 0 };
        size_t n;

        if (file_read("/sys/firmware/acpi/tables/DSDT", DSDT_MAX, &dsdt, &n, &err) < 0)
                return false;
        return memmem(dsdt, n, "_S5_", 4) != NULL;
}

static bool run_first(const char *const *files, const char *const *argv)
{
        static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };

        for (; *files; files++) {
                struct agent_spawn spawn = {
                        .file = *files, .argv = argv, .env = env, .fds = {0, 1, 2}
                };

                if (access(*files, X_OK) == 0 && agent_spawn(&spawn) > 0)
                        return true;
        }
        return false;
}

void agent_power_off(void)
{
        static const char *const systemctls[] = { "/usr/bin/systemctl", "/bin/systemctl", NULL };
        static const char *const poweroffs[] = { "/sbin/poweroff", "/usr/sbin/poweroff", NULL };
        static const char *const reboots[] = { "/sbin/reboot", "/usr/sbin/reboot", NULL };
        bool off = agent_can_power_off();
        const char *const systemctl[] = { "systemctl", "--no-block", off ? "poweroff" : "reboot", NULL };
        const char *const plain[] = { off ? "poweroff" : "reboot", NULL };

        if (agent_is_init()) {
                (void) kill(1, SIGTERM);
                return;
        }
        if (agent_is_held()) {
                sync();
                (void) reboot(off ? RB_POWER_OFF : RB_AUTOBOOT);
        }
        if (access("/run/systemd/system", F_OK) == 0 && run_first(systemctls, systemctl))
                return;
        if (run_first(off ? poweroffs : reboots, plain))
                return;
        sync();
        (void) reboot(off ? RB_POWER_OFF : RB_AUTOBOOT);
}
