/* The guest as a whole: what its init says of it, and room on its disks. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "guest/agent/agent_init.h"
#include "guest/agent/agent_serve.h"
#include "guest/agent/agent_spawn.h"

#define SYSTEMCTL_MS 3000
#define WORD_MAX     32

/* The one word that the program prints, "" when it says nothing in time. */
static void read_word(int fd, char word[WORD_MAX])
{
        uint64_t deadline_ms = clock_monotonic_ms() + SYSTEMCTL_MS;
        size_t n = 0;

        while (n < WORD_MAX - 1 && fd_read_until(fd, &word[n], 1, deadline_ms) == 0 && word[n] != '\n')
                n++;
        word[n] = '\0';
}

/* systemctl(1): "running", "degraded", "starting", "maintenance", ...; its exit status says no more. */
static void ask_systemd(char word[WORD_MAX])
{
        static const char *const argv[] = { "systemctl", "is-system-running", NULL };
        static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
        struct agent_spawn spawn = { .file = access("/usr/bin/systemctl", X_OK) == 0 ? "/usr/bin/systemctl"
                                                                                     : "/bin/systemctl",
                                     .argv = argv,
                                     .env = env };
        scoped_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int ends[2];
        pid_t pid;

        if (null < 0 || pipe2(ends, O_CLOEXEC) < 0)
                return;
        spawn.fds[0] = spawn.fds[2] = null;
        spawn.fds[1] = ends[1];
        pid = agent_spawn(&spawn);
        (void) close(ends[1]);
        if (pid > 0) {
                read_word(ends[0], word);
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
        }
        (void) close(ends[0]);
}

json_t *agent_system(void)
{
        char word[WORD_MAX] = "";
        json_t *json = json_object();

        if (access("/run/systemd/system", F_OK) == 0)
                ask_systemd(word);
        (void) json_object_set_new(json, "system", json_string(word));
        (void) json_object_set_new(json, "disks", agent_disks());
        return json;
}
