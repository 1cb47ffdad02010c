#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/size.h"
#include "base/spawn.h"
#include "base/text.h"
#include "base/version.h"
#include "daemon/daemon.h"
#include "daemon/daemon_bridge.h"
#include "daemon/daemon_guest.h"
#include "daemon/daemon_helper.h"
#include "daemon/daemon_inquiry.h"
#include "daemon/daemon_job.h"
#include "daemon/daemon_operation.h"
#include "daemon/daemon_process.h"
#include "daemon/daemon_pulse.h"
#include "daemon/daemon_session.h"
#include "daemon/daemon_tap_pool.h"
#include "daemon/daemon_watch.h"
#include "daemon/job.h"
#include "image/image_store.h"
#include "kernel/kernel_store.h"

#define LISTEN_BACKLOG 128

/* What this program does as a job; what reads foreign archives is bangerd-import's. */
static const struct rpc_binding job_bindings[] = {
        {&job_vm_create,    job_vm_create_run  },
        { &job_vm_start,    job_vm_start_run   },
        { &job_vm_stop,     job_vm_stop_run    },
        { &job_vm_adjust,   job_vm_adjust_run  },
        { &job_vm_clean,    job_vm_clean_run   },
        { &job_vm_pause,    job_vm_pause_run   },
        { &job_vm_resume,   job_vm_resume_run  },
        { &job_usage,       job_usage_run      },
        { &job_cache_prune, job_cache_prune_run},
        { &job_doctor,      job_doctor_run     },
        { NULL,             NULL               },
};

struct options {
        bool is_system, check_migrations;
        int job_sock; /* FD_NONE: not a job */
};

static int usage(FILE *out, int status)
{
        (void) fputs(
                "Usage: bangerd [--system] [--check-migrations] [--version] [--help]\n"
                "\n"
                "The daemon of banger; it is started by 'banger' or by systemd and never runs as root.\n"
                "\n"
                "  --system            use the system folders (/var/lib/banger ...) and not the caller's "
                "own\n"
                "  --check-migrations  tell whether this program fits the database; status 0 compatible,\n"
                "                      1 migrations needed, 2 incompatible\n"
                "  --version           print the version\n",
                out);
        return status;
}

/* 0 or the exit status plus one. */
static int parse(int argc, char **argv, struct options *options)
{
        for (int i = 1; i < argc; i++) {
                uint64_t fd;

                if (strcmp(argv[i], "--version") == 0) {
                        scoped_free char *line = version_line("bangerd");

                        (void) puts(line);
                        return 1;
                }
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
                        return usage(stdout, 0) + 1;
                if (strcmp(argv[i], "--system") == 0) {
                        options->is_system = true;
                } else if (strcmp(argv[i], "--check-migrations") == 0) {
                        options->check_migrations = true;
                } else if (strcmp(argv[i], "--job") == 0 && i + 1 < argc &&
                           text_parse_u64(argv[i + 1], INT_MAX, &fd) ==
                                   0) { /* internal: a job of a running daemon */
                        options->job_sock = (int) fd;
                        i++;
                } else {
                        (void) fprintf(stderr, "bangerd: unknown option '%s'\n", argv[i]);
                        return usage(stderr, 2) + 1;
                }
        }
        return 0;
}

static int check_migrations(const struct layout *layout)
{
        scoped_free char *path = layout_join(layout->state, "banger.db", NULL);
        scoped_free char *line = NULL;
        enum store_schema schema = STORE_INCOMPATIBLE;
        struct err err = { 0 };

        if (store_inspect(path, &schema, &line, &err) < 0) {
                (void) fprintf(stderr, "bangerd: %s\n", err.message);
                return 2;
        }
        (void) printf("%s\n", line);
        return schema == STORE_COMPATIBLE ? 0 : schema == STORE_MIGRATIONS_NEEDED ? 1 : 2;
}

/* A folder of ours: made when missing, and then a real folder of our uid that others cannot write to. */
static int own_folder(const char *path, struct err *err)
{
        struct stat st;
        int r = file_make_folders(path, 0700, err);

        if (r < 0)
                return r;
        if (lstat(path, &st) < 0)
                return err_errno(err, "daemon.start", "look at '%s'", path);
        if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
                return err_set(err, EPERM, "daemon.start",
                               "'%s' must be a folder of uid %u that nobody else can write to", path,
                               (unsigned) geteuid());
        return 0;
}

static int make_folders(const struct daemon *daemon, struct err *err)
{
        const char *const folders[] = { daemon->layout.state,  daemon->layout.cache,   daemon->layout.runtime,
                                        daemon->images_folder, daemon->kernels_folder, daemon->vms_folder,
                                        daemon->runtime_vms };

        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
                int r = own_folder(folders[i], err);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* One daemon an owner: the lock is held until the process ends. */
static int take_instance_lock(const struct daemon *daemon, struct err *err)
{
        scoped_free char *path = layout_join(daemon->layout.runtime, "bangerd.lock", NULL);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0)
                return err_errno(err, "daemon.start", "open '%s'", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                (void) close(fd);
                return err_set(err, EBUSY, "daemon.start",
                               "another bangerd of this owner is running ('%s' is locked)", path);
        }
        return 0; /* left open on purpose */
}

static int find_programs(struct daemon *daemon, struct err *err)
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        scoped_free char *folder = NULL;

        if (n < 0)
                return err_errno(err, "daemon.start", "find this program");
        self[n] = '\0';
        daemon->program = xstrdup(self);
        folder = xstrdup(dirname(self));
        daemon->qemu_vmm_path = layout_join(folder, "banger-qemu", NULL);
        daemon->import_program = layout_join(folder, "bangerd-import", NULL);
        for (size_t i = 0; i < 2; i++) {
                free(daemon->agent_path);
                daemon->agent_path = i == 0 ? xasprintf("%s/banger-vsock-agent", folder)
                                            : xasprintf("%s/../lib/banger/banger-vsock-agent", folder);
                if (!file_is_missing(daemon->agent_path))
                        return 0;
        }
        return err_set(err, ENOENT, "daemon.start",
                       "no banger-vsock-agent beside '%s' or in ../lib/banger; install it again",
                       daemon->program);
}

/* The key people log in with, made once (spec 13). Without ssh-keygen VMs work all the same, through the agent. */
static void provide_ssh_key(struct daemon *daemon)
{
        scoped_free char *folder = layout_join(daemon->layout.state, "ssh", NULL);
        scoped_free char *public_path = NULL, *text = NULL;
        struct err err = { 0 };

        daemon->ssh_key_path = daemon->config.ssh_key_path ? xstrdup(daemon->config.ssh_key_path)
                                                           : layout_join(folder, "id_ed25519", NULL);
        daemon->known_hosts = layout_join(folder, "known_hosts", NULL);
        daemon->ssh_public_key = xstrdup("");
        public_path = xasprintf("%s.pub", daemon->ssh_key_path);
        if (own_folder(folder, &err) == 0 && !daemon->config.ssh_key_path && file_is_missing(public_path)) {
                const char *const argv[] = { "ssh-keygen", "-q", "-t",     "ed25519", "-N",
                                             "",           "-C", "banger", "-f",      daemon->ssh_key_path,
                                             NULL };

                (void) spawn_run(argv, 10000, 65536, NULL, NULL, &err);
        }
        if (err.code == 0 && file_read(public_path, 16384, &text, NULL, &err) == 0) {
                text[strcspn(text, "\n")] = '\0';
                free(daemon->ssh_public_key);
                daemon->ssh_public_key = take_ptr(text);
        }
        if (err.code != 0)
                log_warn("no ssh key; 'banger vm ssh' uses the agent's shell", "{s:s}", "error", err.message);
}

/* Catalogs of the user's, beside config.toml: what is wrong with one is told, and the daemon goes on without it. */
static void add_catalog(const struct daemon *daemon)
{
        scoped_free char *copy = xstrdup(daemon->layout.config);
        const char *folder = dirname(copy);
        scoped_free char *images = layout_join(folder, "images.json", NULL);
        scoped_free char *kernels = layout_join(folder, "kernels.json", NULL);
        struct err err = { 0 };

        if (image_catalog_add(images, &err) < 0)
                log_warn("the catalog is not used", "{s:s}", "error", err.message);
        err = (struct err){ 0 };
        if (kernel_catalog_add(kernels, &err) < 0)
                log_warn("the catalog is not used", "{s:s}", "error", err.message);
}

static int open_state(struct daemon *daemon, struct err *err)
{
        scoped_free char *database = layout_join(daemon->layout.state, "banger.db", NULL);
        int r = daemon_config_read(daemon->layout.config, daemon->layout.owner_home, &daemon->config, err);

        if (r < 0)
                return r;
        log_init("bangerd", daemon->config.log_level);
        daemon->images_folder = layout_join(daemon->layout.state, "images", NULL);
        add_catalog(daemon);
        daemon->images = image_index_new(daemon->images_folder);
        daemon->kernels_folder = layout_join(daemon->layout.state, "kernels", NULL);
        daemon->vms_folder = layout_join(daemon->layout.state, "vms", NULL);
        daemon->runtime_vms = layout_join(daemon->layout.runtime, "vms", NULL);
        r = make_folders(daemon, err);
        if (r == 0)
                r = take_instance_lock(daemon, err);
        if (r == 0)
                r = find_programs(daemon, err);
        if (r < 0)
                return r;
        provide_ssh_key(daemon);
        return store_open(database, &daemon->store, err);
}

static int listen_on_socket(struct daemon *daemon, struct err *err)
{
        int sock, r = file_remove(daemon->layout.daemon_socket, err); /* ours: the instance lock is held */

        if (r < 0)
                return r;
        sock = fd_unix_listen(daemon->layout.daemon_socket, 0600, LISTEN_BACKLOG);
        if (sock < 0)
                return err_set(err, -sock, "daemon.start", "listen on '%s': %s", daemon->layout.daemon_socket,
                               strerror(-sock));
        return daemon_sessions_listen(daemon, sock, err);
}

static int set_up_loop(struct daemon *daemon, struct err *err)
{
        sigset_t ends;
        int r = sd_event_default(&daemon->event);

        (void) sigemptyset(&ends);
        (void) sigaddset(&ends, SIGTERM);
        (void) sigaddset(&ends, SIGINT);
        (void) sigprocmask(SIG_BLOCK, &ends, NULL);
        if (r >= 0)
                r = sd_event_add_signal(daemon->event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(daemon->event, NULL, SIGINT, NULL, NULL);
        return r < 0 ? err_set(err, -r, "daemon.start", "event loop: %s", strerror(-r)) : 0;
}

/* Before the first job is started, which would be company. */
static void claim_cgroups(struct daemon *daemon)
{
        struct err err = { 0 };

        if (cgroup_claim(&daemon->cgroups, &err) < 0)
                log_info("vms run without limits of their cgroups", "{s:s}", "why", err.message);
}

static int start(struct daemon *daemon, struct err *err)
{
        int r = set_up_loop(daemon, err);

        if (r == 0)
                r = open_state(daemon, err);
        if (r == 0)
                claim_cgroups(daemon);
        if (r == 0)
                r = daemon_clock_begin(daemon, err);
        if (r == 0)
                r = daemon_reconcile(daemon, err);
        if (r < 0)
                return r;
        daemon_bridge_watch(daemon);
        daemon_process_prepare_later(daemon);
        return listen_on_socket(daemon, err);
}

static void daemon_done(struct daemon *daemon)
{
        daemon_sessions_done(daemon);
        daemon_jobs_done(daemon);
        daemon_operations_done(daemon);
        daemon_guests_done(daemon);
        daemon_inquiries_done(daemon);
        daemon_pulse_done(daemon);
        daemon_clock_done(daemon);
        daemon_guards_done(daemon);
        daemon_helper_done(daemon);
        daemon_tap_pool_done(daemon);
        store_close(daemon->store);
        image_index_free(daemon->images);
        json_decref(daemon->image_rows);
        sd_event_unref(daemon->event);
        free(daemon->images_folder);
        free(daemon->kernels_folder);
        free(daemon->vms_folder);
        free(daemon->runtime_vms);
        free(daemon->program);
        free(daemon->import_program);
        free(daemon->agent_path);
        free(daemon->qemu_vmm_path);
        free(daemon->ssh_key_path);
        free(daemon->ssh_public_key);
        free(daemon->known_hosts);
        free(daemon->cgroups);
        daemon_config_done(&daemon->config);
        layout_done(&daemon->layout);
}

/* The list of a thousand VMs takes 2 MiB for a moment; giving them back and faulting them in again takes most of its time. */
#define HEAP_KEPT (4 * MIB)

static int run(bool is_system)
{
        struct daemon daemon = { 0 };
        struct err err = { 0 };
        int r = layout_find(is_system, &daemon.layout, &err);

        (void) mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
        (void) mallopt(M_TOP_PAD, MIB);
        (void) mallopt(M_MMAP_THRESHOLD, HEAP_KEPT);
        if (r == 0)
                r = start(&daemon, &err);
        if (r == 0) {
                log_info("ready", "{s:s, s:s, s:i}", "socket", daemon.layout.daemon_socket, "version",
                         BANGER_VERSION, "pid", (int) getpid());
                r = sd_event_loop(daemon.event);
                log_info("ending; running vms stay alive", NULL);
                (void) unlink(daemon.layout.daemon_socket);
        } else {
                log_error("cannot start", "{s:s, s:s}", "error", err.message, "where",
                          err.where ? err.where : "");
        }
        daemon_done(&daemon);
        return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
        struct options options = { .job_sock = FD_NONE };
        struct layout layout;
        struct err err = { 0 };
        int status;

        (void) umask(077); /* S-023: before anything is made */
        (void) signal(SIGPIPE, SIG_IGN);
        log_init("bangerd", LOG_LEVEL_INFO);
        status = parse(argc, argv, &options);
        if (status != 0)
                return status - 1;
        if (options.job_sock >= 0)
                return job_main(options.job_sock, job_bindings);
        if (options.check_migrations) {
                if (layout_find(options.is_system, &layout, &err) < 0) {
                        (void) fprintf(stderr, "bangerd: %s\n", err.message);
                        return 2;
                }
                status = check_migrations(&layout);
                layout_done(&layout);
                return status;
        }
        if (geteuid() == 0) {
                (void) fputs("bangerd: the daemon does not run as root; 'banger' starts it as the owner\n",
                             stderr);
                return 1;
        }
        return run(options.is_system);
}
