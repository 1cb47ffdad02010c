/* The frames' limits and their bytes. Everything an other end sizes is checked here, before anything is allocated. */
#include "guest/contract/guest_frame.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

static const struct {
        uint32_t min, max;
} limits[GUEST_N_FRAMES] = {
        [GUEST_FRAME_HELLO] = {2,  4096             },
        [GUEST_FRAME_CONFIG] = { 2, 256U << 10       },
        [GUEST_FRAME_READY] = { 0, 0                },
        [GUEST_FRAME_REQUEST] = { 2, GUEST_CONTROL_MAX},
        [GUEST_FRAME_ANSWER] = { 2, GUEST_CONTROL_MAX},
        [GUEST_FRAME_ERROR] = { 2, 8192             },
        [GUEST_FRAME_DATA] = { 0, GUEST_DATA_MAX   },
        [GUEST_FRAME_STDIN] = { 0, GUEST_DATA_MAX   },
        [GUEST_FRAME_STDOUT] = { 1, GUEST_DATA_MAX   },
        [GUEST_FRAME_STDERR] = { 1, GUEST_DATA_MAX   },
        [GUEST_FRAME_CREDIT] = { 5, 5                },
        [GUEST_FRAME_CLOSE] = { 1, 1                },
        [GUEST_FRAME_RESIZE] = { 4, 4                },
        [GUEST_FRAME_SIGNAL] = { 1, 1                },
        [GUEST_FRAME_EXIT] = { 2, 2                },
};

void guest_put_u16(uint8_t *out, uint16_t value)
{
        out[0] = (uint8_t) (value & 0xff);
        out[1] = (uint8_t) (value >> 8);
}

void guest_put_u32(uint8_t *out, uint32_t value)
{
        guest_put_u16(out, (uint16_t) (value & 0xffff));
        guest_put_u16(out + 2, (uint16_t) (value >> 16));
}

uint16_t guest_get_u16(const uint8_t *in)
{
        return (uint16_t) (in[0] | in[1] << 8);
}

uint32_t guest_get_u32(const uint8_t *in)
{
        return (uint32_t) guest_get_u16(in) | (uint32_t) guest_get_u16(in + 2) << 16;
}

uint32_t guest_frame_max(enum guest_frame_type type)
{
        return (unsigned) type < GUEST_N_FRAMES ? limits[type].max : 0;
}

void guest_frame_pack(uint8_t header[GUEST_FRAME_HEADER], enum guest_frame_type type, uint32_t n)
{
        assert(n >= limits[type].min && n <= limits[type].max);
        memset(header, 0, GUEST_FRAME_HEADER);
        header[0] = (uint8_t) type;
        guest_put_u32(header + 4, n);
}

int guest_frame_unpack(const uint8_t header[GUEST_FRAME_HEADER], struct guest_frame *ret_frame)
{
        uint32_t n = guest_get_u32(header + 4);

        if (header[0] == 0 || header[0] >= GUEST_N_FRAMES || header[1] != 0 || header[2] != 0 ||
            header[3] != 0)
                return -EBADMSG;
        if (n < limits[header[0]].min || n > limits[header[0]].max)
                return -EBADMSG;
        ret_frame->type = (enum guest_frame_type) header[0];
        ret_frame->n = n;
        return 0;
}

int guest_frame_send(int fd, enum guest_frame_type type, const void *body, size_t n, uint64_t deadline_ms)
{
        uint8_t header[GUEST_FRAME_HEADER];
        size_t done = 0, whole = GUEST_FRAME_HEADER + n;

        guest_frame_pack(header, type, (uint32_t) n);
        while (done < whole) {
                struct iovec parts[2] = {
                        {.iov_base = header + done,
                         .iov_len = done < sizeof(header) ? sizeof(header) - done : 0},
                        { .iov_base = (void *) (uintptr_t) body, .iov_len = n        },
                };
                struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
                ssize_t sent;
                int r;

                if (done >= sizeof(header)) {
                        parts[1].iov_base = (uint8_t *) (uintptr_t) body + (done - sizeof(header));
                        parts[1].iov_len = whole - done;
                        message.msg_iov = parts + 1;
                        message.msg_iovlen = 1;
                }
                sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (sent >= 0) {
                        done += (size_t) sent;
                        continue;
                }
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                r = fd_wait(fd, POLLOUT, deadline_ms == UINT64_MAX ? -1 : clock_left_ms(deadline_ms));
                if (r < 0)
                        return r;
        }
        return 0;
}

int guest_frame_receive(int fd, uint64_t deadline_ms, struct guest_frame *ret_frame, uint8_t **ret_body)
{
        uint8_t header[GUEST_FRAME_HEADER];
        scoped_free uint8_t *body = NULL;
        int r = fd_read_until(fd, header, sizeof(header), deadline_ms);

        if (r == 0)
                r = guest_frame_unpack(header, ret_frame);
        if (r < 0)
                return r;
        body = xmalloc((size_t) ret_frame->n + 1);
        r = ret_frame->n > 0 ? fd_read_until(fd, body, ret_frame->n, deadline_ms) : 0;
        if (r < 0)
                return r == -ENODATA ? -EBADMSG : r;
        body[ret_frame->n] = '\0';
        ret_frame->body = body;
        *ret_body = take_ptr(body);
        return 0;
}
