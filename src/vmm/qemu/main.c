/*
 * banger-qemu: Firecracker's HTTP API in front of QEMU's -M microvm.
 *
 * One thread, one poll loop over: the API's sockets (api_server), QEMU's QMP socket, console, standard error and end
 * (vm_machine), the vsock device's epoll descriptor, and signals. A request is decoded by tables (vmm/contract), checked
 * and kept (vm_config), and on InstanceStart becomes an argument vector (qemu_command) for one QEMU process, which gets
 * every file as an open descriptor and dies with this process. Then this process confines itself (vm_confine).
 *
 * It ends when the guest does. It never unlinks its sockets, as Firecracker does not; it never leaves QEMU behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/json.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/spawn.h"
#include "base/text.h"
#include "vmm/qemu/api_server.h"
#include "vmm/qemu/config_file.h"
#include "vmm/qemu/host_tsc.h"
#include "vmm/qemu/vm_confine.h"
#include "vmm/qemu/vm_log.h"
#include "vmm/qemu/vm_options.h"

/* Firecracker's exit codes. */
#define EXIT_BAD_CONFIGURATION 152
#define EXIT_BAD_ARGUMENTS     153

#define METRICS_INTERVAL_MS 60000

static void print_version(const char *qemu)
{
        const char *argv[] = { qemu, "--version", NULL };
        scoped_free char *output = NULL;
        struct err err = { 0 };
        const char *version = NULL;

        if (spawn_run(argv, 5000, 64 * KIB, &output, NULL, &err) == 0 && output)
                version = strstr(output, "version ");
        version = version ? version + strlen("version ") : "not found";
        /* clients look for this first line */
        (void) printf("Firecracker v%s\n", VMM_API_VERSION);
        (void) printf("banger-qemu %s (QEMU %.*s)\n", BANGER_VERSION, (int) strcspn(version, " \n"), version);
}

/* SIGTERM and SIGINT arrive as reads, so that QEMU is ended and waited for before we are. */
static int open_signals(void)
{
        sigset_t set;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGHUP);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Every vsock connection is a descriptor. */
static void raise_descriptor_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
                (void) setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static int load_metadata(struct vm_instance *instance, const char *path, struct err *err)
{
        json_auto_t *data = NULL;
        int r = json_read_file(path, instance->mmds.limit, &data, err);

        return r < 0 ? r : vm_mmds_put(&instance->mmds, data, err);
}

static int set_up_output(struct vm_instance *instance, const struct vm_options *o, struct err *err)
{
        int r;

        vm_log_init(o->id);
        vm_log_set((enum vmm_log_level) o->log_level, o->show_level, o->show_log_origin);
        r = o->log_path ? vm_log_open(o->log_path, err) : 0;
        if (r == 0 && o->metrics_path) {
                r = vm_open(o->metrics_path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK,
                            "Failed to initialize metrics", &instance->metrics_fd, err);
                vm_instance_flush_metrics(instance);
        }
        return r;
}

static int set_up(struct vm_instance *instance, const struct vm_options *o, struct err *err)
{
        int r = set_up_output(instance, o, err);

        instance->qemu = o->qemu;
        instance->accel = o->accel;
        instance->confine = !o->no_seccomp;
        instance->mmds.limit = o->mmds_max;
        for (size_t i = 0; r == 0 && i < o->n_taps; i++)
                r = vm_config_add_tap(&instance->config, o->taps[i], err);
        if (r == 0 && o->metadata)
                r = load_metadata(instance, o->metadata, err);
        return r;
}

struct loop {
        struct vm_instance *instance;
        struct api_server *server; /* NULL with --no-api */
        int signals;
        int caught; /* the signal that ended it */
};

static int loop_timeout(const struct loop *loop)
{
        int timeout = loop->server ? api_server_timeout_ms(loop->server) : -1;

        if (loop->instance->metrics_fd >= 0 && (timeout < 0 || timeout > METRICS_INTERVAL_MS))
                timeout = METRICS_INTERVAL_MS;
        return timeout;
}

/* One round: wait, then serve what is ready. */
static void loop_once(struct loop *loop)
{
        struct pollfd polled[2 + VM_MACHINE_POLL_MAX] = {
                {.fd = loop->signals,                                         .events = POLLIN},
                { .fd = loop->server ? api_server_fd(loop->server) : FD_NONE, .events = POLLIN},
        };
        struct vm_machine *machine = loop->instance->machine;
        size_t n = machine ? vm_machine_poll(machine, &polled[2]) : 0;
        int timeout = loop_timeout(loop), ready = poll(polled, 2 + n, timeout);

        if (ready < 0)
                return;
        if (ready == 0 && timeout == METRICS_INTERVAL_MS)
                vm_instance_flush_metrics(loop->instance);
        if (machine && ready > 0)
                vm_machine_run(machine, &polled[2], n);
        if (polled[0].revents) {
                struct signalfd_siginfo info;

                if (read(loop->signals, &info, sizeof(info)) == sizeof(info))
                        loop->caught = (int) info.ssi_signo;
        }
        if (loop->server && (polled[1].revents || ready == 0))
                api_server_run(loop->server);
}

static int run_loop(struct loop *loop)
{
        struct vm_instance *instance = loop->instance;

        while (loop->caught == 0 && !(instance->machine && vm_machine_has_ended(instance->machine)))
                loop_once(loop);
        vm_instance_flush_metrics(instance);
        return loop->caught ? 0 : vm_machine_exit_code(instance->machine);
}

/* Dies of the signal as Firecracker would, once nothing is left to end. */
static void die_of(int caught)
{
        sigset_t set;

        (void) signal(caught, SIG_DFL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, caught);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        (void) raise(caught);
}

static int serve(struct vm_instance *instance, const struct vm_options *o, int *ret_caught)
{
        struct loop loop = { .instance = instance, .signals = open_signals() };
        struct err err = { 0 };
        int r = 0;

        /* the path of the socket must be free before anything is started */
        if (!o->no_api)
                r = api_server_new(o->api_sock, instance, o->payload_max, &loop.server, &err);
        if (r == 0 && !o->no_api)
                vm_log_info("API server started.");
        if (r < 0) {
                vm_log_error("%s", err.message);
                (void) fprintf(stderr, "banger-qemu: %s\n", err.message);
                return 1;
        }
        if (o->config_file && config_file_apply(instance, o->config_file, &err) < 0) {
                vm_log_error("Building VMM configured from cmdline json failed: %s", err.message);
                (void) fprintf(stderr, "banger-qemu: %s: %s\n", o->config_file, err.message);
                r = EXIT_BAD_CONFIGURATION;
        } else {
                r = run_loop(&loop);
        }
        api_server_free(loop.server);
        (void) close(loop.signals);
        *ret_caught = loop.caught;
        return r;
}

#ifdef __SANITIZE_ADDRESS__
/* The leak check of an ending process traces it and reads its /proc, which a confined one does not allow. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
        return "detect_leaks=0";
}
#endif

int main(int argc, char **argv)
{
        struct vm_options options;
        struct vm_instance instance;
        struct err err = { 0 };
        int code, caught = 0;

        if (vm_options_parse(argc, argv, &options, &err) < 0) {
                (void) fprintf(stderr, "Arguments parsing error: %s \n\nFor more information try --help.\n",
                               err.message);
                return EXIT_BAD_ARGUMENTS;
        }
        if (options.help || options.version) {
                options.help ? vm_options_print_help(stdout) : print_version(options.qemu);
                return 0;
        }
        vm_confine_early();
        host_tsc_begin();
        raise_descriptor_limit();
        vm_instance_init(&instance, options.id);
        if (set_up(&instance, &options, &err) < 0) {
                (void) fprintf(stderr, "banger-qemu: %s\n", err.message);
                code = EXIT_BAD_CONFIGURATION;
        } else {
                code = serve(&instance, &options, &caught);
        }
        vm_log_info(code == 0 ? "Firecracker exiting successfully. exit_code=%d"
                              : "Firecracker exiting with error. exit_code=%d",
                    code);
        vm_instance_done(&instance);
        if (caught)
                die_of(caught);
        return code;
}
