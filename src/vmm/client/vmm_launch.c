/*
 * Starting a VMM. It gets its own session, no descriptor of ours but its log, its console and the tap, and umask 077,
 * so that its sockets are private (S-219). It outlives this process on purpose: no death signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/text.h"
#include "vmm/client/vmm_client.h"
#include "vmm/client/vmm_process.h"

#define ARGUMENTS_MAX   12
#define API_PAUSE_MS    1
#define KILL_TIMEOUT_MS 5000
#define LOG_TAIL_MAX    512
/* Firecracker listens at <vsock path>_<port> too: '_' and ten digits. */
#define PORT_SUFFIX_MAX 11

struct launch {
        const struct vmm *vmm;
        const struct vmm_machine *machine;
        const char *arguments[ARGUMENTS_MAX];
        size_t n_arguments;
        char *tap_argument; /* owned */
        int log, console;   /* owned */
};

static void launch_done(struct launch *launch)
{
        free(launch->tap_argument);
        if (launch->log >= 0)
                (void) close(launch->log);
        if (launch->console >= 0)
                (void) close(launch->console);
}

static int open_for_appending(const char *path, int *ret_fd, struct err *err)
{
        *ret_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
        return *ret_fd < 0 ? err_errno(err, "vmm.launch", "open '%s'", path) : 0;
}

static void add(struct launch *launch, const char *option, const char *value)
{
        launch->arguments[launch->n_arguments++] = option;
        launch->arguments[launch->n_arguments++] = value;
}

/*
 * Firecracker logs to its standard output and, before PUT /serial, sends the console there too. Then the console keeps
 * standard output and the log gets its own file, which must exist (created by open_for_appending).
 */
static void compose(struct launch *launch)
{
        const struct vmm_machine *machine = launch->machine;

        launch->arguments[launch->n_arguments++] = launch->vmm->path;
        add(launch, "--api-sock", machine->api_path);
        add(launch, "--id", machine->id);
        if (!vmm_has_serial(launch->vmm))
                add(launch, "--log-path", machine->log_path);
        if (launch->vmm->kind == VMM_QEMU && machine->tap && machine->tap_fd >= 0) {
                launch->tap_argument = xasprintf("%s=%d", machine->tap, machine->tap_fd);
                add(launch, "--tap", launch->tap_argument);
        }
        launch->arguments[launch->n_arguments] = NULL;
}

/* banger-qemu binds through the folder's descriptor; Firecracker cannot, and would only say so in its log. */
static int check_paths(const struct vmm *vmm, const struct vmm_machine *machine, struct err *err)
{
        const size_t max = sizeof(((struct sockaddr_un *) 0)->sun_path) - 1;

        if (vmm->kind != VMM_FIRECRACKER)
                return 0;
        if (strlen(machine->api_path) > max ||
            (machine->vsock_path && strlen(machine->vsock_path) + PORT_SUFFIX_MAX > max))
                return err_set(err, ENAMETOOLONG, "vmm.launch",
                               "'%s' is too long for a socket of Firecracker; use a shorter XDG_RUNTIME_DIR",
                               machine->api_path);
        return 0;
}

/* A VMM never removes its sockets, and the next one cannot bind over them. */
static int remove_sockets(const struct vmm_machine *machine, struct err *err)
{
        int r = file_remove(machine->api_path, err);

        if (r < 0 || !machine->vsock_path)
                return r;
        return file_remove(machine->vsock_path, err);
}

static int start_process(struct launch *launch, struct vmm_process *process, struct err *err)
{
        const struct vmm_machine *machine = launch->machine;
        bool console_on_stdout = !vmm_has_serial(launch->vmm);
        struct spawn spawn = {
                .argv = launch->arguments,
                .stdin_fd = FD_NONE,
                .stdout_fd = console_on_stdout ? launch->console : launch->log,
                .stderr_fd = launch->log,
                .cgroup = machine->cgroup,
                .new_session = true,
        };
        mode_t old_mask;
        int r;

        if (launch->tap_argument) {
                spawn.keep_fds = &machine->tap_fd;
                spawn.n_keep_fds = 1;
        }
        old_mask = umask(077);
        r = spawn_start(&spawn, &process->pid, &process->pidfd, err);
        (void) umask(old_mask);
        return r;
}

/* A VMM that cannot start says why at the end of its log. */
static int tell_end(const struct vmm_machine *machine, struct err *err)
{
        scoped_free char *tail = NULL;
        struct err unread = { 0 };
        const char *line = NULL;

        if (file_read_end(machine->log_path, LOG_TAIL_MAX, &tail, &unread) == 0)
                line = text_last_line(tail);
        return err_set(err, EIO, "vmm.launch", "the VMM ended while it started: %s (more in '%s')",
                       line ? line : unread.message, machine->log_path);
}

/*
 * A socket exists slightly before it accepts, so both missing and refusing mean "not yet". Waiting on the pidfd makes
 * the pause end at once when the VMM does.
 */
static int wait_for_api(const struct vmm_machine *machine, const struct vmm_process *process,
                        uint64_t timeout_ms, struct err *err)
{
        uint64_t deadline = clock_monotonic_ms() + timeout_ms;

        for (;;) {
                scoped_close int api = fd_unix_connect(machine->api_path);

                if (api >= 0)
                        return 0;
                if (api != -ENOENT && api != -ECONNREFUSED) {
                        errno = -api;
                        return err_errno(err, "vmm.launch", "connect to '%s'", machine->api_path);
                }
                if (fd_wait(process->pidfd, POLLIN, API_PAUSE_MS) == 0)
                        return tell_end(machine, err);
                if (clock_left_ms(deadline) == 0)
                        return err_set(err, ETIMEDOUT, "vmm.launch",
                                       "the VMM did not open '%s' within %llu ms; see '%s'",
                                       machine->api_path, (unsigned long long) timeout_ms, machine->log_path);
        }
}

static int launch_prepared(struct launch *launch, uint64_t timeout_ms, struct vmm_process *process,
                           struct err *err)
{
        int r = open_for_appending(launch->machine->log_path, &launch->log, err);

        if (r == 0)
                r = open_for_appending(launch->machine->console_path, &launch->console, err);
        if (r == 0)
                r = remove_sockets(launch->machine, err);
        if (r < 0)
                return r;
        compose(launch);
        r = start_process(launch, process, err);
        if (r < 0)
                return r;
        r = vmm_process_start_time(process->pid, &process->start_time);
        if (r < 0) {
                errno = -r;
                return err_errno(err, "vmm.launch", "read the start time of the VMM");
        }
        return wait_for_api(launch->machine, process, timeout_ms, err);
}

int vmm_launch(const struct vmm *vmm, const struct vmm_machine *machine, uint64_t timeout_ms,
               struct vmm_process *ret_process, struct err *err)
{
        struct launch launch = { .vmm = vmm, .machine = machine, .log = FD_NONE, .console = FD_NONE };
        struct vmm_process process = { .pidfd = FD_NONE };
        struct err undo = { 0 };
        int r = check_paths(vmm, machine, err);

        if (r < 0)
                return r;
        r = launch_prepared(&launch, timeout_ms, &process, err);
        launch_done(&launch);
        if (r == 0) {
                *ret_process = process;
                return 0;
        }
        if (process.pidfd >= 0) {
                (void) vmm_process_kill(process.pidfd, KILL_TIMEOUT_MS, &undo);
                (void) close(process.pidfd);
        }
        if (undo.code == 0)
                (void) remove_sockets(machine, &undo);
        err_join(err, &undo);
        return r;
}
