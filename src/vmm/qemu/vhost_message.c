#include "vmm/qemu/vhost_message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLAG_VERSION_MASK 0x3U
#define FLAG_VERSION      0x1U
#define FLAG_REPLY        0x4U

static void close_fds(struct vhost_message *message)
{
        for (size_t i = 0; i < message->n_fds; i++)
                (void) close(message->fds[i]);
        message->n_fds = 0;
}

void vhost_message_done(struct vhost_message *message)
{
        close_fds(message);
        message->n_got = 0;
        memset(&message->payload, 0, sizeof(message->payload));
}

int vhost_message_reply(int sock, const struct vhost_message *message, void *payload, uint32_t size)
{
        struct vhost_message_header header = { message->header.request, FLAG_VERSION | FLAG_REPLY, size };
        struct iovec parts[2] = {
                {.iov_base = &header, .iov_len = sizeof(header)}
        };
        struct msghdr reply = { .msg_iov = parts, .msg_iovlen = 2 };
        ssize_t n;

        parts[1] = (struct iovec){ .iov_base = payload, .iov_len = size };
        n = sendmsg(sock, &reply, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
                return -errno;
        return (size_t) n == sizeof(header) + size ? 0 : -EPROTO;
}

static bool header_is_sane(const struct vhost_message *message)
{
        return (message->header.flags & FLAG_VERSION_MASK) == FLAG_VERSION &&
               !(message->header.flags & FLAG_REPLY) && message->header.size <= sizeof(message->payload);
}

/* Descriptors come with a message's first byte. A second lot takes the first one's place: the count will not fit then. */
static void take_fds(struct vhost_message *message, const int *fds, size_t n_fds)
{
        if (n_fds == 0)
                return;
        close_fds(message);
        memcpy(message->fds, fds, n_fds * sizeof(fds[0]));
        message->n_fds = n_fds;
}

int vhost_message_receive(int sock, struct vhost_message *message)
{
        const size_t n_header = sizeof(message->header);

        for (;;) {
                bool in_header = message->n_got < n_header;
                size_t end = in_header ? n_header : n_header + message->header.size;
                uint8_t *to = in_header ? (uint8_t *) &message->header + message->n_got
                                        : (uint8_t *) &message->payload + message->n_got - n_header;
                int fds[FD_PASS_MAX];
                size_t n_fds;
                ssize_t n;

                if (message->n_got == end)
                        return 1;
                n = fd_receive_with(sock, to, end - message->n_got, fds, &n_fds);
                if (n == -EAGAIN)
                        return 0;
                if (n <= 0)
                        return n == 0 ? -ECONNRESET : (int) n;
                take_fds(message, fds, n_fds);
                message->n_got += (size_t) n;
                if (message->n_got == n_header && !header_is_sane(message))
                        return -EPROTO;
        }
}
