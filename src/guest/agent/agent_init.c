#include "guest/agent/agent_init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/version.h"
#include "guest/agent/agent_hold.h"
#include "guest/agent/agent_image.h"
#include "guest/agent/agent_pool.h"
#include "guest/contract/guest_frame.h"

#define OP_BOOT      "agent.boot"
#define MODULES      "/modules"
#define CGROUP       "/sys/fs/cgroup/banger-agent"
#define CALL_WAIT_MS 10000
#define CALL_STEP_US 5000
#define TALK_MS      30000
#define NS_PER_S     1000000000U

struct boot {
        struct agent_modules later; /* owned */
        char **argv;                /* borrowed: the kernel's arguments for the init to come */
        int host;                   /* owned: the call */
        int listener;               /* owned */
        json_t *config;             /* owned */
        uint64_t greeted_ns;        /* monotonic: when the host was greeted */
        uint64_t answered_ns;       /* monotonic: when its answer left it, as near as can be told */
};

void agent_say(const char *format, ...)
{
        char line[512] = "banger-agent: ";
        size_t n = strlen(line);
        va_list args;

        va_start(args, format);
        (void) vsnprintf(line + n, sizeof(line) - n - 1, format, args);
        va_end(args);
        n = strlen(line);
        line[n++] = '\n';
        (void) !write(STDERR_FILENO, line, n);
}

/* The initramfs holds no /dev/console, so the kernel may have given us none: it is there once /dev is. */
static void open_console(void)
{
        int fd = open("/dev/console", O_RDWR | O_NOCTTY);

        if (fd < 0)
                fd = open("/dev/null", O_RDWR);
        for (int i = 0; i < 3; i++)
                if (fd >= 0 && fd != i)
                        (void) dup2(fd, i);
        if (fd > 2)
                (void) close(fd);
}

static int call_host(struct boot *boot, struct err *err)
{
        struct sockaddr_vm host = { .svm_family = AF_VSOCK,
                                    .svm_cid = GUEST_HOST_CID,
                                    .svm_port = GUEST_BOOT_PORT };
        uint64_t deadline_ms = clock_monotonic_ms() + CALL_WAIT_MS;

        for (;;) {
                scoped_close int sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (sock >= 0 && connect(sock, (const struct sockaddr *) &host, sizeof(host)) == 0) {
                        boot->host = take_fd(&sock);
                        return 0;
                }
                if (clock_left_ms(deadline_ms) == 0)
                        return err_errno(err, OP_BOOT, "call the host over vsock");
                (void) usleep(CALL_STEP_US);
        }
}

static int greet_host(struct boot *boot, struct err *err)
{
        scoped_free char *id = NULL, *hello = NULL;
        int r = file_read("/proc/sys/kernel/random/boot_id", 64, &id, NULL, err);

        if (r < 0)
                return r;
        id[strcspn(id, "\n")] = '\0';
        boot->greeted_ns = clock_monotonic_ns();
        hello = xasprintf("{\"boot_id\":\"%s\",\"version\":\"%s\",\"protocol\":%u}", id, BANGER_VERSION,
                          GUEST_PROTOCOL);
        r = guest_frame_send(boot->host, GUEST_FRAME_HELLO, hello, strlen(hello),
                             clock_monotonic_ms() + TALK_MS);
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_BOOT, "greet the host");
        }
        return 0;
}

/*
 * The host answers as soon as it is greeted, unless it still fills the disks. So an answer that is there already is as old as
 * the greeting (an emulated processor spends 0.1 s on modules in between), and one that is waited for is new.
 */
static uint64_t time_of_answer(const struct boot *boot)
{
        struct pollfd answer = { .fd = boot->host, .events = POLLIN };

        if (poll(&answer, 1, 0) > 0)
                return boot->greeted_ns;
        (void) poll(&answer, 1, TALK_MS);
        return clock_monotonic_ns();
}

static int receive_config(struct boot *boot, struct err *err)
{
        scoped_free uint8_t *body = NULL;
        struct guest_frame frame;
        int r;

        boot->answered_ns = time_of_answer(boot);
        r = guest_frame_receive(boot->host, clock_monotonic_ms() + TALK_MS, &frame, &body);

        if (r == 0 && frame.type != GUEST_FRAME_CONFIG)
                r = -EBADMSG;
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_BOOT, "get the configuration from the host");
        }
        return json_parse((const char *) body, frame.n, "the host's configuration", &boot->config, err);
}

static void apply_clock(const struct boot *boot)
{
        uint64_t then_ns = json_u64(boot->config, "real_ns", 0);
        uint64_t ns = then_ns + clock_monotonic_ns() - boot->answered_ns;
        struct timespec time = { .tv_sec = (time_t) (ns / NS_PER_S), .tv_nsec = (long) (ns % NS_PER_S) };

        if (then_ns > 0 && clock_settime(CLOCK_REALTIME, &time) < 0)
                agent_say("set the clock: %s", strerror(errno));
}

/* What neither the call nor the disks need loads beside them, in a child. */
static pid_t load_rest(void)
{
        pid_t pid = fork();

        if (pid > 0)
                return pid;
        agent_load_modules(MODULES, "rest");
        if (pid == 0)
                _exit(0);
        return pid;
}

/* The host answers when the disks have their content, so they are not touched before. */
static int mount_all_disks(struct boot *boot, struct err *err)
{
        int r;

        agent_load_modules(MODULES, "disk");
        r = receive_config(boot, err);
        if (r < 0)
                return r;
        if (*json_text(boot->config, "op_id")) /* the one that all logs of the host have, too */
                agent_say("started by %s", json_text(boot->config, "op_id"));
        apply_clock(boot);
        agent_image_set(json_object_get(boot->config, "image"));
        return agent_mount_disks(boot->config, err);
}

/* What makes no guest useless: told, and on. */
static void apply_rest(const json_t *config)
{
        const char *hostname = json_text(config, "hostname");
        struct err err = { 0 };

        if (hostname[0] != '\0' && sethostname(hostname, strlen(hostname)) < 0)
                agent_say("set the host name: %s", strerror(errno));
        if (agent_apply_network(config, &err) < 0)
                agent_say("%s", err.message);
        agent_apply_files("", config);
}

static int bring_up(struct boot *boot, struct err *err)
{
        pid_t rest;
        int r;

        agent_load_modules(MODULES, "call");
        r = call_host(boot, err);
        if (r == 0)
                r = greet_host(boot, err);
        if (r < 0)
                return r;
        rest = load_rest();
        r = mount_all_disks(boot, err);
        if (rest > 0)
                (void) waitpid(rest, NULL, 0);
        agent_open_modules(MODULES, "later", &boot->later);
        if (r == 0)
                r = agent_switch_root(err);
        if (r < 0)
                return r;
        agent_settle_disks(boot->config);
        boot->listener = agent_listen();
        if (boot->listener < 0) {
                errno = -boot->listener;
                return err_errno(err, OP_BOOT, "listen on vsock port %u", GUEST_AGENT_PORT);
        }
        return 0;
}

/* The host hears the reason, the console shows it, and the VM ends. */
__attribute__((noreturn)) static void give_up(struct boot *boot, const struct err *err)
{
        agent_say("%s", err->message);
        if (boot->host >= 0) {
                json_t *json = json_pack("{s:i, s:s}", "code", err->code, "message", err->message);
                scoped_free char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
                char waste[16];

                if (text && guest_frame_send(boot->host, GUEST_FRAME_ERROR, text, strlen(text),
                                             clock_monotonic_ms() + 1000) == 0)
                        (void) fd_read_until(boot->host, waste, sizeof(waste), clock_monotonic_ms() + 1000);
        }
        sync();
        (void) reboot(RB_AUTOBOOT);
        _exit(1);
}

/*
 * fork(2), but the child begins in the agent's group: moving it there later waits for all processors to have noticed, 20 ms
 * of an emulated boot. A process made by a bare clone3(2) does not know its own thread id in the C library, so it forks once
 * more. Where there is no such group, the child is where its parent is.
 */
static pid_t fork_into_group(void)
{
        struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
        scoped_close int group = FD_NONE;
        long pid;

        (void) mkdir(CGROUP, 0755);
        group = open(CGROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        args.cgroup = (__u64) group;
        pid = group < 0 ? -1 : syscall(SYS_clone3, &args, sizeof(args));
        if (pid > 0)
                return (pid_t) pid;
        if (pid < 0)
                return fork();
        pid = fork();
        if (pid != 0)
                _exit(pid < 0);
        return 0;
}

/*
 * The child that stays when init takes over. A name beginning with '@' makes systemd spare it at shutdown until the disks are
 * released (systemd.io, "Storage Daemons for the Root File System"); a control group of its own keeps it out of
 * init.scope, into which systemd moves what it finds in the root group.
 */
static void start_agent(struct boot *boot)
{
        pid_t pid = fork_into_group();

        if (pid < 0)
                agent_say("start the agent: %s", strerror(errno));
        if (pid != 0)
                return;
        agent_hold_join();
        agent_modules_done(&boot->later);
        (void) setsid();
        boot->argv[0][0] = '@';
        (void) prctl(PR_SET_NAME, "banger-agent");
        agent_pool_run(boot->listener);
}

/* Busybox as init of an image that brings nothing for it to start respawns missing programs for ever. */
static bool is_idle_busybox(const char *path)
{
        scoped_free char *real = realpath(path, NULL);

        return real && text_ends_with(real, "/busybox") && access("/sbin/openrc", X_OK) < 0 &&
               access("/etc/init.d/rcS", X_OK) < 0;
}

/* The image's own init; NULL: it has none. */
static const char *find_init(void)
{
        static const char *const candidates[] = { "/sbin/init",
                                                  "/usr/lib/systemd/systemd",
                                                  "/lib/systemd/systemd",
                                                  "/usr/sbin/init",
                                                  "/bin/init",
                                                  "/init" };

        for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++)
                if (access(candidates[i], X_OK) == 0 && !is_idle_busybox(candidates[i]))
                        return candidates[i];
        return NULL;
}

static void exec_init(const char *init, char **argv)
{
        static const char *const env[] = { "HOME=/", "TERM=linux", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                           NULL };

        argv[0] = (char *) (uintptr_t) init;
        (void) execve(init, argv, (char *const *) (uintptr_t) env);
        agent_say("execute %s: %s", init, strerror(errno));
}

/*
 * The listener is there: a command that the host sends now waits in its backlog until the agent is started, which is
 * after all that a command could miss. So the host's way to that command overlaps with the rest of ours.
 */
static void tell_ready(struct boot *boot)
{
        int r = guest_frame_send(boot->host, GUEST_FRAME_READY, NULL, 0, clock_monotonic_ms() + TALK_MS);

        if (r < 0)
                agent_say("tell the host that the guest is ready: %s", strerror(-r));
        close_at_scope_end(&boot->host);
        boot->host = FD_NONE;
}

/*
 * On one processor, what services need later gives way to the first command, but is not starved by it: at 10 it has a tenth of
 * what a command gets (sched(7)), so that the 30 ms of it take 0.3 s beside one that computes.
 */
#define NICE_TO_COMMANDS 10

static void set_nice(int nice)
{
        (void) setpriority(PRIO_PROCESS, 0, nice);
}

/*
 * Drivers and mounts wait for RCU's grace periods, some dozen of them, each a few ticks of the clock: 0.09 s of an emulated boot
 * of 0.37 s. Expedited ones cost interrupts, which nobody feels yet (docs.kernel.org/RCU/checklist.html).
 */
static void expedite_grace_periods(bool on)
{
        scoped_close int fd = open("/sys/kernel/rcu_expedited", O_WRONLY | O_CLOEXEC);

        if (fd >= 0) /* a kernel without it boots all the same */
                (void) !write(fd, on ? "1" : "0", 1);
}

void agent_init(char **argv)
{
        struct boot boot = { .argv = argv, .host = FD_NONE, .listener = FD_NONE };
        struct err err = { 0 };
        const char *init;

        agent_mount_kernel();
        open_console();
        expedite_grace_periods(true);
        agent_say("version %s", BANGER_VERSION);
        if (bring_up(&boot, &err) < 0)
                give_up(&boot, &err);
        tell_ready(&boot);
        apply_rest(boot.config);
        init = find_init();
        if (init) {
                agent_hold_begin();
                start_agent(&boot);
                agent_hold_wait();
                set_nice(NICE_TO_COMMANDS);
        }
        agent_load_opened(&boot.later);
        agent_modules_done(&boot.later);
        agent_apply_service_files("", boot.config);
        json_decref(boot.config);
        expedite_grace_periods(false);
        if (init) {
                set_nice(0);
                exec_init(init, argv);
        }
        agent_stay_init(boot.listener);
}
