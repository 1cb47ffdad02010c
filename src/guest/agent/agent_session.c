/*
 * When the command has ended, what it had written by then is still delivered; a descendant that keeps an output open
 * does not keep the host waiting. When the host vanishes, the command gets SIGHUP, as from a lost terminal.
 */
#include "guest/agent/agent_session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "guest/agent/agent_spawn.h"
#include "guest/agent/agent_tree.h"

#define QUIET_MS  30 /* a terminal whose session ended is done when silent for this long */
#define CONTROL_D 0x04
#define FLUSH_MS  10000
#define GRACE_MS  2000 /* between SIGTERM and SIGKILL, once the time is over */
#define LOOK_MS   50   /* how often it is seen whether the tree has ended by itself */
#define ADOPT_MS  1000 /* how often the dead among the adopted are taken */

static void close_fd(int *fd)
{
        if (*fd >= 0)
                (void) close(*fd);
        *fd = FD_NONE;
}

void exec_session_init(struct exec_session *session, bool terminal)
{
        *session = (struct exec_session){
                .terminal = terminal,
                .pidfd = FD_NONE,
                .stdin_fd = FD_NONE,
                .out = {{ FD_NONE, GUEST_WINDOW, UINT64_MAX }, { FD_NONE, GUEST_WINDOW, UINT64_MAX }},
        };
}

void exec_session_done(struct exec_session *session)
{
        guest_channel_done(&session->channel);
        close_fd(&session->pidfd);
        close_fd(&session->stdin_fd);
        close_fd(&session->out[0].fd);
        close_fd(&session->out[1].fd);
        free(session->input);
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

/* A time to wait, of two; -1: for ever. */
static int shorter(int a, int b)
{
        if (a < 0 || b < 0)
                return a < 0 ? b : a;
        return a < b ? a : b;
}

static int quiet_limit(const struct exec_session *session)
{
        return session->exited && session->terminal && session->out[0].credit > 0 && session->out[0].fd >= 0
                       ? QUIET_MS
                       : -1;
}

static int timer_limit(const struct exec_session *session)
{
        if (session->deadline_ms == 0)
                return -1;
        return shorter(clock_left_ms(session->deadline_ms),
                       session->stage == EXEC_IN_TIME ? ADOPT_MS : LOOK_MS);
}

/*
 * The command is asked to end first, then not asked any more. Whoever reads its output may have stalled, so that what is still
 * in the pipes then is dropped.
 */
static void check_time(struct exec_session *session)
{
        bool is_over = clock_left_ms(session->deadline_ms) == 0;

        agent_tree_reap(session->pid);
        if (session->stage == EXEC_IN_TIME && is_over) {
                session->stage = EXEC_ASKED;
                session->deadline_ms = clock_monotonic_ms() + GRACE_MS;
                (void) agent_tree_signal(SIGTERM);
                (void) agent_tree_signal(SIGCONT);
        } else if (session->stage == EXEC_ASKED && (is_over || agent_tree_signal(0) == 0)) {
                agent_tree_kill(session->pid);
                session->stage = EXEC_ENDED;
                session->deadline_ms = clock_monotonic_ms() + LOOK_MS; /* for what is on its way */
        } else if (session->stage == EXEC_ENDED && is_over) {
                close_fd(&session->out[0].fd);
                close_fd(&session->out[1].fd);
        }
}

static bool is_over(const struct exec_session *session)
{
        return session->exited && outputs_ended(session) && session->stage != EXEC_ASKED;
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
        int quiet_ms = quiet_limit(session), timer_ms = timer_limit(session), r = 0;
        int n = poll(p, sizeof(p) / sizeof(p[0]), shorter(quiet_ms, timer_ms));

        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        if (n == 0 && quiet_ms >= 0 && shorter(quiet_ms, timer_ms) == quiet_ms)
                close_fd(&session->out[0].fd);
        if (session->deadline_ms > 0)
                check_time(session);
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

/* The last bytes wait only for the host to read them; its own streams' windows are no part of that. */
static int send_exit(struct exec_session *session)
{
        bool killed = WIFSIGNALED(session->wait_status);
        uint8_t exit[2] = { killed ? GUEST_END_KILLED : GUEST_END_EXITED,
                            (uint8_t) (killed ? WTERMSIG(session->wait_status)
                                              : WEXITSTATUS(session->wait_status)) };
        int r;

        if (session->stage != EXEC_IN_TIME)
                exit[0] = GUEST_END_TIMEOUT, exit[1] = 0;
        guest_channel_queue(&session->channel, GUEST_FRAME_EXIT, exit, sizeof(exit));
        r = guest_channel_flush(&session->channel);
        while (r == 0 && guest_channel_has_output(&session->channel)) {
                r = fd_wait(session->channel.fd, POLLOUT, FLUSH_MS);
                if (r == 0)
                        r = guest_channel_flush(&session->channel);
        }
        return r;
}

/*
 * What a handler of SIGHUP still says is heard by nobody, but it must not die of saying it: a shell names the signal that
 * ended its child before it runs its trap, and would get SIGPIPE.
 */
static void let_handlers_end(struct exec_session *session)
{
        uint64_t deadline_ms = clock_monotonic_ms() + GRACE_MS;
        char waste[4096];

        while (!session->exited && !session->terminal && clock_left_ms(deadline_ms) > 0) {
                struct pollfd p[] = {
                        {.fd = session->out[0].fd,  .events = POLLIN},
                        { .fd = session->out[1].fd, .events = POLLIN},
                        { .fd = session->pidfd,     .events = POLLIN},
                };

                if (poll(p, 3, clock_left_ms(deadline_ms)) < 0 && errno != EINTR)
                        return;
                for (int i = 0; i < 2; i++)
                        if (p[i].revents != 0 && read(p[i].fd, waste, sizeof(waste)) == 0)
                                close_fd(&session->out[i].fd);
                if (p[2].revents != 0)
                        return;
        }
}

int exec_session_run(struct exec_session *session, uint64_t timeout_ms)
{
        int r = 0;

        session->deadline_ms = timeout_ms > 0 ? clock_monotonic_ms() + timeout_ms : 0;
        while (r == 0 && !is_over(session))
                r = session_step(session);
        if (r < 0) {
                hang_up(session);
                let_handlers_end(session);
                return r;
        }
        return send_exit(session);
}
