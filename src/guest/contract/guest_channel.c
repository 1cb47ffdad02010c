#include "guest/contract/guest_channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"

#define READ_SIZE ((size_t) GUEST_DATA_MAX + GUEST_FRAME_HEADER)

void guest_channel_init(struct guest_channel *channel, int fd)
{
        *channel = (struct guest_channel){ .fd = fd };
}

void guest_channel_done(struct guest_channel *channel)
{
        free(channel->in);
        free(channel->out);
        *channel = (struct guest_channel){ .fd = FD_NONE };
}

/* Room for n more bytes at *end: what was used up before *start goes first. */
static void make_room(uint8_t **buffer, size_t *start, size_t *end, size_t *capacity, size_t n)
{
        if (*start > 0) {
                memmove(*buffer, *buffer + *start, *end - *start);
                *end -= *start;
                *start = 0;
        }
        if (*end + n <= *capacity)
                return;
        *capacity = *end + n;
        *buffer = xrealloc(*buffer, *capacity);
}

int guest_channel_read(struct guest_channel *channel)
{
        ssize_t got;

        make_room(&channel->in, &channel->in_start, &channel->in_end, &channel->in_capacity, READ_SIZE);
        do
                got = recv(channel->fd, channel->in + channel->in_end, READ_SIZE, MSG_DONTWAIT);
        while (got < 0 && errno == EINTR);
        if (got < 0)
                return -errno;
        if (got == 0)
                return -ENODATA;
        channel->in_end += (size_t) got;
        return 0;
}

int guest_channel_next(struct guest_channel *channel, struct guest_frame *ret_frame)
{
        size_t n = channel->in_end - channel->in_start;
        int r;

        if (n < GUEST_FRAME_HEADER)
                return 0;
        r = guest_frame_unpack(channel->in + channel->in_start, ret_frame);
        if (r < 0)
                return r;
        if (n < GUEST_FRAME_HEADER + (size_t) ret_frame->n)
                return 0;
        ret_frame->body = channel->in + channel->in_start + GUEST_FRAME_HEADER;
        channel->in_start += GUEST_FRAME_HEADER + (size_t) ret_frame->n;
        return 1;
}

void guest_channel_queue(struct guest_channel *channel, enum guest_frame_type type, const void *body,
                         size_t n)
{
        if (channel->out_end + GUEST_FRAME_HEADER + n > channel->out_capacity)
                make_room(&channel->out, &channel->out_start, &channel->out_end, &channel->out_capacity,
                          GUEST_FRAME_HEADER + n);
        guest_frame_pack(channel->out + channel->out_end, type, (uint32_t) n);
        if (n > 0)
                memcpy(channel->out + channel->out_end + GUEST_FRAME_HEADER, body, n);
        channel->out_end += GUEST_FRAME_HEADER + n;
}

int guest_channel_flush(struct guest_channel *channel)
{
        while (channel->out_start < channel->out_end) {
                ssize_t sent = send(channel->fd, channel->out + channel->out_start,
                                    channel->out_end - channel->out_start, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (sent < 0 && errno == EAGAIN)
                        return 0;
                if (sent < 0 && errno != EINTR)
                        return -errno;
                if (sent > 0)
                        channel->out_start += (size_t) sent;
        }
        channel->out_start = channel->out_end = 0;
        return 0;
}

size_t guest_channel_queued(const struct guest_channel *channel)
{
        return channel->out_end - channel->out_start;
}

bool guest_channel_has_output(const struct guest_channel *channel)
{
        return channel->out_end > channel->out_start;
}

void guest_channel_queue_credit(struct guest_channel *channel, enum guest_stream stream, uint32_t n)
{
        uint8_t body[5] = { (uint8_t) stream };

        guest_put_u32(body + 1, n);
        guest_channel_queue(channel, GUEST_FRAME_CREDIT, body, sizeof(body));
}
