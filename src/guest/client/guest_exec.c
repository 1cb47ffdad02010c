/*
 * A command in a guest, as if it ran here: one poll loop relays input, both outputs and signals. Every stream has its
 * own window (GUEST_WINDOW), so an output that nobody reads here stops that output and nothing else.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_internal.h"
#include "guest/contract/guest_channel.h"

#define OP_EXEC      "guest.exec"
#define WHAT         "run a command in the guest"
#define DEFAULT_TERM "xterm-256color"
#define MERCY_MS     5000 /* what the agent has beyond the timeout: SIGTERM, 2 s, SIGKILL, its word */
#define LAST_MS      500  /* for a reader here to take the last output of a command whose time was over */

struct output {
        int fd;        /* borrowed; FD_NONE once its reader has gone */
        size_t step;   /* how much one write may hand over without a risk of blocking */
        uint8_t *data; /* owned: what the guest sent and nobody took yet, at most GUEST_WINDOW */
        size_t start, end;
        uint32_t owed; /* taken, but not yet credited to the guest */
};

struct relay {
        const struct guest_exec *exec;
        struct guest_channel channel;
        struct output out[2]; /* stdout, stderr */
        uint32_t stdin_credit;
        bool stdin_ended;
        bool exited, abandoned, answered;
        int status;
        uint64_t deadline_ms; /* UINT64_MAX: none */
        enum guest_timeout timeout;
};

static void relay_done(struct relay *relay)
{
        guest_channel_done(&relay->channel);
        free(relay->out[0].data);
        free(relay->out[1].data);
}

static inline void relay_done_at_scope_end(struct relay *relay)
{
        relay_done(relay);
}

/* A pipe that poll calls writable takes PIPE_BUF bytes without blocking (poll(2), pipe(7)); a file takes all. */
static void output_init(struct output *output, int fd)
{
        struct stat st;

        output->fd = fd;
        output->step = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? GUEST_WINDOW : PIPE_BUF;
        output->data = xmalloc(GUEST_WINDOW);
}

static enum guest_stream stream_of(const struct relay *relay, const struct output *output)
{
        return output == &relay->out[0] ? GUEST_STREAM_STDOUT : GUEST_STREAM_STDERR;
}

static void output_close(struct relay *relay, struct output *output)
{
        uint8_t stream = (uint8_t) stream_of(relay, output);

        output->fd = FD_NONE;
        output->start = output->end = 0;
        guest_channel_queue(&relay->channel, GUEST_FRAME_CLOSE, &stream, 1);
}

/* Credit goes back in halves of a window: two frames for each 256 KiB instead of one for each write. */
static void output_credit(struct relay *relay, struct output *output, size_t n)
{
        output->owed += (uint32_t) n;
        if (output->owed < GUEST_WINDOW / 2)
                return;
        guest_channel_queue_credit(&relay->channel, stream_of(relay, output), output->owed);
        output->owed = 0;
}

static int output_write(struct relay *relay, struct output *output, struct err *err)
{
        size_t n = output->end - output->start;
        ssize_t put = write(output->fd, output->data + output->start, n < output->step ? n : output->step);

        if (put < 0 && (errno == EINTR || errno == EAGAIN))
                return 0;
        if (put < 0 && errno == EPIPE) {
                output_close(relay, output);
                return 0;
        }
        if (put < 0)
                return err_errno(err, OP_EXEC, "write the command's output");
        output->start += (size_t) put;
        if (output->start == output->end)
                output->start = output->end = 0;
        output_credit(relay, output, (size_t) put);
        return 0;
}

static int output_take(struct relay *relay, struct output *output, const struct guest_frame *frame)
{
        if (output->fd < 0) {
                output_credit(relay, output, frame->n);
                return 0;
        }
        if (output->end - output->start + output->owed + frame->n > GUEST_WINDOW)
                return -EBADMSG; /* more than it had credit for */
        if (output->end + frame->n > GUEST_WINDOW) {
                memmove(output->data, output->data + output->start, output->end - output->start);
                output->end -= output->start;
                output->start = 0;
        }
        memcpy(output->data + output->end, frame->body, frame->n);
        output->end += frame->n;
        return 0;
}

static int take_credit(struct relay *relay, const struct guest_frame *frame)
{
        uint32_t more = guest_get_u32(frame->body + 1);

        if (frame->body[0] != GUEST_STREAM_STDIN || more > GUEST_WINDOW - relay->stdin_credit)
                return -EBADMSG;
        relay->stdin_credit += more;
        return 0;
}

static int take_exit(struct relay *relay, const struct guest_frame *frame)
{
        enum guest_end end = frame->body[0];

        if (end >= GUEST_N_ENDS || (end == GUEST_END_KILLED && frame->body[1] > 127) ||
            (end == GUEST_END_TIMEOUT && relay->exec->timeout_ms == 0 && !relay->exec->session))
                return -EBADMSG;
        relay->exited = true;
        relay->status = end == GUEST_END_KILLED ? 128 + frame->body[1] : frame->body[1];
        if (end == GUEST_END_TIMEOUT) {
                relay->status = GUEST_TIMEOUT_STATUS;
                relay->timeout = GUEST_TIMEOUT_ENDED;
                relay->deadline_ms = clock_monotonic_ms() + LAST_MS;
        }
        return 0;
}

static int take_attached(struct relay *relay, const struct guest_frame *frame, struct err *err)
{
        json_t *json = NULL;
        int r = json_parse((const char *) frame->body, frame->n, "the guest's answer", &json, err);

        if (r == 0 && relay->exec->ret_lost)
                *relay->exec->ret_lost = json_u64(json, "lost", 0);
        json_decref(json);
        relay->answered = true;
        return r;
}

static int take_frame(struct relay *relay, const struct guest_frame *frame, struct err *err)
{
        int r = -EBADMSG;

        if (frame->type == GUEST_FRAME_ERROR)
                return guest_error_take(frame, OP_EXEC, err);
        if (frame->type == GUEST_FRAME_ANSWER && relay->exec->session && !relay->answered)
                return take_attached(relay, frame, err);
        if (frame->type == GUEST_FRAME_STDOUT)
                r = output_take(relay, &relay->out[0], frame);
        else if (frame->type == GUEST_FRAME_STDERR)
                r = output_take(relay, &relay->out[1], frame);
        else if (frame->type == GUEST_FRAME_CREDIT)
                r = take_credit(relay, frame);
        else if (frame->type == GUEST_FRAME_EXIT)
                r = take_exit(relay, frame);
        else if (frame->type == GUEST_FRAME_CLOSE && frame->body[0] == GUEST_STREAM_STDIN) {
                relay->stdin_ended = true;
                r = 0;
        }
        return r < 0 ? guest_transport_error(r, OP_EXEC, WHAT, err) : 0;
}

static int take_frames(struct relay *relay, struct err *err)
{
        struct guest_frame frame;
        int r = guest_channel_read(&relay->channel);

        if (r == -EAGAIN)
                return 0;
        if (r < 0)
                return guest_transport_error(r, OP_EXEC, WHAT, err);
        while (!relay->exited && (r = guest_channel_next(&relay->channel, &frame)) == 1) {
                r = take_frame(relay, &frame, err);
                if (r < 0)
                        return r;
        }
        return r < 0 ? guest_transport_error(r, OP_EXEC, WHAT, err) : 0;
}

/* An input that cannot be read has ended: the command is told so, as a shell would do with a closed descriptor. */
static void send_stdin(struct relay *relay)
{
        uint8_t buffer[GUEST_DATA_MAX];
        size_t n = relay->stdin_credit < sizeof(buffer) ? relay->stdin_credit : sizeof(buffer);
        ssize_t got = relay->exec->stdin_fd < 0 ? 0 : read(relay->exec->stdin_fd, buffer, n);

        if (got < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        if (got < 0)
                got = 0;
        guest_channel_queue(&relay->channel, GUEST_FRAME_STDIN, buffer, (size_t) got);
        relay->stdin_credit -= (uint32_t) got;
        relay->stdin_ended = got == 0;
}

static void send_size(struct relay *relay)
{
        struct winsize size;
        uint8_t body[4];

        if (ioctl(relay->exec->stdin_fd, TIOCGWINSZ, &size) < 0 &&
            ioctl(relay->exec->stdout_fd, TIOCGWINSZ, &size) < 0)
                return;
        guest_put_u16(body, size.ws_row);
        guest_put_u16(body + 2, size.ws_col);
        guest_channel_queue(&relay->channel, GUEST_FRAME_RESIZE, body, sizeof(body));
}

static void send_signal(struct relay *relay)
{
        struct signalfd_siginfo info;
        uint8_t number;

        if (read(relay->exec->signal_fd, &info, sizeof(info)) != (ssize_t) sizeof(info))
                return;
        number = (uint8_t) info.ssi_signo;
        if (info.ssi_signo == SIGWINCH)
                send_size(relay);
        else if (relay->exec->session) {
                relay->abandoned = true;
                relay->status = 128 + number;
                if (relay->exec->ret_detached)
                        *relay->exec->ret_detached = !relay->exited;
        } else if (relay->exited)
                relay->abandoned = true; /* only our own reader keeps us: let go */
        else
                guest_channel_queue(&relay->channel, GUEST_FRAME_SIGNAL, &number, 1);
}

static bool output_waits(const struct output *output)
{
        return output->fd >= 0 && output->end > output->start;
}

static int wait_limit(const struct relay *relay)
{
        return relay->deadline_ms == UINT64_MAX ? -1 : clock_left_ms(relay->deadline_ms);
}

/* The agent does not answer, or what it sent is not read here. */
static void give_up(struct relay *relay)
{
        relay->abandoned = true;
        if (!relay->exited)
                relay->timeout = GUEST_TIMEOUT_SILENT;
        if (relay->timeout != GUEST_TIMEOUT_NONE)
                relay->status = GUEST_TIMEOUT_STATUS;
}

/* One wait and what it allows. */
static int relay_step(struct relay *relay, struct err *err)
{
        /* credit alone does not bound what is queued: a guest can give it and read nothing */
        bool may_read = !relay->exited && !relay->stdin_ended && relay->stdin_credit > 0 &&
                        guest_channel_queued(&relay->channel) < GUEST_WINDOW;
        struct pollfd p[] = {
                {.fd = relay->exited ? FD_NONE : relay->channel.fd,
                 .events = (short) (guest_channel_has_output(&relay->channel) ? POLLIN | POLLOUT : POLLIN)},
                { .fd = may_read ? relay->exec->stdin_fd : FD_NONE,                .events = POLLIN       },
                { .fd = output_waits(&relay->out[0]) ? relay->out[0].fd : FD_NONE, .events = POLLOUT      },
                { .fd = output_waits(&relay->out[1]) ? relay->out[1].fd : FD_NONE, .events = POLLOUT      },
                { .fd = relay->exec->signal_fd,                                    .events = POLLIN       },
        };
        int r = 0;

        if (clock_left_ms(relay->deadline_ms) == 0) {
                give_up(relay);
                return 0;
        }
        if (poll(p, sizeof(p) / sizeof(p[0]), wait_limit(relay)) < 0)
                return errno == EINTR ? 0 : err_errno(err, OP_EXEC, "wait for the guest");
        if (p[4].revents != 0)
                send_signal(relay);
        for (int i = 0; i < 2 && r == 0; i++)
                if (p[2 + i].revents != 0)
                        r = output_write(relay, &relay->out[i], err);
        if (r == 0 && (p[0].revents & ~POLLOUT) != 0)
                r = take_frames(relay, err);
        if (r == 0 && p[1].revents != 0)
                send_stdin(relay);
        if (r == 0 && !relay->exited) {
                r = guest_channel_flush(&relay->channel);
                /* What the guest said last may still be there to be read: its end tells. */
                if (r == -EPIPE || r == -ECONNRESET)
                        r = take_frames(relay, err);
                else if (r < 0)
                        r = guest_transport_error(r, OP_EXEC, WHAT, err);
        }
        return r;
}

static bool relay_is_over(const struct relay *relay)
{
        return relay->abandoned ||
               (relay->exited && !output_waits(&relay->out[0]) && !output_waits(&relay->out[1]));
}

/* The environment with TERM in front, where there is a terminal. The caller frees the array and *ret_term. */
static const char **environment(const struct guest_exec *exec, char **ret_term)
{
        size_t n = 0;
        const char **env;

        while (exec->env && exec->env[n])
                n++;
        env = xcalloc(n + 2, sizeof(*env));
        if (exec->terminal)
                env[0] = *ret_term = xasprintf("TERM=%s", exec->term ? exec->term : DEFAULT_TERM);
        for (size_t i = 0; i < n; i++)
                env[i + (exec->terminal ? 1 : 0)] = exec->env[i];
        return env;
}

static int relay_start(struct relay *relay, int fd, struct err *err)
{
        const struct guest_exec *exec = relay->exec;
        scoped_free char *term = NULL;
        scoped_free const char **env = environment(exec, &term);
        struct guest_request request = {
                .op = exec->session ? GUEST_OP_ATTACH : GUEST_OP_EXEC,
                .quiet = exec->quiet,
                .image = exec->image,
                .login_shell = exec->login_shell,
                .terminal = exec->terminal,
                .rows = (uint16_t) exec->rows,
                .columns = (uint16_t) exec->columns,
                .path = exec->session ? exec->session : exec->folder,
                .user = exec->user,
                .timeout_ms = exec->timeout_ms,
                .argv = exec->argv,
                .env = env,
        };
        scoped_text struct text body = { 0 };
        int r = guest_request_encode(&request, &body, err);

        if (r < 0)
                return r;
        guest_channel_init(&relay->channel, fd);
        guest_channel_queue(&relay->channel, GUEST_FRAME_REQUEST, body.s, body.n);
        output_init(&relay->out[0], exec->stdout_fd);
        output_init(&relay->out[1], exec->stderr_fd);
        relay->stdin_credit = GUEST_WINDOW;
        relay->stdin_ended = exec->session != NULL;
        if (exec->stdin_fd < 0 && !exec->session)
                send_stdin(relay);
        r = guest_channel_flush(&relay->channel);
        return r < 0 ? guest_transport_error(r, OP_EXEC, WHAT, err) : 0;
}

int guest_exec(int fd, const struct guest_exec *exec, struct err *err)
{
        scoped(relay_done) struct relay relay = { .exec = exec,
                                                  .channel = { .fd = FD_NONE },
                                                  .deadline_ms = UINT64_MAX };
        const struct sigaction ignore = { .sa_handler = SIG_IGN };
        struct sigaction before;
        int r;

        /* The end of our reader is an answer of write(2), not a reason to die. */
        (void) sigaction(SIGPIPE, &ignore, &before);
        if (exec->timeout_ms > 0)
                relay.deadline_ms = clock_monotonic_ms() + exec->timeout_ms + MERCY_MS;
        r = relay_start(&relay, fd, err);
        while (r == 0 && !relay_is_over(&relay))
                r = relay_step(&relay, err);
        (void) sigaction(SIGPIPE, &before, NULL);
        if (exec->ret_timeout)
                *exec->ret_timeout = relay.timeout;
        return r < 0 ? r : relay.status;
}
