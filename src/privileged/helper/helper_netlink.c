#include "privileged/helper/helper_netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

/* One part of a dump; libmnl advises at least a page and never needs more than this (MNL_SOCKET_BUFFER_SIZE). */
#define ANSWER_MAX 32768

struct mnl_socket *netlink_open(int bus, struct err *err)
{
        struct mnl_socket *socket = mnl_socket_open2(bus, SOCK_CLOEXEC);

        if (socket && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0)
                return socket;
        (void) err_errno(err, "priv.netlink", "open a netlink socket");
        netlink_close(socket);
        return NULL;
}

void netlink_close(struct mnl_socket *socket)
{
        if (socket)
                (void) mnl_socket_close(socket);
}

int netlink_talk(struct mnl_socket *socket, struct nlmsghdr *message, mnl_cb_t take, void *userdata)
{
        char answer[ANSWER_MAX];
        unsigned port = mnl_socket_get_portid(socket);
        int r;

        message->nlmsg_seq = 1; /* a socket carries one request at a time */
        if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
                return -errno;
        do {
                ssize_t n = mnl_socket_recvfrom(socket, answer, sizeof(answer));

                if (n < 0 && errno == EINTR) {
                        r = MNL_CB_OK;
                        continue;
                }
                if (n < 0)
                        return -errno;
                r = mnl_cb_run(answer, (size_t) n, message->nlmsg_seq, port, take, userdata);
        } while (r > MNL_CB_STOP);
        return r < 0 ? -errno : 0;
}

/* The kernel handles a batch within sendmsg(2), so its refusals are queued when send returns. */
int netlink_send_batch(struct mnl_socket *socket, const void *bytes, size_t n)
{
        char answer[ANSWER_MAX];
        int first = 0;

        if (mnl_socket_sendto(socket, bytes, n) < 0)
                return -errno;
        for (;;) {
                ssize_t got = recv(mnl_socket_get_fd(socket), answer, sizeof(answer), MSG_DONTWAIT);
                int left = (int) got;

                if (got < 0 && errno == EAGAIN)
                        return first;
                if (got < 0)
                        return -errno;
                for (const struct nlmsghdr *h = (const void *) answer; mnl_nlmsg_ok(h, left);
                     h = mnl_nlmsg_next(h, &left)) {
                        const struct nlmsgerr *refusal = mnl_nlmsg_get_payload(h);

                        if (h->nlmsg_type == NLMSG_ERROR && first == 0)
                                first = refusal->error;
                }
        }
}
