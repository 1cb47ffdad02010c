/* The command's ordinary session, in a child; the keeper is its host. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/agent/agent_keeper.h"
#include "guest/agent/agent_serve.h"

#define START_MS 10000

static void tell_start(void *context)
{
        (void) !write(*(int *) context, "", 1);
}

__attribute__((noreturn)) static void run_session(int fd, int started, const struct guest_request *request)
{
        struct guest_request attached = *request;
        struct err err = { 0 };

        attached.detach = false;
        if (agent_exec(fd, &attached, tell_start, &started, &err) < 0)
                agent_refuse(fd, &err);
        _exit(0);
}

static int wait_start(int session, int started, struct err *err)
{
        uint64_t deadline_ms = clock_monotonic_ms() + START_MS;
        struct pollfd p[2] = {
                {.fd = started,  .events = POLLIN},
                { .fd = session, .events = POLLIN}
        };
        scoped_free uint8_t *body = NULL;
        struct guest_frame frame;
        uint8_t type = 0;
        json_t *json = NULL;
        int code;

        while (poll(p, 2, clock_left_ms(deadline_ms)) < 0 && errno == EINTR)
                ;
        if (p[1].revents == 0 || recv(session, &type, 1, MSG_PEEK) != 1 || type != GUEST_FRAME_ERROR)
                return 0;
        if (guest_frame_receive(session, deadline_ms, &frame, &body) < 0 ||
            json_parse((const char *) body, frame.n, "an error", &json, err) < 0)
                return err_set(err, EIO, KEEPER_OP, "the command could not be started");
        code = (int) json_u64(json, "code", EIO);
        (void) err_set(err, code > 0 ? code : EIO, KEEPER_OP, "%s", json_text(json, "message"));
        json_decref(json);
        return -err->code;
}

int keeper_start_session(struct keeper *keeper, const struct guest_request *request, struct err *err)
{
        scoped_close int ours = FD_NONE, theirs = FD_NONE, hears = FD_NONE, tells = FD_NONE;
        int pair[2], started[2], r;
        pid_t pid;

        r = fd_unix_pair(pair);
        if (r < 0)
                return err_set(err, -r, KEEPER_OP, "make a socket pair: %s", strerror(-r));
        ours = pair[0];
        theirs = pair[1];
        if (pipe2(started, O_CLOEXEC) < 0)
                return err_errno(err, KEEPER_OP, "make a pipe");
        hears = started[0];
        tells = started[1];
        pid = fork();
        if (pid < 0)
                return err_errno(err, KEEPER_OP, "fork");
        if (pid == 0) {
                (void) close(take_fd(&ours));
                (void) close(take_fd(&hears));
                (void) close(keeper->listener);
                run_session(theirs, tells, request);
        }
        (void) close(take_fd(&theirs));
        (void) close(take_fd(&tells));
        r = wait_start(ours, hears, err);
        if (r < 0)
                return r;
        guest_channel_init(&keeper->session, take_fd(&ours));
        guest_channel_queue(&keeper->session, GUEST_FRAME_STDIN, NULL, 0);
        return 0;
}

static void take_output(struct keeper *keeper, uint8_t stream, const struct guest_frame *frame)
{
        for (uint32_t at = 0; at < frame->n; at += RING_RECORD_MAX) {
                uint32_t n = frame->n - at < RING_RECORD_MAX ? frame->n - at : RING_RECORD_MAX;

                ring_put(&keeper->ring, stream, frame->body + at, n);
        }
        keeper->owed[stream] += frame->n;
}

/* A reader that is behind stops the command's output, as a pipe would: it is there to read it all. */
static bool is_held(const struct keeper *keeper)
{
        for (size_t i = 0; i < KEEPER_READERS; i++)
                if (keeper->readers[i].channel.fd >= 0 && reader_is_behind(&keeper->readers[i], keeper))
                        return true;
        return false;
}

void keeper_give_credit(struct keeper *keeper)
{
        for (unsigned stream = GUEST_STREAM_STDOUT; stream <= GUEST_STREAM_STDERR; stream++)
                if (keeper->owed[stream] >= GUEST_WINDOW / 2 && !is_held(keeper)) {
                        guest_channel_queue_credit(&keeper->session, (enum guest_stream) stream,
                                                   keeper->owed[stream]);
                        keeper->owed[stream] = 0;
                }
}

static void command_ended(struct keeper *keeper, const uint8_t *end)
{
        if (end)
                memcpy(keeper->end, end, sizeof(keeper->end));
        else /* its session died: an out-of-memory kill, say */
                keeper->end[0] = GUEST_END_KILLED, keeper->end[1] = SIGKILL;
        keeper->ended = true;
        keeper->ended_ns = clock_real_ns();
        (void) prctl(PR_SET_NAME, "banger-ended"); /* a session no more (agent_serve.h), only its output */
        (void) close(keeper->session.fd);
        guest_channel_done(&keeper->session);
}

void keeper_hear_session(struct keeper *keeper)
{
        struct guest_frame frame;
        int r = guest_channel_read(&keeper->session);

        if (r == -EAGAIN)
                return;
        while (r == 0 && (r = guest_channel_next(&keeper->session, &frame)) == 1) {
                r = 0;
                if (frame.type == GUEST_FRAME_STDOUT)
                        take_output(keeper, GUEST_STREAM_STDOUT, &frame);
                else if (frame.type == GUEST_FRAME_STDERR)
                        take_output(keeper, GUEST_STREAM_STDERR, &frame);
                else if (frame.type == GUEST_FRAME_EXIT) {
                        command_ended(keeper, frame.body);
                        return;
                }
        }
        if (r < 0)
                command_ended(keeper, NULL);
}
