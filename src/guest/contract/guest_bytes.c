#include "guest/contract/guest_bytes.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/fd.h"

void guest_bytes_init(struct guest_bytes *bytes, int fd, int silence_ms)
{
        *bytes = (struct guest_bytes){ .silence_ms = silence_ms };
        guest_channel_init(&bytes->channel, fd);
}

void guest_bytes_done(struct guest_bytes *bytes)
{
        guest_channel_done(&bytes->channel);
}

/* The next frame, waited for. 0 or -errno. */
static int next_frame(struct guest_bytes *bytes, struct guest_frame *ret_frame)
{
        for (;;) {
                int r = guest_channel_next(&bytes->channel, ret_frame);

                if (r != 0)
                        return r < 0 ? r : 0;
                r = guest_channel_read(&bytes->channel);
                if (r == -EAGAIN)
                        r = fd_wait(bytes->channel.fd, POLLIN, bytes->silence_ms);
                if (r < 0)
                        return r == -ENODATA ? -ECONNRESET : r;
        }
}

static int next_data(struct guest_bytes *bytes)
{
        struct guest_frame frame;
        int r;

        if (bytes->has_word)
                return -ECANCELED;
        r = next_frame(bytes, &frame);
        if (r < 0)
                return r;
        if (frame.type != GUEST_FRAME_DATA) {
                bytes->has_word = true;
                bytes->word = frame;
                return -ECANCELED;
        }
        bytes->at = frame.body;
        bytes->n = frame.n;
        bytes->ended = frame.n == 0;
        return 0;
}

int guest_bytes_read(void *context, void *buffer, size_t n)
{
        struct guest_bytes *bytes = context;

        for (size_t done = 0; done < n;) {
                size_t part = bytes->n < n - done ? bytes->n : n - done;

                if (part == 0) {
                        int r = bytes->ended ? -ENODATA : next_data(bytes);

                        if (r < 0)
                                return r == -ENODATA && done > 0 ? -EBADMSG : r;
                        continue;
                }
                memcpy((uint8_t *) buffer + done, bytes->at, part);
                bytes->at += part;
                bytes->n -= part;
                done += part;
        }
        return 0;
}

int guest_bytes_drain(struct guest_bytes *bytes)
{
        int r = 0;

        bytes->n = 0;
        while (r == 0 && !bytes->ended)
                r = next_data(bytes);
        bytes->n = 0;
        return r;
}

int guest_bytes_hear(struct guest_bytes *bytes)
{
        int r = bytes->has_word ? 0 : next_frame(bytes, &bytes->word);

        if (r == 0 && !bytes->has_word && bytes->word.type == GUEST_FRAME_DATA)
                r = -EBADMSG;
        bytes->has_word = r == 0;
        return r;
}

/* Takes an early word, when there is one. */
static int listen_in(struct guest_bytes *bytes)
{
        int r = guest_channel_read(&bytes->channel);

        if (r == -EAGAIN)
                return 0;
        if (r == -ENODATA)
                return -ECONNRESET;
        if (r == 0)
                r = guest_channel_next(&bytes->channel, &bytes->word);
        if (r == 1 && bytes->word.type == GUEST_FRAME_DATA)
                return -EBADMSG;
        bytes->has_word = r == 1;
        return r == 1 ? -ECANCELED : r;
}

int guest_bytes_write(void *context, const void *data, size_t n)
{
        struct guest_bytes *bytes = context;

        if (!bytes->hears && bytes->silence_ms < 0) /* straight from the caller's memory */
                return guest_frame_send(bytes->channel.fd, GUEST_FRAME_DATA, data, n, UINT64_MAX);
        guest_channel_queue(&bytes->channel, GUEST_FRAME_DATA, data, n);
        for (;;) {
                struct pollfd p = { .fd = bytes->channel.fd,
                                    .events = (short) (bytes->hears ? POLLIN | POLLOUT : POLLOUT) };
                int r = guest_channel_flush(&bytes->channel), got;

                /* the reason may still be waiting to be read */
                if (r == -EPIPE || r == -ECONNRESET)
                        return guest_bytes_hear(bytes) == 0 ? -ECANCELED : -ECONNRESET;
                if (r < 0 || !guest_channel_has_output(&bytes->channel))
                        return r;
                got = poll(&p, 1, bytes->silence_ms);
                if (got == 0)
                        return -ETIMEDOUT;
                if (got < 0 && errno != EINTR)
                        return -errno;
                if (got > 0 && (p.revents & POLLIN) != 0 && (r = listen_in(bytes)) < 0)
                        return r;
        }
}
