#include "base/signal_name.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <strings.h>

int signal_from_name(const char *name, int *ret_signal)
{
        static const struct {
                const char *name;
                int signal;
        } allowed[] = {
                {"TERM",  SIGTERM},
                { "KILL", SIGKILL},
                { "INT",  SIGINT },
                { "HUP",  SIGHUP },
                { "QUIT", SIGQUIT},
                { "USR1", SIGUSR1},
                { "USR2", SIGUSR2},
                { "ABRT", SIGABRT},
        };
        const char *word = strncasecmp(name, "SIG", 3) == 0 ? name + 3 : name;

        for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
                if (strcasecmp(allowed[i].name, word) == 0) {
                        *ret_signal = allowed[i].signal;
                        return 0;
                }
        return -EINVAL;
}
