/* Tar streams to and from a guest. The guest may end a stream early with an error, which is read before it is missed. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/client/guest_client.h"
#include "guest/client/guest_internal.h"
#include "guest/contract/guest_channel.h"

#define OP_TAR "guest.tar"

static inline void guest_channel_done_at_scope_end(struct guest_channel *channel)
{
        guest_channel_done(channel);
}

static int start(struct guest_channel *channel, const struct guest_request *request, struct err *err)
{
        scoped_text struct text body = { 0 };
        int r = guest_request_encode(request, &body, err);

        if (r == 0)
                guest_channel_queue(channel, GUEST_FRAME_REQUEST, body.s, body.n);
        return r;
}

/* 1: answered; 0: nothing yet. */
static int take_answer(struct guest_channel *channel, bool ended, struct err *err)
{
        struct guest_frame frame;
        int r = guest_channel_read(channel);

        if (r == -EAGAIN)
                return 0;
        if (r == 0)
                r = guest_channel_next(channel, &frame);
        if (r == 0)
                return 0;
        if (r == 1 && frame.type == GUEST_FRAME_ERROR)
                return guest_error_take(&frame, OP_TAR, err);
        if (r == 1 && (frame.type != GUEST_FRAME_ANSWER || !ended))
                r = -EBADMSG;
        return r < 0 ? guest_transport_error(r, OP_TAR, "send files to the guest", err) : 1;
}

/* Queues the next piece of the stream; *ended when that was its end. */
static int queue_piece(struct guest_channel *channel, int tar_fd, bool *ended, struct err *err)
{
        uint8_t buffer[GUEST_DATA_MAX];
        ssize_t got = read(tar_fd, buffer, sizeof(buffer));

        if (got < 0)
                return errno == EINTR || errno == EAGAIN ? 0
                                                         : err_errno(err, OP_TAR, "read the files to send");
        guest_channel_queue(channel, GUEST_FRAME_DATA, buffer, (size_t) got);
        *ended = got == 0;
        return 0;
}

/* One wait and what it allows. 1: the guest has answered. */
static int tar_in_step(struct guest_channel *channel, int tar_fd, bool *ended, struct err *err)
{
        bool sending = guest_channel_has_output(channel);
        struct pollfd p[2] = {
                {.fd = channel->fd,                           .events = (short) (sending ? POLLIN | POLLOUT : POLLIN)},
                { .fd = sending || *ended ? FD_NONE : tar_fd, .events = POLLIN                                       },
        };
        int n = poll(p, 2, sending || *ended ? (int) GUEST_SILENCE_MS : -1), r = 0;

        if (n < 0)
                return errno == EINTR ? 0 : err_errno(err, OP_TAR, "wait for the guest");
        if (n == 0)
                return guest_transport_error(-ETIMEDOUT, OP_TAR, "send files to the guest", err);
        if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                r = take_answer(channel, *ended, err);
        if (r == 0 && p[1].revents != 0)
                r = queue_piece(channel, tar_fd, ended, err);
        if (r == 0) {
                r = guest_channel_flush(channel);
                if (r == -EPIPE || r == -ECONNRESET) /* its reason may still be waiting to be read */
                        r = take_answer(channel, *ended, err);
                else if (r < 0)
                        r = guest_transport_error(r, OP_TAR, "send files to the guest", err);
        }
        return r;
}

int guest_tar_send(int fd, const struct guest_request *request, int tar_fd, struct err *err)
{
        scoped(guest_channel_done) struct guest_channel channel;
        bool ended = false;
        int r;

        guest_channel_init(&channel, fd);
        r = start(&channel, request, err);
        while (r == 0)
                r = tar_in_step(&channel, tar_fd, &ended, err);
        return r < 0 ? r : 0;
}

int guest_tar_in(int fd, const char *folder, int tar_fd, struct err *err)
{
        const struct guest_request request = { .op = GUEST_OP_TAR_IN, .path = folder };

        return guest_tar_send(fd, &request, tar_fd, err);
}

int guest_tar_out(int fd, const char *path, int tar_fd, struct err *err)
{
        const struct guest_request request = { .op = GUEST_OP_TAR_OUT, .path = path };

        return guest_tar_fetch(fd, &request, tar_fd, err);
}

int guest_tar_fetch(int fd, const struct guest_request *request, int tar_fd, struct err *err)
{
        scoped_text struct text body = { 0 };
        bool ended = false;
        int r = guest_request_encode(request, &body, err);

        if (r < 0)
                return r;
        r = guest_frame_send(fd, GUEST_FRAME_REQUEST, body.s, body.n,
                             clock_monotonic_ms() + GUEST_SILENCE_MS);
        while (r == 0) {
                scoped_free uint8_t *data = NULL;
                struct guest_frame frame;

                r = guest_frame_receive(fd, clock_monotonic_ms() + GUEST_SILENCE_MS, &frame, &data);
                if (r < 0)
                        break;
                if (frame.type == GUEST_FRAME_ERROR)
                        return guest_error_take(&frame, OP_TAR, err);
                if (frame.type == GUEST_FRAME_ANSWER && ended)
                        return 0;
                if (frame.type != GUEST_FRAME_DATA || ended) {
                        r = -EBADMSG;
                        break;
                }
                ended = frame.n == 0;
                if (frame.n > 0 && (r = fd_write_full(tar_fd, data, frame.n)) < 0) {
                        errno = -r;
                        return err_errno(err, OP_TAR, "write the guest's files");
                }
        }
        return guest_transport_error(r, OP_TAR, "fetch files from the guest", err);
}
