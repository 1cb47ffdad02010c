#include "guest/agent/agent_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "base/text.h"

#define PROCESSES_MAX 65536
#define KILL_MS       1000
#define KILL_STEP_NS  5000000

struct process {
        pid_t pid, parent;
        bool lives, below;
};

struct processes {
        struct process *list; /* owned */
        size_t n, capacity;
};

int agent_tree_adopt(void)
{
        return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0;
}

void agent_tree_reap(pid_t command)
{
        for (;;) {
                siginfo_t info = { 0 };

                /* looked at first: the command's own status stays to be taken */
                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0 ||
                    info.si_pid == command)
                        return;
                if (waitpid(info.si_pid, NULL, WNOHANG) < 0)
                        return;
        }
}

/* "pid (name) state ppid ..." (proc(5)); the name may hold anything, so the last parenthesis counts. */
static bool read_process(int proc, const char *entry, struct process *process)
{
        scoped_free char *path = xasprintf("%s/stat", entry);
        scoped_close int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
        char line[512];
        ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
        const char *close_name;
        char state;
        int parent;

        if (n <= 0)
                return false;
        line[n] = '\0';
        close_name = strrchr(line, ')');
        if (!close_name || sscanf(close_name + 1, " %c %d", &state, &parent) != 2)
                return false;
        *process = (struct process){ .pid = (pid_t) strtol(entry, NULL, 10),
                                     .parent = parent,
                                     .lives = state != 'Z' && state != 'X' };
        return true;
}

static void list_processes(struct processes *processes)
{
        DIR *folder = opendir("/proc");
        const struct dirent *entry;

        if (!folder)
                return;
        while (processes->n < PROCESSES_MAX && (entry = readdir(folder))) {
                struct process process;

                if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
                    !read_process(dirfd(folder), entry->d_name, &process))
                        continue;
                if (processes->n == processes->capacity) {
                        processes->capacity = processes->capacity * 2 + 256;
                        processes->list =
                                xrealloc(processes->list, processes->capacity * sizeof(*processes->list));
                }
                processes->list[processes->n++] = process;
        }
        (void) closedir(folder);
}

static int by_pid(const void *a, const void *b)
{
        pid_t left = ((const struct process *) a)->pid, right = ((const struct process *) b)->pid;

        return (left > right) - (left < right);
}

static bool is_below(const struct processes *processes, pid_t parent, pid_t top)
{
        const struct process key = { .pid = parent };
        const struct process *found;

        if (parent == top)
                return true;
        found = bsearch(&key, processes->list, processes->n, sizeof(key), by_pid);
        return found && found->below;
}

/* Children usually have larger numbers than their parents, so this takes a round or two. */
static void mark_below(struct processes *processes, pid_t top)
{
        bool changed = true;

        if (processes->n > 0)
                qsort(processes->list, processes->n, sizeof(*processes->list), by_pid);
        while (changed) {
                changed = false;
                for (size_t i = 0; i < processes->n; i++) {
                        struct process *process = &processes->list[i];

                        if (!process->below && is_below(processes, process->parent, top))
                                changed = process->below = true;
                }
        }
}

size_t agent_tree_signal(int number)
{
        struct processes processes = { 0 };
        size_t n = 0;

        list_processes(&processes);
        mark_below(&processes, getpid());
        for (size_t i = 0; i < processes.n; i++) {
                if (!processes.list[i].below || !processes.list[i].lives)
                        continue;
                n++;
                if (number != 0)
                        (void) kill(processes.list[i].pid, number);
        }
        free(processes.list);
        return n;
}

void agent_tree_kill(pid_t command)
{
        const struct timespec step = { .tv_nsec = KILL_STEP_NS };
        uint64_t deadline_ms = clock_monotonic_ms() + KILL_MS;

        /* a parent that was killed gives its children to us: they are met in the next round */
        while (agent_tree_signal(SIGKILL) > 0 && clock_left_ms(deadline_ms) > 0) {
                (void) nanosleep(&step, NULL);
                agent_tree_reap(command);
        }
}
