#include "vmm/qemu/vm_machine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/spawn.h"
#include "vmm/qemu/guest_memory.h"
#include "vmm/qemu/host_tsc.h"
#include "vmm/qemu/kernel_cmdline.h"
#include "vmm/qemu/net_limiter.h"
#include "vmm/qemu/qemu_command.h"
#include "vmm/qemu/qmp.h"
#include "vmm/qemu/vm_console.h"
#include "vmm/qemu/vm_log.h"
#include "vmm/qemu/vsock_device.h"

#define START_TIMEOUT_MS   15000
#define COMMAND_TIMEOUT_MS 30000 /* Firecracker's own limit for pause and resume */
#define END_TIMEOUT_MS     2000

struct vm_machine {
        pid_t pid;
        int pidfd, qmp_fd, console_fd, stderr_fd; /* owned; FD_NONE once at their end */
        struct vsock_device *vsock;               /* owned */
        struct net_limiter *limiter;              /* owned; NULL: no interface is limited */
        struct vm_console console;
        struct qmp_buffer qmp;
        struct text said; /* the last line QEMU wrote to standard error */
        bool greeted, has_ended, guest_ended;
        int status;               /* of waitpid */
        struct qmp_message reply; /* to the command being waited for */
        bool has_reply;
};

static void handle_event(struct vm_machine *machine, const struct qmp_message *event)
{
        const char *reason = event->value ? json_text(event->value, "reason") : "";

        if (strcmp(event->name, "SHUTDOWN") != 0)
                return;
        vm_log_info("Guest ended: %.40s", reason);
        machine->guest_ended = true;
}

static void handle_message(struct vm_machine *machine, struct qmp_message *message)
{
        switch (message->kind) {
        case QMP_GREETING:
                machine->greeted = true;
                break;
        case QMP_EVENT:
                handle_event(machine, message);
                break;
        case QMP_RETURN:
        case QMP_ERROR:
                qmp_message_done(&machine->reply);
                machine->reply = *message;
                machine->has_reply = true;
                *message = (struct qmp_message){ 0 };
                break;
        case QMP_N_KINDS:
                break;
        }
        qmp_message_done(message);
}

static void close_slot(int *fd)
{
        if (*fd >= 0)
                (void) close(take_fd(fd));
}

/* QEMU that breaks its own protocol has been taken over or is broken: it ends. */
static void give_up(struct vm_machine *machine, const struct err *err)
{
        vm_log_error("%s", err->message);
        (void) fd_pidfd_signal(machine->pidfd, SIGKILL);
        close_slot(&machine->qmp_fd);
}

static void read_qmp(struct vm_machine *machine)
{
        struct err err = { 0 };
        struct qmp_message message;
        char bytes[16384];
        ssize_t n = recv(machine->qmp_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        int r;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                close_slot(&machine->qmp_fd);
                return;
        }
        r = qmp_buffer_add(&machine->qmp, bytes, (size_t) n, &err);
        while (r >= 0 && (r = qmp_buffer_take(&machine->qmp, &message, &err)) > 0)
                handle_message(machine, &message);
        if (r < 0)
                give_up(machine, &err);
}

static void read_console(struct vm_machine *machine)
{
        char bytes[65536];
        ssize_t n = read(machine->console_fd, bytes, sizeof(bytes));

        if (n > 0)
                vm_console_write(&machine->console, bytes, (size_t) n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
                close_slot(&machine->console_fd);
}

/* QEMU's complaints: logged, and the last one kept for the API's answer. */
static void read_stderr(struct vm_machine *machine)
{
        char bytes[1024];
        ssize_t n = read(machine->stderr_fd, bytes, sizeof(bytes) - 1);
        char *rest = bytes, *line;

        if (n <= 0) {
                if (n == 0 || (errno != EAGAIN && errno != EINTR))
                        close_slot(&machine->stderr_fd);
                return;
        }
        bytes[n] = '\0';
        while ((line = strsep(&rest, "\n")))
                if (line[0] != '\0') {
                        vm_log_warn("QEMU: %s", line);
                        text_done(&machine->said);
                        text_append(&machine->said, line);
                }
}

static void reap(struct vm_machine *machine)
{
        if (machine->has_ended || waitpid(machine->pid, &machine->status, WNOHANG) != machine->pid)
                return;
        machine->has_ended = true;
        /* what it said last is still in the pipes, whose other ends are closed now */
        while (machine->console_fd >= 0)
                read_console(machine);
        while (machine->stderr_fd >= 0)
                read_stderr(machine);
        while (machine->qmp_fd >= 0)
                read_qmp(machine);
}

size_t vm_machine_poll(const struct vm_machine *machine, struct pollfd out[VM_MACHINE_POLL_MAX])
{
        int vsock = machine->vsock ? vsock_device_fd(machine->vsock) : FD_NONE;
        int limiter = machine->limiter ? net_limiter_fd(machine->limiter) : FD_NONE;

        /* a negative descriptor is skipped by poll(2) */
        out[0] = (struct pollfd){ .fd = machine->qmp_fd, .events = POLLIN };
        out[1] = (struct pollfd){ .fd = machine->console_fd, .events = POLLIN };
        out[2] = (struct pollfd){ .fd = machine->stderr_fd, .events = POLLIN };
        out[3] = (struct pollfd){ .fd = vsock, .events = POLLIN };
        out[4] = (struct pollfd){ .fd = machine->pidfd, .events = POLLIN };
        out[5] = (struct pollfd){ .fd = limiter, .events = POLLIN };
        return VM_MACHINE_POLL_MAX;
}

void vm_machine_run(struct vm_machine *machine, const struct pollfd *polled, size_t n)
{
        if (n < VM_MACHINE_POLL_MAX)
                return;
        if (polled[3].revents && machine->vsock && vsock_device_run(machine->vsock) < 0) {
                vm_log_error("The vsock device is dead");
                vsock_device_free(take_ptr(machine->vsock));
        }
        if (polled[5].revents && machine->limiter)
                net_limiter_run(machine->limiter);
        if (polled[0].revents && machine->qmp_fd >= 0)
                read_qmp(machine);
        if (polled[1].revents && machine->console_fd >= 0)
                read_console(machine);
        if (polled[2].revents && machine->stderr_fd >= 0)
                read_stderr(machine);
        if (polled[4].revents)
                reap(machine);
}

/* Serves everything until `is_done` holds, QEMU ends, or time is up. */
static int serve_until(struct vm_machine *machine, const bool *is_done, uint64_t timeout_ms)
{
        uint64_t deadline = clock_monotonic_ms() + timeout_ms;

        while (!*is_done) {
                struct pollfd polled[VM_MACHINE_POLL_MAX];
                size_t n = vm_machine_poll(machine, polled);
                int ready = poll(polled, n, clock_left_ms(deadline));

                if (ready == 0)
                        return -ETIMEDOUT;
                if (ready < 0 && errno != EINTR)
                        return -errno;
                if (ready > 0)
                        vm_machine_run(machine, polled, n);
                if (machine->has_ended && !*is_done)
                        return -ESRCH;
        }
        return 0;
}

static int refuse_silence(struct vm_machine *machine, int r, const char *doing, struct err *err)
{
        if (r == -ESRCH)
                return err_set(err, EIO, "qemu", "QEMU ended: %.400s",
                               machine->said.n ? machine->said.s : "it said nothing");
        return err_set(err, -r, "qemu", "%s: %s", doing, strerror(-r));
}

int vm_machine_command(struct vm_machine *machine, const char *execute, json_t *owned_arguments, int fd,
                       json_t **ret_value, struct err *err)
{
        scoped_free char *line = qmp_command_line(execute, owned_arguments);
        int r;

        if (machine->qmp_fd < 0)
                return err_set(err, EIO, "qemu", "QEMU has ended");
        machine->has_reply = false;
        r = fd_send_with(machine->qmp_fd, line, strlen(line), &fd, fd >= 0 ? 1 : 0);
        if (r < 0)
                return err_set(err, -r, "qemu", "ask QEMU to %s: %s", execute, strerror(-r));
        r = serve_until(machine, &machine->has_reply, COMMAND_TIMEOUT_MS);
        if (r < 0)
                return refuse_silence(machine, r, execute, err);
        if (machine->reply.kind == QMP_ERROR)
                return err_set(err, EINVAL, "qemu", "QEMU refused to %s: %.600s", execute,
                               machine->reply.name);
        if (ret_value)
                *ret_value = json_incref(machine->reply.value);
        return 0;
}

/* Descriptors that exist for the moment of the start: QEMU's ends. */
struct far_ends {
        int qmp, vsock, console, errors, memory;
        int nets[VM_INTERFACES_MAX]; /* of limited interfaces; the others have their taps */
};

static void far_ends_init(struct far_ends *far)
{
        *far = (struct far_ends){ FD_NONE, FD_NONE, FD_NONE, FD_NONE, FD_NONE, { 0 } };
        for (size_t i = 0; i < VM_INTERFACES_MAX; i++)
                far->nets[i] = FD_NONE;
}

static void far_ends_done(struct far_ends *far)
{
        close_slot(&far->qmp);
        close_slot(&far->vsock);
        close_slot(&far->console);
        close_slot(&far->errors);
        close_slot(&far->memory);
        for (size_t i = 0; i < VM_INTERFACES_MAX; i++)
                close_slot(&far->nets[i]);
}

static int make_pipe(int *ret_read, int *ret_write)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        *ret_read = ends[0];
        *ret_write = ends[1];
        return fd_set_nonblocking(ends[0], true);
}

static int make_ends(struct vm_machine *machine, struct far_ends *far, struct err *err)
{
        int pair[2], r = fd_unix_pair(pair);

        if (r == 0) {
                machine->qmp_fd = pair[0];
                far->qmp = pair[1];
                r = make_pipe(&machine->console_fd, &far->console);
        }
        if (r == 0)
                r = make_pipe(&machine->stderr_fd, &far->errors);
        return r < 0 ? err_set(err, -r, "vmm.start", "descriptors for QEMU: %s", strerror(-r)) : 0;
}

/* The vsock device gets its end of a socket pair; QEMU believes it has connected. */
static int connect_vsock(struct vm_config *config, struct far_ends *far, struct err *err)
{
        int pair[2], r;

        if (!config->has_vsock)
                return 0;
        r = fd_unix_pair(pair);
        if (r == 0) {
                far->vsock = pair[1];
                r = vsock_device_take_qemu(config->vsock_device, pair[0]);
        }
        return r < 0 ? err_set(err, -r, "vmm.start", "connect the vsock device: %s", strerror(-r)) : 0;
}

/* QEMU gets the far side of the limiter in place of such an interface's tap. */
static int limit_interfaces(struct vm_machine *machine, const struct vm_config *config, struct far_ends *far,
                            struct err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < config->n_interfaces; i++) {
                const struct vm_interface *interface = &config->interfaces[i];

                if (!net_limiter_is_needed(&interface->body))
                        continue;
                if (!machine->limiter)
                        r = net_limiter_new(&machine->limiter, err);
                if (r == 0)
                        r = net_limiter_add(machine->limiter, &interface->body, interface->fd, &far->nets[i],
                                            err);
        }
        return r;
}

int vm_machine_limit_interface(struct vm_machine *machine, const struct vmm_interface_update *update,
                               struct err *err)
{
        if (!machine->limiter)
                return err_set(
                        err, ENOENT, "vmm.net",
                        "no interface was started with a rate limiter, and none can get one under QEMU");
        return net_limiter_change(machine->limiter, update, err);
}

static int build_cmdline(const struct vm_config *config, bool kvm, char **ret_line, struct err *err)
{
        const struct vm_drive *root = config->n_drives > 0 ? &config->drives[0] : NULL;
        struct kernel_cmdline wish = {
                .boot_args = config->boot_source.boot_args,
                .has_root = root && root->body.is_root_device,
                .root_read_only = root && root->body.is_read_only,
                .root_partuuid = root ? root->body.partuuid : NULL,
                .tsc_khz = kvm ? 0 : host_tsc_khz(),
        };

        return kernel_cmdline_build(&wish, ret_line, err);
}

static int spawn_qemu(struct vm_machine *machine, const struct vm_config *config,
                      const struct qemu_command *command, const struct far_ends *far, struct err *err)
{
        int keep[SPAWN_KEEP_MAX];
        size_t n = 0;
        struct spawn spawn = { .argv = (const char *const *) command->argv,
                               .stdin_fd = FD_NONE,
                               .stdout_fd = far->console,
                               .stderr_fd = far->errors,
                               .keep_fds = keep,
                               .death_signal = SIGKILL };

        keep[n++] = far->qmp;
        keep[n++] = config->kernel_fd;
        if (config->initrd_fd >= 0)
                keep[n++] = config->initrd_fd;
        if (far->vsock >= 0)
                keep[n++] = far->vsock;
        if (far->memory >= 0)
                keep[n++] = far->memory;
        for (size_t i = 0; i < config->n_drives; i++)
                keep[n++] = config->drives[i].fd;
        for (size_t i = 0; i < config->n_interfaces; i++)
                keep[n++] = far->nets[i] >= 0 ? far->nets[i] : config->interfaces[i].fd;
        static_assert(5 + VM_DRIVES_MAX <= SPAWN_KEEP_MAX, "drives and interfaces share VM_DRIVES_MAX");
        spawn.n_keep_fds = n;
        return spawn_start(&spawn, &machine->pid, &machine->pidfd, err);
}

static int open_memory(uint64_t mib)
{
        int fd = guest_memory_open(mib);

        if (fd < 0)
                vm_log_info("Guest memory is in small pages: %s", strerror(-fd));
        return fd < 0 ? FD_NONE : fd;
}

static int launch(struct vm_machine *machine, struct vm_config *config,
                  const struct vm_machine_options *options, struct err *err)
{
        scoped_free char *cmdline = NULL;
        struct far_ends far;
        struct qemu_command command = { 0 };
        int r = build_cmdline(config, options->kvm, &cmdline, err);

        far_ends_init(&far);
        if (r == 0)
                r = make_ends(machine, &far, err);
        if (r == 0)
                r = connect_vsock(config, &far, err);
        if (r == 0)
                r = limit_interfaces(machine, config, &far, err);
        if (r == 0 && config->machine.huge_pages != VMM_HUGE_PAGES_2M)
                far.memory = open_memory(config->machine.mem_size_mib);
        if (r == 0) {
                struct qemu_setup setup = { .qemu = options->qemu,
                                            .id = options->id,
                                            .cmdline = cmdline,
                                            .kvm = options->kvm,
                                            .qmp_fd = far.qmp,
                                            .vsock_fd = far.vsock,
                                            .net_fds = far.nets,
                                            .memory_fd = far.memory };

                qemu_command_build(config, &setup, &command);
                r = spawn_qemu(machine, config, &command, &far, err);
        }
        qemu_command_done(&command);
        far_ends_done(&far);
        return r;
}

static int set_balloon(struct vm_machine *machine, const struct vm_config *config, struct err *err)
{
        const struct vmm_balloon *balloon = &config->balloon;
        int r = 0;

        if (balloon->amount_mib > 0)
                r = vm_machine_set_balloon(machine, config->machine.mem_size_mib, balloon->amount_mib, err);
        if (r == 0 && balloon->stats_polling_interval_s > 0)
                r = vm_machine_poll_balloon(machine, balloon->stats_polling_interval_s, err);
        return r;
}

int vm_machine_set_balloon(struct vm_machine *machine, uint64_t total_mib, uint64_t amount_mib,
                           struct err *err)
{
        /* QEMU counts what is left to the guest, and wants more than nothing */
        json_int_t left = amount_mib >= total_mib ? 1 : (json_int_t) ((total_mib - amount_mib) << 20);

        return vm_machine_command(machine, "balloon", json_pack("{s:I}", "value", left), FD_NONE, NULL, err);
}

int vm_machine_poll_balloon(struct vm_machine *machine, uint64_t interval_s, struct err *err)
{
        json_t *arguments = json_pack("{s:s, s:s, s:I}", "path", "/machine/peripheral/balloon", "property",
                                      "guest-stats-polling-interval", "value", (json_int_t) interval_s);

        return vm_machine_command(machine, "qom-set", arguments, FD_NONE, NULL, err);
}

/* The greeting comes when every device is made: from then on a start has succeeded. */
static int negotiate(struct vm_machine *machine, const struct vm_config *config, struct err *err)
{
        int r = serve_until(machine, &machine->greeted, START_TIMEOUT_MS);

        if (r < 0)
                return refuse_silence(machine, r, "start QEMU", err);
        r = vm_machine_command(machine, "qmp_capabilities", NULL, FD_NONE, NULL, err);
        return r == 0 && config->has_balloon ? set_balloon(machine, config, err) : r;
}

int vm_machine_start(struct vm_config *config, const struct vm_machine_options *options,
                     struct vm_machine **ret_machine, struct err *err)
{
        struct vm_machine *machine = xcalloc(1, sizeof(*machine));
        int r;

        machine->pidfd = machine->qmp_fd = machine->console_fd = machine->stderr_fd = FD_NONE;
        vm_console_init(&machine->console, config->serial_fd >= 0 ? config->serial_fd : STDOUT_FILENO);
        machine->vsock = config->vsock_device; /* lent, so that it is served while QEMU starts */
        r = launch(machine, config, options, err);
        if (r == 0)
                r = negotiate(machine, config, err);
        if (r < 0) {
                machine->vsock = NULL;
                vm_machine_free(machine);
                vm_config_renew_vsock(config);
                return r;
        }
        config->vsock_device = NULL;
        *ret_machine = machine;
        return 0;
}

bool vm_machine_has_ended(const struct vm_machine *machine)
{
        return machine->has_ended;
}

int vm_machine_exit_code(const struct vm_machine *machine)
{
        bool clean = WIFEXITED(machine->status) && WEXITSTATUS(machine->status) == 0;

        return clean && machine->guest_ended ? 0 : 1;
}

void vm_machine_free(struct vm_machine *machine)
{
        if (!machine)
                return;
        if (machine->pid > 0 && !machine->has_ended) {
                (void) fd_pidfd_signal(machine->pidfd, SIGKILL);
                (void) fd_wait(machine->pidfd, POLLIN, END_TIMEOUT_MS);
                reap(machine);
        }
        close_slot(&machine->pidfd);
        close_slot(&machine->qmp_fd);
        close_slot(&machine->console_fd);
        close_slot(&machine->stderr_fd);
        vsock_device_free(machine->vsock);
        net_limiter_free(machine->limiter);
        qmp_buffer_done(&machine->qmp);
        qmp_message_done(&machine->reply);
        text_done(&machine->said);
        free(machine);
}
