#include "cli/cli_daemon.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/spawn.h"
#include "base/text.h"

#define READY_TIMEOUT_MS 15000 /* spec 7.8, daemon-ready wait */
#define SUDO_TIMEOUT_MS  2000
#define POLL_MS          10
#define LOG_TAIL_MAX     ((size_t) 64 << 10)

/* Beside the running program, so that a build folder's banger starts its own; else from PATH. Owned by the caller. */
static char *find_program(const char *name)
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash;
        /* next to it, and where a build folder has it */
        static const char *const places[] = { "", "../daemon/", "../privileged/helper/" };

        self[n < 0 ? 0 : n] = '\0';
        slash = strrchr(self, '/');
        if (slash)
                *slash = '\0';
        for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
                scoped_free char *path = xasprintf("%s/%s%s", self, places[i], name);

                if (access(path, X_OK) == 0)
                        return take_ptr(path);
        }
        return xstrdup(name);
}

/*
 * The folder itself: a directory, not a link, the owner's, closed to others. Where root calls it is made and
 * handed over through its descriptor, so that nothing put in its place meanwhile is changed.
 */
static int make_owned(const char *path, const struct layout *layout, struct err *err)
{
        scoped_close int fd = FD_NONE;
        struct stat status;

        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return err_errno(err, "cli.daemon", "make '%s'", path);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0)
                return err_errno(err, "cli.daemon", "open '%s'", path);
        if (geteuid() == 0 && status.st_uid == 0) {
                if (fchown(fd, layout->owner_uid, layout->owner_gid) < 0 || fstat(fd, &status) < 0)
                        return err_errno(err, "cli.daemon", "give '%s' to uid %u", path,
                                         (unsigned) layout->owner_uid);
        }
        if (status.st_uid != layout->owner_uid)
                return err_set(err, EPERM, "cli.daemon", "'%s' belongs to uid %u, not to uid %u; remove it",
                               path, (unsigned) status.st_uid, (unsigned) layout->owner_uid);
        if ((status.st_mode & 077) != 0 && fchmod(fd, 0700) < 0)
                return err_errno(err, "cli.daemon", "close '%s' to others", path);
        return 0;
}

static int make_folders(const struct layout *layout, struct err *err)
{
        const char *const folders[] = { layout->runtime, layout->state, layout->cache };

        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
                scoped_free char *parent =
                        strndup(folders[i], (size_t) (strrchr(folders[i], '/') - folders[i]));
                int r = file_make_folders(parent, 0755, err);

                if (r == 0)
                        r = make_owned(folders[i], layout, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool answers(const char *socket)
{
        scoped_close int fd = fd_unix_connect(socket);

        return fd >= 0;
}

static int open_log(const struct layout *layout, const char *name, struct err *err)
{
        scoped_free char *path = xasprintf("%s/%s.log", layout->runtime, name);
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
                return err_errno(err, "cli.daemon", "open '%s'", path);
        if (geteuid() == 0 && fchown(fd, layout->owner_uid, layout->owner_gid) < 0) {
                int r = err_errno(err, "cli.daemon", "give '%s' away", path);

                (void) close(fd);
                return r;
        }
        return fd;
}

/* Why it ended: the error of the last line of its log, which is JSON; or that line as it is. */
static void add_last_words(const struct layout *layout, const char *name, struct text *ret)
{
        struct err ignored = { 0 };
        scoped_free char *path = xasprintf("%s/%s.log", layout->runtime, name);
        scoped_free char *text = NULL;
        json_auto_t *entry = NULL;
        const char *line;

        if (file_read_end(path, LOG_TAIL_MAX, &text, &ignored) < 0)
                return;
        line = text_last_line(text);
        entry = json_loads(line, 0, NULL);
        text_appendf(ret, ": %.600s", *json_text(entry, "error") ? json_text(entry, "error") : line);
}

static int wait_for(const struct layout *layout, const char *name, const char *socket, int pidfd,
                    struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + READY_TIMEOUT_MS;

        while (!answers(socket)) {
                scoped_text struct text words = { 0 };

                if (clock_left_ms(deadline_ms) == 0)
                        return err_set(err, ETIMEDOUT, "cli.daemon", "%s does not answer on '%s'", name,
                                       socket);
                if (fd_wait(pidfd, POLLIN, POLL_MS) == -ETIMEDOUT)
                        continue;
                if (answers(socket)) /* another banger was faster */
                        return 0;
                add_last_words(layout, name, &words);
                return err_set(err, ECHILD, "cli.daemon", "%s ended at once%s", name, words.s ? words.s : "");
        }
        return 0;
}

static int start_one(const struct layout *layout, const char *name, const char *const *argv,
                     const char *socket, bool as_owner, struct err *err)
{
        scoped_close int log = open_log(layout, name, err), pidfd = FD_NONE;
        pid_t pid;
        int r;

        if (log < 0)
                return log;
        r = spawn_start(&(struct spawn){ .argv = argv,
                                         .folder = "/",
                                         .stdin_fd = FD_NONE,
                                         .stdout_fd = FD_NONE,
                                         .stderr_fd = log,
                                         .new_session = true,
                                         .drop_to = as_owner && geteuid() == 0,
                                         .uid = layout->owner_uid,
                                         .gid = layout->owner_gid },
                        &pid, &pidfd, err);
        if (r < 0)
                return r;
        r = wait_for(layout, name, socket, pidfd, err);
        if (r == 0)
                (void) fprintf(stderr, "started %s\n", name);
        return r;
}

static int start_helper(const struct layout *layout, struct err *err)
{
        scoped_free char *uid = xasprintf("%u", (unsigned) layout->owner_uid);
        scoped_free char *gid = xasprintf("%u", (unsigned) layout->owner_gid);
        scoped_free char *program = find_program("bangerd-root");
        const char *const argv[] = { program,
                                     "--owner-uid",
                                     uid,
                                     "--owner-gid",
                                     gid,
                                     "--state-dir",
                                     layout->state,
                                     "--runtime-dir",
                                     layout->runtime,
                                     "--socket",
                                     layout->helper_socket,
                                     NULL };

        if (answers(layout->helper_socket))
                return 0;
        return start_one(layout, "bangerd-root", argv, layout->helper_socket, false, err);
}

static int start_helper_by_sudo(const struct layout *layout, struct err *err)
{
        scoped_free char *program = find_program("bangerd-root");
        struct err failure = { 0 };
        const char *const probe[] = { "sudo", "-n", "true", NULL };
        scoped_free char *uid = xasprintf("--owner-uid=%u", (unsigned) layout->owner_uid);
        scoped_free char *gid = xasprintf("--owner-gid=%u", (unsigned) layout->owner_gid);
        scoped_free char *state = xasprintf("--state-dir=%s", layout->state);
        scoped_free char *runtime = xasprintf("--runtime-dir=%s", layout->runtime);
        scoped_free char *socket = xasprintf("--socket=%s", layout->helper_socket);
        const char *const argv[] = { "sudo", "-n", program, uid, gid, state, runtime, socket, NULL };

        if (spawn_run(probe, SUDO_TIMEOUT_MS, 4096, NULL, NULL, &failure) == 0) {
                failure = (struct err){ 0 };
                if (start_one(layout, "bangerd-root", argv, layout->helper_socket, true, &failure) == 0)
                        return 0;
        }
        return err_set(err, ENOTCONN, "cli.daemon",
                       "machines need the root helper, which does not run, and sudo does not start it "
                       "without asking; "
                       "as root, run: setsid %s %s %s %s %s %s &",
                       program, uid, gid, state, runtime, socket);
}

int daemon_need_helper(const struct layout *layout, struct err *err)
{
        if (answers(layout->helper_socket))
                return 0;
        if (layout->is_installed)
                return err_set(err, ENOTCONN, "cli.daemon",
                               "the root helper does not answer on '%s'; start it with: sudo systemctl start "
                               "bangerd-root",
                               layout->helper_socket);
        return geteuid() == 0 ? start_helper(layout, err) : start_helper_by_sudo(layout, err);
}

int daemon_start(const struct layout *layout, struct err *err)
{
        scoped_free char *program = find_program("bangerd");
        const char *const argv[] = { program, layout->is_system ? "--system" : NULL, NULL };
        int r;

        if (layout->is_installed)
                return err_set(err, EAGAIN, "cli.daemon",
                               "bangerd does not answer on '%s'; start it with: sudo systemctl start bangerd",
                               layout->daemon_socket);
        r = make_folders(layout, err);
        if (r == 0 && geteuid() == 0)
                r = start_helper(layout, err);
        if (r < 0)
                return r;
        return start_one(layout, "bangerd", argv, layout->daemon_socket, true, err);
}
