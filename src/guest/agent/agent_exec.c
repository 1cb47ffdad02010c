/*
 * Starts the command of an exec request: its folder and its user, its pipes or its terminal, then the program. What comes
 * after that is agent_session.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "guest/agent/agent_command.h"
#include "guest/agent/agent_image.h"
#include "guest/agent/agent_serve.h"
#include "guest/agent/agent_session.h"
#include "guest/agent/agent_spawn.h"
#include "guest/agent/agent_tree.h"
#include "guest/agent/agent_user.h"

#define OP_EXEC      "agent.exec"
#define HOME         "/root"
#define FLUSH_MS     10000
#define STATUS_NONE  127 /* a shell's: command not found */
#define STATUS_NOT_X 126 /* found, but not to be executed */

static void close_fd(int *fd)
{
        if (*fd >= 0)
                (void) close(*fd);
        *fd = FD_NONE;
}

/* Our ends into the session, the command's ends into child. All close-on-exec; ours do not block. */
static int open_streams(struct exec_session *session, const struct guest_request *request, int child[3])
{
        int ends[2], r;

        if (request->terminal) {
                r = agent_open_terminal(request->rows, request->columns, &session->out[0].fd, &child[0]);
                if (r < 0)
                        return r;
                child[1] = child[2] = child[0];
                session->stdin_fd = fcntl(session->out[0].fd, F_DUPFD_CLOEXEC, 3);
                return session->stdin_fd < 0 ? -errno : 0;
        }
        for (int i = 0; i < 3; i++) {
                if (pipe2(ends, O_CLOEXEC) < 0)
                        return -errno;
                child[i] = ends[i == 0 ? 0 : 1];
                *(i == 0 ? &session->stdin_fd : &session->out[i - 1].fd) = ends[i == 0 ? 1 : 0];
                r = fd_set_nonblocking(ends[i == 0 ? 1 : 0], true);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void close_streams(int child[3])
{
        if (child[1] == child[0])
                child[1] = child[2] = FD_NONE;
        for (int i = 0; i < 3; i++)
                close_fd(&child[i]);
}

/* What a shell would say and return for a command that cannot be started. */
static int report_missing(int fd, const char *name, int error)
{
        uint8_t exit[2] = { 0, error == ENOENT ? STATUS_NONE : STATUS_NOT_X };
        uint64_t deadline_ms = clock_monotonic_ms() + FLUSH_MS;
        char message[512];
        int n, r;

        n = snprintf(message, sizeof(message), "banger: %.300s: %s\n", name,
                     error == ENOENT && !strchr(name, '/') ? "command not found" : strerror(error));
        r = guest_frame_send(fd, GUEST_FRAME_STDERR, message, (size_t) n, deadline_ms);
        return r < 0 ? r : guest_frame_send(fd, GUEST_FRAME_EXIT, exit, sizeof(exit), deadline_ms);
}

/* The command may open its own streams again by name (/dev/stdout), which asks for its rights. */
static void give_streams(const struct agent_user *user, bool terminal, const int child[3])
{
        for (int i = 0; user && i < (terminal ? 1 : 3); i++)
                (void) fchown(child[i], user->uid, terminal ? (gid_t) -1 : user->gid);
}

static int start_command(struct exec_session *session, struct agent_command *command,
                         const struct agent_user *user, const int child[3])
{
        struct agent_spawn spawn = {
                .file = command->file,
                .argv = command->argv,
                .env = command->env,
                .fds = {child[0], child[1], child[2]},
                .terminal = session->terminal,
                .fixed_layout = agent_is_emulated(),
                .user = user,
        };
        pid_t pid = agent_spawn(&spawn);

        if (pid == -ENOEXEC) {
                agent_command_as_script(command);
                spawn.file = command->file;
                spawn.argv = command->argv;
                pid = agent_spawn(&spawn);
        }
        if (pid < 0)
                return pid;
        session->pid = pid;
        session->pidfd = fd_pidfd_open(pid);
        return session->pidfd < 0 ? session->pidfd : 0;
}

/* With the user's rights, as the command will have to look for itself; fsuid(2) drops root's with them (capabilities(7)). */
static int enter_as(const struct agent_user *user, const char *folder)
{
        int r;

        if (!user)
                return chdir(folder) < 0 ? -errno : 0;
        if (setgroups(user->n_groups, user->groups) < 0)
                return -errno;
        (void) setfsgid(user->gid);
        (void) setfsuid(user->uid);
        r = chdir(folder) < 0 ? -errno : 0;
        (void) setfsuid(0);
        (void) setfsgid(0);
        return r;
}

static int enter_folder(const struct agent_user *user, const char *folder, struct err *err)
{
        const char *home = user ? user->home : HOME;
        int r = enter_as(user, folder ? folder : home);

        if (r < 0 && !folder)
                r = enter_as(user, "/");
        if (r == 0)
                return 0;
        errno = -r;
        if (user)
                return err_errno(err, OP_EXEC, "enter the folder '%s' as user %s", folder ? folder : "/",
                                 user->name);
        return err_errno(err, OP_EXEC, "enter the folder '%s'", folder ? folder : "/");
}

/* Streams and process. 1: it could not be started, which the host was told as a shell would. */
static int start_session(struct exec_session *session, const struct guest_request *request,
                         struct agent_command *command, const struct agent_user *user, struct err *err)
{
        int child[3] = { FD_NONE, FD_NONE, FD_NONE };
        int r = request->timeout_ms > 0 ? agent_tree_adopt() : 0;

        if (command->login.env)
                (void) umask(command->login.mask); /* this process serves nothing else */
        if (r == 0)
                r = open_streams(session, request, child);
        if (r == 0) {
                give_streams(user, request->terminal, child);
                r = start_command(session, command, user, child);
        }
        close_streams(child);
        if (r == 0)
                return 0;
        if (r == -ENOENT || r == -EACCES || r == -ENOEXEC || r == -EISDIR) {
                /* an interpreter that is missing, for one */
                (void) report_missing(session->channel.fd, command->argv[0], -r);
                return 1;
        }
        errno = -r;
        return err_errno(err, OP_EXEC, "start '%s'", command->argv[0]);
}

int agent_exec(int fd, const struct guest_request *asked, void (*on_started)(void *), void *context,
               struct err *err)
{
        scoped(agent_image_request_done) struct agent_image_request filled = { 0 };
        const struct guest_request *request = &filled.request;
        scoped(exec_session_done) struct exec_session session;
        scoped(agent_command_done) struct agent_command command = { 0 };
        scoped(agent_user_done) struct agent_user user = { 0 };
        int r = agent_image_fill(asked, &filled, err);

        exec_session_init(&session, request->terminal);
        if (r == 0 && request->user)
                r = agent_user_find(request->user, "/etc", &user, err);
        if (r == 0)
                r = enter_folder(request->user ? &user : NULL, request->path, err);
        if (r < 0)
                return r;
        agent_command_init(&command, request, request->user ? &user : NULL);
        if (!command.file && !request->argv)
                return err_set(err, ENOENT, OP_EXEC,
                               "this guest has no shell; run a program that it has: banger vm exec <vm> -- "
                               "/program");
        if (!command.file) {
                (void) report_missing(fd, request->argv[0], command.error);
                return 0;
        }
        guest_channel_init(&session.channel, fd);
        r = start_session(&session, request, &command, request->user ? &user : NULL, err);
        if (r != 0)
                return r < 0 ? r : 0;
        if (on_started)
                on_started(context);
        (void) exec_session_run(&session, request->timeout_ms); /* its failure: nobody is there to be told */
        return 0;
}
