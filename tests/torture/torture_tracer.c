/*
 * torture-tracer: kills one process of banger just before its Nth system call.
 *
 * It seizes (ptrace(2)) a living bangerd, its job processes, a living bangerd-root and, when a VMM is to die, those that run
 * already, and follows what they start. What a process is follows from its parent and its program: a child of bangerd is a job,
 * a child of bangerd-root serves a request, and whatever then executes a VMM is one. The system calls of all processes of the
 * wanted role are counted together, in the order in which they happen; at the entry of the Nth the process that makes it gets SIGKILL, so the call never happens.
 *
 * It writes one line: "killed ROLE PID SYSCALL PROGRAM", or "counted N" when it was told to end (SIGTERM) before that. Then it
 * lets go of everything. The processes it does not kill run on as if nothing had been.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACEES_MAX  4096
#define SYSCALL_STOP (SIGTRAP | 0x80) /* PTRACE_O_TRACESYSGOOD */
#define FOLLOW                                                                                    \
        (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | \
         PTRACE_O_TRACEEXEC)

enum role {
        ROLE_DAEMON,
        ROLE_JOB,
        ROLE_HELPER,
        ROLE_VMM,
        N_ROLES
};
static const char *const role_names[N_ROLES] = { "daemon", "job", "helper", "vmm" };

struct tracee {
        pid_t tid; /* 0: free */
        enum role role;
};

static struct tracee tracees[TRACEES_MAX];
static enum role wanted;
static unsigned long kill_at, n_calls;
static bool is_letting_go;

static struct tracee *find(pid_t tid)
{
        for (size_t i = 0; i < TRACEES_MAX; i++)
                if (tracees[i].tid == tid)
                        return &tracees[i];
        return NULL;
}

static struct tracee *add(pid_t tid, enum role role)
{
        struct tracee *tracee = find(tid);

        if (!tracee)
                tracee = find(0);
        if (!tracee) {
                (void) fputs("torture-tracer: too many processes\n", stderr);
                exit(1);
        }
        *tracee = (struct tracee){ .tid = tid, .role = role };
        return tracee;
}

static bool is_empty(void)
{
        for (size_t i = 0; i < TRACEES_MAX; i++)
                if (tracees[i].tid != 0)
                        return false;
        return true;
}

static void program_of(pid_t pid, char ret_program[PATH_MAX])
{
        char link[64];
        ssize_t n;

        (void) snprintf(link, sizeof(link), "/proc/%d/exe", (int) pid);
        n = readlink(link, ret_program, PATH_MAX - 1);
        ret_program[n > 0 ? n : 0] = '\0';
}

static bool is_vmm(const char *program)
{
        const char *slash = strrchr(program, '/');
        const char *name = slash ? slash + 1 : program;

        return strcmp(name, "banger-qemu") == 0 || strcmp(name, "firecracker") == 0 ||
               strncmp(name, "qemu-system-", strlen("qemu-system-")) == 0;
}

static enum role role_of_child(enum role parent)
{
        return parent == ROLE_DAEMON ? ROLE_JOB : parent;
}

static bool is_alive(pid_t tid)
{
        return kill(tid, 0) == 0;
}

/* A tracee that stopped goes on; signal 0: with none. Those of other roles stop no more than at forks. */
static void go_on(struct tracee *tracee, int signal)
{
        bool counts = tracee->role == wanted;

        if (is_letting_go) {
                (void) ptrace(PTRACE_DETACH, tracee->tid, NULL, (long) signal);
                tracee->tid = 0;
                return;
        }
        if (ptrace(counts ? PTRACE_SYSCALL : PTRACE_CONT, tracee->tid, NULL, (long) signal) < 0 &&
            !is_alive(tracee->tid))
                tracee->tid = 0;
}

/* A running tracee must stop before it can be let go; each does so in turn, in take_stop(). ESRCH: it is none any more. */
static void let_go(void)
{
        is_letting_go = true;
        for (size_t i = 0; i < TRACEES_MAX; i++)
                if (tracees[i].tid != 0 && ptrace(PTRACE_INTERRUPT, tracees[i].tid, NULL, NULL) < 0 &&
                    errno == ESRCH)
                        tracees[i].tid = 0;
}

static void kill_here(const struct tracee *tracee, unsigned long long number)
{
        char program[PATH_MAX];

        program_of(tracee->tid, program);
        (void) printf("killed %s %d %llu %s\n", role_names[tracee->role], (int) tracee->tid, number, program);
        (void) fflush(stdout);
        (void) kill(tracee->tid, SIGKILL);
}

static void take_syscall(struct tracee *tracee)
{
        struct __ptrace_syscall_info info = { 0 };
        bool enters = ptrace(PTRACE_GET_SYSCALL_INFO, tracee->tid, (void *) sizeof(info), &info) > 0 &&
                      info.op == PTRACE_SYSCALL_INFO_ENTRY;

        if (enters && tracee->role == wanted && !is_letting_go && ++n_calls == kill_at) {
                kill_here(tracee, info.entry.nr);
                tracee->tid = 0; /* its end is nobody's concern any more */
                let_go();
                return;
        }
        go_on(tracee, 0);
}

/*
 * The kernel has begun to trace the child already. Its first stop may have come before this one; while letting go it is then
 * gone again, so only that stop makes it known.
 */
static void take_fork(struct tracee *parent)
{
        unsigned long child = 0;

        if (!is_letting_go && ptrace(PTRACE_GETEVENTMSG, parent->tid, NULL, &child) == 0 && child > 0 &&
            !find((pid_t) child))
                (void) add((pid_t) child, role_of_child(parent->role));
        go_on(parent, 0);
}

static void take_exec(struct tracee *tracee)
{
        char program[PATH_MAX];

        program_of(tracee->tid, program);
        if (is_vmm(program))
                tracee->role = ROLE_VMM;
        if (tracee->role == ROLE_VMM && wanted != ROLE_VMM) { /* not to slow it down */
                (void) ptrace(PTRACE_DETACH, tracee->tid, NULL, NULL);
                tracee->tid = 0;
                return;
        }
        go_on(tracee, 0);
}

static void take_stop(struct tracee *tracee, int status)
{
        int signal = WSTOPSIG(status), event = status >> 16;

        if (signal == SYSCALL_STOP)
                take_syscall(tracee);
        else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE)
                take_fork(tracee);
        else if (event == PTRACE_EVENT_EXEC)
                take_exec(tracee);
        else if (event != 0) /* PTRACE_EVENT_STOP: a new child, or PTRACE_INTERRUPT */
                go_on(tracee, 0);
        else
                go_on(tracee, signal);
}

/* A child's first stop may come before its parent's tells of it (ptrace(2)): the parent then says what it is. */
static enum role role_by_parent(pid_t tid)
{
        char path[64], line[256];
        long parent = 0;
        FILE *status;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) tid);
        status = fopen(path, "re");
        while (status && fgets(line, sizeof(line), status)) {
                if (strncmp(line, "PPid:", 5) == 0)
                        parent = strtol(line + 5, NULL, 10);
                /* a thread has its process's parent, and its process's role */
                if (strncmp(line, "Tgid:", 5) == 0 && strtol(line + 5, NULL, 10) != (long) tid) {
                        const struct tracee *process = find((pid_t) strtol(line + 5, NULL, 10));

                        (void) fclose(status);
                        return process ? process->role : ROLE_VMM;
                }
        }
        if (status)
                (void) fclose(status);
        const struct tracee *known = find((pid_t) parent);

        return known && parent > 0 ? role_of_child(known->role) : ROLE_JOB;
}

static void take_changes(void)
{
        int status;
        pid_t tid;

        while ((tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
                struct tracee *tracee = find(tid);

                if (WIFSTOPPED(status)) {
                        take_stop(tracee ? tracee : add(tid, role_by_parent(tid)), status);
                } else if (tracee) {
                        tracee->tid = 0;
                }
        }
}

static bool try_seize(const char *number, enum role role)
{
        pid_t pid = (pid_t) strtol(number, NULL, 10);

        if (pid <= 1 || ptrace(PTRACE_SEIZE, pid, NULL, (void *) (long) FOLLOW) < 0)
                return false;
        (void) add(pid, role);
        if (role == wanted)
                (void) ptrace(PTRACE_INTERRUPT, pid, NULL, NULL); /* goes on stopping at system calls */
        return true;
}

static int seize(const char *number, enum role role)
{
        if (try_seize(number, role))
                return 0;
        (void) fprintf(stderr, "torture-tracer: seize process '%s': %s\n", number, strerror(errno));
        return 1;
}

/* All threads of a process that has run for long: those that it ends meanwhile are gone, those that it begins are ours already. */
static void seize_vmm(const char *number)
{
        char path[64];
        DIR *threads;

        (void) snprintf(path, sizeof(path), "/proc/%.20s/task", number);
        threads = opendir(path);
        if (!threads)
                return;
        for (const struct dirent *thread; (thread = readdir(threads));)
                if (thread->d_name[0] != '.')
                        (void) try_seize(thread->d_name, ROLE_VMM);
        (void) closedir(threads);
}

/* "PID" of a job, or "vmm:PID". */
static int seize_also(const char *whom)
{
        static const char vmm[] = "vmm:";

        if (strncmp(whom, vmm, sizeof(vmm) - 1) != 0)
                return seize(whom, ROLE_JOB); /* it waits for its request */
        seize_vmm(whom + sizeof(vmm) - 1);
        return 0;
}

static int trace(void)
{
        sigset_t signals;

        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGCHLD);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &signals, NULL);
        (void) puts("ready");
        (void) fflush(stdout);
        while (!is_empty()) {
                int signal;

                take_changes();
                if (is_empty())
                        break;
                if (sigwait(&signals, &signal) == 0 && signal == SIGTERM && !is_letting_go) {
                        (void) printf("counted %lu\n", n_calls);
                        (void) fflush(stdout);
                        let_go();
                }
        }
        return 0;
}

int main(int argc, char **argv)
{
        wanted = N_ROLES;
        for (int role = 0; argc >= 5 && role < N_ROLES; role++)
                if (strcmp(argv[1], role_names[role]) == 0)
                        wanted = (enum role) role;
        if (wanted == N_ROLES) {
                (void) fputs(
                        "Usage: torture-tracer daemon|job|helper|vmm N DAEMON_PID HELPER_PID "
                        "[JOB_PID|vmm:PID...]\n"
                        "Kills the process of that role that makes the Nth system call; 0: only counts.\n",
                        stderr);
                return 2;
        }
        kill_at = strtoul(argv[2], NULL, 10);
        if (seize(argv[3], ROLE_DAEMON) || seize(argv[4], ROLE_HELPER))
                return 1;
        for (int i = 5; i < argc; i++)
                if (seize_also(argv[i]))
                        return 1;
        return trace();
}
