/*
 * One command: its pipes or its terminal on one side, the host's connection on the other, one poll loop between them.
 * When the command has ended, what it had written by then is still delivered; a descendant that keeps an output open
 * does not keep the host waiting. When the host vanishes, the command gets SIGHUP, as from a lost terminal.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/agent_command.h"
#include "guest/agent/agent_serve.h"
#include "guest/agent/agent_spawn.h"
#include "guest/contract/guest_channel.h"

#define OP_EXEC      "agent.exec"
#define HOME         "/root"
#define QUIET_MS     30 /* a terminal whose session ended is done when silent for this long */
#define CONTROL_D    0x04
#define FLUSH_MS     10000
#define STATUS_NONE  127 /* a shell's: command not found */
#define STATUS_NOT_X 126 /* found, but not to be executed */

struct exec_output {
        int fd; /* owned; FD_NONE: ended */
        uint32_t credit;
        uint64_t left; /* after the command's end: what it left in the pipe */
};

struct exec_session {
        struct guest_channel channel;
        bool terminal;
        pid_t pid;
        int pidfd;      /* owned; FD_NONE once the command has ended */
        int stdin_fd;   /* owned; FD_NONE: closed */
        uint8_t *input; /* owned: sent by the host and not yet taken by the command, at most GUEST_WINDOW */
        size_t input_start, input_end;
        bool input_ended;
        uint32_t owed; /* taken by the command, but not yet credited to the host */
        struct exec_output out[2];
        bool exited;
        int wait_status;
};

static void close_fd(int *fd)
{
        if (*fd >= 0)
                (void) close(*fd);
        *fd = FD_NONE;
}

static void exec_session_done(struct exec_session *session)
{
        guest_channel_done(&session->channel);
        close_fd(&session->pidfd);
        close_fd(&session->stdin_fd);
        close_fd(&session->out[0].fd);
        close_fd(&session->out[1].fd);
        free(session->input);
}

static inline void exec_session_done_at_scope_end(struct exec_session *session)
{
        exec_session_done(session);
}

/* To the command's process group, or to what is in front on its terminal. */
static void signal_command(const struct exec_session *session, int number)
{
        pid_t group =
                session->terminal && session->stdin_fd >= 0 ? tcgetpgrp(session->stdin_fd) : session->pid;

        if (session->exited)
                return;
        (void) kill(group > 1 ? -group : -session->pid, number);
}

static void hang_up(const struct exec_session *session)
{
        signal_command(session, SIGHUP);
        signal_command(session, SIGCONT);
        /* Behind a job in front is the shell that started it. */
        if (session->terminal && !session->exited)
                (void) kill(-session->pid, SIGHUP);
}

static void input_drop(struct exec_session *session)
{
        uint8_t stream = GUEST_STREAM_STDIN;

        session->input_start = session->input_end = 0;
        close_fd(&session->stdin_fd);
        guest_channel_queue(&session->channel, GUEST_FRAME_CLOSE, &stream, 1);
}

/* Everything was handed over and no more comes: a pipe is closed, a terminal gets its end-of-file character. */
static void input_end(struct exec_session *session)
{
        const char eof = CONTROL_D;

        if (!session->terminal)
                close_fd(&session->stdin_fd);
        else if (session->stdin_fd >= 0 && write(session->stdin_fd, &eof, 1) < 0)
                return; /* full; asked again when it is writable */
        session->input_ended = false;
}

static void input_write(struct exec_session *session)
{
        size_t n = session->input_end - session->input_start;
        ssize_t put = n > 0 ? write(session->stdin_fd, session->input + session->input_start, n) : 0;

        if (put < 0 && errno != EAGAIN && errno != EINTR) {
                input_drop(session);
                return;
        }
        if (put > 0) {
                session->input_start += (size_t) put;
                session->owed += (uint32_t) put;
        }
        if (session->input_start == session->input_end) {
                session->input_start = session->input_end = 0;
                if (session->input_ended)
                        input_end(session);
        }
        if (session->owed >= GUEST_WINDOW / 2) {
                guest_channel_queue_credit(&session->channel, GUEST_STREAM_STDIN, session->owed);
                session->owed = 0;
        }
}

static int take_input(struct exec_session *session, const struct guest_frame *frame)
{
        size_t n = session->input_end - session->input_start;

        if (session->stdin_fd < 0)
                return 0; /* the host has been told, or will see the end */
        if (n + session->owed + frame->n > GUEST_WINDOW || session->input_ended)
                return -EBADMSG;
        if (session->input_end + frame->n > GUEST_WINDOW) {
                memmove(session->input, session->input + session->input_start, n);
                session->input_start = 0;
                session->input_end = n;
        }
        if (frame->n > 0) {
                if (!session->input)
                        session->input = xmalloc(GUEST_WINDOW);
                memcpy(session->input + session->input_end, frame->body, frame->n);
        }
        session->input_end += frame->n;
        session->input_ended = frame->n == 0;
        input_write(session);
        return 0;
}

/* The output a frame speaks of; NULL when it is none. */
static struct exec_output *output_of(struct exec_session *session, uint8_t stream)
{
        if (stream == GUEST_STREAM_STDOUT)
                return &session->out[0];
        return stream == GUEST_STREAM_STDERR ? &session->out[1] : NULL;
}

static int take_credit(struct exec_session *session, const struct guest_frame *frame)
{
        struct exec_output *output = output_of(session, frame->body[0]);
        uint32_t more = guest_get_u32(frame->body + 1);

        if (!output || more > GUEST_WINDOW - output->credit)
                return -EBADMSG;
        output->credit += more;
        return 0;
}

/* The reader on the host has gone: the command's next write gets SIGPIPE; a terminal is lost as a whole. */
static int take_close(struct exec_session *session, const struct guest_frame *frame)
{
        struct exec_output *output = output_of(session, frame->body[0]);

        if (!output)
                return -EBADMSG;
        close_fd(&output->fd);
        if (session->terminal)
                hang_up(session);
        return 0;
}

static int take_frame(struct exec_session *session, const struct guest_frame *frame)
{
        if (frame->type == GUEST_FRAME_STDIN)
                return take_input(session, frame);
        if (frame->type == GUEST_FRAME_CREDIT)
                return take_credit(session, frame);
        if (frame->type == GUEST_FRAME_CLOSE)
                return take_close(session, frame);
        if (frame->type == GUEST_FRAME_RESIZE) {
                if (session->terminal && session->stdin_fd >= 0)
                        (void) agent_resize_terminal(session->stdin_fd, guest_get_u16(frame->body),
                                                     guest_get_u16(frame->body + 2));
                return 0;
        }
        if (frame->type != GUEST_FRAME_SIGNAL || frame->body[0] == 0 || frame->body[0] > SIGRTMAX)
                return -EBADMSG;
        signal_command(session, frame->body[0]);
        return 0;
}

static int take_frames(struct exec_session *session)
{
        struct guest_frame frame;
        int r = guest_channel_read(&session->channel);

        if (r == -EAGAIN)
                return 0;
        while (r == 0 && (r = guest_channel_next(&session->channel, &frame)) == 1)
                r = take_frame(session, &frame);
        return r;
}

static void output_read(struct exec_session *session, struct exec_output *output)
{
        uint8_t buffer[GUEST_DATA_MAX];
        size_t n = output->credit < sizeof(buffer) ? output->credit : sizeof(buffer);
        ssize_t got = read(output->fd, buffer, n < output->left ? n : (size_t) output->left);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (got <= 0) { /* EIO: nobody has the terminal open any more (pty(7)) */
                close_fd(&output->fd);
                return;
        }
        guest_channel_queue(&session->channel,
                            output == &session->out[0] ? GUEST_FRAME_STDOUT : GUEST_FRAME_STDERR, buffer,
                            (size_t) got);
        output->credit -= (uint32_t) got;
        if (output->left != UINT64_MAX)
                output->left -= (uint64_t) got;
        if (output->left == 0)
                close_fd(&output->fd);
}

/* The command has ended: take its status, and note how much it left to be read. */
static void command_ended(struct exec_session *session)
{
        if (waitpid(session->pid, &session->wait_status, 0) < 0)
                session->wait_status = 0;
        session->exited = true;
        close_fd(&session->pidfd);
        for (int i = 0; i < 2 && !session->terminal; i++) {
                int n = 0;

                if (session->out[i].fd < 0)
                        continue;
                if (ioctl(session->out[i].fd, FIONREAD, &n) < 0 || n <= 0)
                        close_fd(&session->out[i].fd);
                session->out[i].left = (uint64_t) n;
        }
}

static bool outputs_ended(const struct exec_session *session)
{
        return session->out[0].fd < 0 && session->out[1].fd < 0;
}

/* One wait and what it allows. */
static int session_step(struct exec_session *session)
{
        bool feeding = session->input_end > session->input_start || session->input_ended;
        struct pollfd p[] = {
                {.fd = session->channel.fd,
                 .events =
                          (short) (guest_channel_has_output(&session->channel) ? POLLIN | POLLOUT : POLLIN)},
                { .fd = feeding ? session->stdin_fd : FD_NONE,                     .events = POLLOUT       },
                { .fd = session->out[0].credit > 0 ? session->out[0].fd : FD_NONE, .events = POLLIN        },
                { .fd = session->out[1].credit > 0 ? session->out[1].fd : FD_NONE, .events = POLLIN        },
                { .fd = session->pidfd,                                            .events = POLLIN        },
        };
        bool draining = session->exited && session->terminal && session->out[0].credit > 0;
        int n = poll(p, sizeof(p) / sizeof(p[0]), draining ? QUIET_MS : -1), r = 0;

        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        if (n == 0)
                close_fd(&session->out[0].fd);
        if ((p[0].revents & ~POLLOUT) != 0)
                r = take_frames(session);
        if (r < 0)
                return r;
        if (p[1].revents != 0 && session->stdin_fd >= 0)
                input_write(session);
        for (int i = 0; i < 2; i++)
                if (p[2 + i].revents != 0 && session->out[i].fd >= 0)
                        output_read(session, &session->out[i]);
        if (p[4].revents != 0)
                command_ended(session);
        return guest_channel_flush(&session->channel);
}

static int session_run(struct exec_session *session)
{
        uint8_t exit[2];
        int r = 0;

        while (r == 0 && !(session->exited && outputs_ended(session)))
                r = session_step(session);
        if (r < 0) {
                hang_up(session);
                return r;
        }
        exit[0] = WIFSIGNALED(session->wait_status) ? 1 : 0;
        exit[1] = (uint8_t) (exit[0] ? WTERMSIG(session->wait_status) : WEXITSTATUS(session->wait_status));
        guest_channel_queue(&session->channel, GUEST_FRAME_EXIT, exit, sizeof(exit));
        r = guest_channel_flush(&session->channel);
        /* The last bytes wait only for the host to read them; its own streams' windows are no part of that. */
        while (r == 0 && guest_channel_has_output(&session->channel)) {
                r = fd_wait(session->channel.fd, POLLOUT, FLUSH_MS);
                if (r == 0)
                        r = guest_channel_flush(&session->channel);
        }
        return r;
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

static int start_command(struct exec_session *session, struct agent_command *command, const int child[3])
{
        struct agent_spawn spawn = {
                .file = command->file,
                .argv = command->argv,
                .env = command->env,
                .fds = {child[0], child[1], child[2]},
                .terminal = session->terminal,
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

static int enter_folder(const char *folder, struct err *err)
{
        if (!folder)
                return chdir(HOME) < 0 && chdir("/") < 0 ? err_errno(err, OP_EXEC, "enter '/'") : 0;
        if (chdir(folder) < 0)
                return err_errno(err, OP_EXEC, "enter the folder '%s'", folder);
        return 0;
}

int agent_exec(int fd, const struct guest_request *request, void (*on_started)(void *), void *context,
               struct err *err)
{
        scoped(exec_session_done) struct exec_session session = {
                .terminal = request->terminal,
                .pidfd = FD_NONE,
                .stdin_fd = FD_NONE,
                .out = {{ FD_NONE, GUEST_WINDOW, UINT64_MAX }, { FD_NONE, GUEST_WINDOW, UINT64_MAX }},
        };
        scoped(agent_command_done) struct agent_command command = { 0 };
        int child[3] = { FD_NONE, FD_NONE, FD_NONE }, r = enter_folder(request->path, err);

        if (r < 0)
                return r;
        agent_command_init(&command, request);
        if (!command.file) {
                (void) report_missing(fd, request->argv ? request->argv[0] : "sh", command.error);
                return 0;
        }
        if (command.login.env)
                (void) umask(command.login.mask); /* this process serves nothing else */
        guest_channel_init(&session.channel, fd);
        r = open_streams(&session, request, child);
        if (r == 0)
                r = start_command(&session, &command, child);
        close_streams(child);
        if (r == -ENOENT || r == -EACCES || r == -ENOEXEC || r == -EISDIR) {
                (void) report_missing(fd, command.argv[0], -r); /* an interpreter that is missing, for one */
                return 0;
        }
        if (r < 0) {
                errno = -r;
                return err_errno(err, OP_EXEC, "start '%s'", command.argv[0]);
        }
        if (on_started)
                on_started(context);
        (void) session_run(&session); /* its failure is that nobody is there to be told */
        return 0;
}
