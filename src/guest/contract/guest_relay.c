#include "guest/contract/guest_relay.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/contract/guest_channel.h"

struct relay {
        struct guest_channel channel;
        int sock;          /* borrowed */
        const uint8_t *at; /* of the last frame: what the socket has not taken; borrowed from the channel */
        size_t n;
        bool in_ended, out_ended; /* from the frames to the socket, and from the socket to the frames */
};

static inline void relay_done_at_scope_end(struct relay *relay)
{
        guest_channel_done(&relay->channel);
}

static int write_socket(struct relay *relay)
{
        while (relay->n > 0) {
                ssize_t put = send(relay->sock, relay->at, relay->n, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (put < 0 && errno == EAGAIN)
                        return 0;
                if (put < 0 && errno != EINTR)
                        return -errno;
                if (put > 0) {
                        relay->at += put;
                        relay->n -= (size_t) put;
                }
        }
        return 0;
}

/* Frames as long as the socket takes them. */
static int take_frames(struct relay *relay)
{
        struct guest_frame frame;
        int r = 0;

        while (r == 0 && relay->n == 0 && !relay->in_ended) {
                r = guest_channel_next(&relay->channel, &frame);
                if (r != 1)
                        return r;
                if (frame.type != GUEST_FRAME_DATA)
                        return -EBADMSG;
                relay->at = frame.body;
                relay->n = frame.n;
                relay->in_ended = frame.n == 0;
                if (relay->in_ended)
                        (void) shutdown(relay->sock, SHUT_WR);
                r = write_socket(relay);
        }
        return r;
}

static int read_channel(struct relay *relay)
{
        int r = guest_channel_read(&relay->channel);

        if (r == -EAGAIN)
                return 0;
        if (r < 0)
                return r == -ENODATA ? -ECONNRESET : r;
        return relay->in_ended ? -EBADMSG : take_frames(relay);
}

static int read_socket(struct relay *relay)
{
        uint8_t buffer[GUEST_DATA_MAX];
        ssize_t got = recv(relay->sock, buffer, sizeof(buffer), MSG_DONTWAIT);

        if (got < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        guest_channel_queue(&relay->channel, GUEST_FRAME_DATA, buffer, (size_t) got);
        relay->out_ended = got == 0;
        return guest_channel_flush(&relay->channel);
}

/*
 * One wait and what it allows. The channel is listened to also behind its end, since the other side may go before it has
 * heard ours. Nothing is read that cannot be passed on, which is the back-pressure.
 */
static int relay_step(struct relay *relay)
{
        bool is_full = guest_channel_has_output(&relay->channel);
        short channel_events = (short) ((is_full ? POLLOUT : 0) | (relay->n == 0 ? POLLIN : 0));
        short socket_events =
                (short) ((relay->n > 0 ? POLLOUT : 0) | (!is_full && !relay->out_ended ? POLLIN : 0));
        struct pollfd p[2] = {
                {.fd = channel_events != 0 ? relay->channel.fd : FD_NONE, .events = channel_events},
                { .fd = socket_events != 0 ? relay->sock : FD_NONE,       .events = socket_events }
        };
        int r = 0;

        if (poll(p, 2, -1) < 0)
                return errno == EINTR ? 0 : -errno;
        if (p[1].revents != 0 && relay->n > 0) {
                r = write_socket(relay);
                if (r == 0)
                        r = take_frames(relay);
        }
        if (r == 0 && (p[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !is_full && !relay->out_ended)
                r = read_socket(relay);
        if (r == 0 && is_full)
                r = guest_channel_flush(&relay->channel);
        if (r == 0 && (channel_events & POLLIN) != 0 && (p[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                r = read_channel(relay);
        return r;
}

int guest_relay(int fd, int sock)
{
        scoped(relay_done) struct relay relay = { .sock = sock };
        const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
        int r = fd_set_nonblocking(sock, true);

        guest_channel_init(&relay.channel, fd);
        while (r == 0 && !(relay.in_ended && relay.out_ended && relay.n == 0 &&
                           !guest_channel_has_output(&relay.channel)))
                r = relay_step(&relay);
        if (r < 0) /* close(2) then resets (socket(7), SO_LINGER): a cut must not look like an end */
                (void) setsockopt(sock, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
        return r;
}
